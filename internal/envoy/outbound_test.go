package envoy

import (
	"net/netip"
	"strconv"
	"testing"

	matcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	networkv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/network/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lateen-mesh/lateen/internal/plan"
)

// chainOf follows a listener's questions as Envoy does, and returns the filter chain that a connection takes. The protocol is what the
// listener has found it to carry, or "".
func chainOf(t *testing.T, l *listenerv3.Listener, to, protocol string) string {
	t.Helper()
	at := netip.MustParseAddrPort(to)
	m := l.GetFilterChainMatcher()
	for {
		on := asked(t, m.GetMatcherTree(), at, protocol)
		if on == nil {
			on = m.GetOnNoMatch()
		}
		switch {
		case on == nil:
			return "default " + l.GetDefaultFilterChain().GetName()
		case on.GetMatcher() != nil:
			m = on.GetMatcher()
		default:
			var name wrapperspb.StringValue
			read(t, on.GetAction().GetTypedConfig(), &name)
			return name.GetValue()
		}
	}
}

func read(t *testing.T, from interface{ UnmarshalTo(proto.Message) error }, to proto.Message) {
	t.Helper()
	if err := from.UnmarshalTo(to); err != nil {
		t.Fatal(err)
	}
}

// asked returns what one question of a listener's says, or nil.
func asked(t *testing.T, tree *matcherv3.Matcher_MatcherTree, at netip.AddrPort, protocol string) *matcherv3.Matcher_OnMatch {
	t.Helper()
	input, err := tree.GetInput().GetTypedConfig().UnmarshalNew()
	if err != nil {
		t.Fatal(err)
	}
	switch input.(type) {
	case *networkv3.DestinationPortInput:
		return tree.GetExactMatchMap().GetMap()[strconv.Itoa(int(at.Port()))]
	case *networkv3.ApplicationProtocolInput:
		return tree.GetExactMatchMap().GetMap()["'"+protocol+"'"]
	}
	var list matcherv3.IPMatcher
	read(t, tree.GetCustomMatch().GetTypedConfig(), &list)
	var found *matcherv3.Matcher_OnMatch
	bits := -1
	for _, m := range list.GetRangeMatchers() {
		for _, r := range m.GetRanges() {
			network := netip.MustParsePrefix(r.GetAddressPrefix() + "/" + strconv.Itoa(int(r.GetPrefixLen().GetValue())))
			if network.Contains(at.Addr()) && network.Bits() > bits {
				found, bits = m.GetOnMatch(), network.Bits()
			}
		}
	}
	return found
}

// Connections are told by their addresses where everybody agrees on what goes there, and else by what they begin with: as requests or bytes
// to services, by what EgressRules say of others. None goes to the proxy's own ports.
func TestOutboundWays(t *testing.T) {
	t.Parallel()
	ways := plan.CapturedWays{Services: []string{"10.96.0.0/16", "fd00:96::/112"}, Dialled: "dialled|"}
	front := plan.CapturedOutbound{
		CapturedWays: ways, Addresses: []string{"0.0.0.0", "::"}, Port: 15001, Requests: []int{9080, 9090}, Bytes: []int{3306, 15006},
		Apart: []plan.Apart{{Port: 8080, Addresses: []string{"10.96.0.11", "fd00:96::11"}}},
		Mesh:  []string{"10.0.0.0/8"}, Unclear: []int{7070}, Inspect: "inspect",
	}
	behind := plan.Inspected{CapturedWays: ways, Passthrough: "passthrough"}
	front.Name, behind.Name = "outbound", "inspect"
	open, openBehind := front, behind
	open.Passthrough, open.Outside, openBehind.Outside = "passthrough", []int{80, 9080}, []plan.OutsideWay{{Port: 80, Routes: "outside|80"}, {Port: 9080, Routes: "outside|9080"}}
	known, knownBehind := front, behind
	known.Named, knownBehind.Others = []plan.NamedWay{{Port: 3306, Networks: []string{"0.0.0.0/0"}}, {Port: 9090, Networks: []string{"198.51.100.0/24"}}}, "out"

	for _, c := range []struct {
		front  plan.CapturedOutbound
		behind plan.Inspected
		to     string
		chain  string
		// what requests, and bytes, take that are looked at
		requests, bytes string
	}{
		{open, openBehind, "10.96.0.10:9080", "requests", "", ""},
		{open, openBehind, "[fd00:96::10]:9080", "requests", "", ""},
		{open, openBehind, "10.96.0.10:3306", "bytes", "", ""},
		{open, openBehind, "10.96.0.10:8080", "requests", "", ""},
		{open, openBehind, "10.96.0.11:8080", "bytes", "", ""},
		{open, openBehind, "[fd00:96::11]:8080", "bytes", "", ""},
		{open, openBehind, "10.96.0.11:9080", "requests", "", ""},
		{open, openBehind, "198.51.100.7:8080", "default others", "", ""},
		{open, openBehind, "10.96.0.10:80", "bytes", "", ""},                  // no service has it
		{open, openBehind, "10.96.0.10:7070", "inspect", "requests", "bytes"}, // services differ too much
		{open, openBehind, "10.244.0.2:9080", "bytes", "", ""},
		{open, openBehind, "198.51.100.7:9080", "inspect", "outside 9080", "default others"},
		{open, openBehind, "198.51.100.7:80", "inspect", "outside 80", "default others"},
		{open, openBehind, "198.51.100.7:3306", "default others", "", ""},
		{open, openBehind, "[2001:db8::7]:443", "default others", "", ""},
		{open, openBehind, "198.51.100.7:15001", "closed", "closed", "closed"},
		{open, openBehind, "10.96.0.10:15006", "closed", "closed", "closed"},
		{known, knownBehind, "10.96.0.10:9080", "requests", "", ""},
		{known, knownBehind, "10.96.0.10:3306", "bytes", "", ""},
		{known, knownBehind, "10.96.0.10:80", "inspect", "requests", "bytes"},
		{known, knownBehind, "10.244.0.2:3306", "bytes", "", ""},
		{known, knownBehind, "198.51.100.7:3306", "bytes", "", ""},
		{known, knownBehind, "198.51.100.7:9090", "bytes", "", ""},
		{known, knownBehind, "203.0.113.7:9090", "inspect", "outside", "default others"},
		{known, knownBehind, "[2001:db8::7]:3306", "inspect", "outside", "default others"},
		{known, knownBehind, "198.51.100.7:80", "inspect", "outside", "default others"},
	} {
		l, err := capturedOutbound(c.front)
		if err != nil {
			t.Fatal(err)
		}
		inner, err := inspected(c.behind)
		if err != nil {
			t.Fatal(err)
		}
		if got := chainOf(t, l, c.to, ""); got != c.chain {
			t.Errorf("%s takes %q, want %q", c.to, got, c.chain)
		}
		if c.requests == "" {
			continue
		}
		for _, protocol := range requestProtocols {
			if got := chainOf(t, inner, c.to, protocol); got != c.requests {
				t.Errorf("%s to %s takes %q, want %q", protocol, c.to, got, c.requests)
			}
		}
		if got := chainOf(t, inner, c.to, ""); got != c.bytes {
			t.Errorf("bytes to %s take %q, want %q", c.to, got, c.bytes)
		}
		if rest := inner.GetDefaultFilterChain(); (len(rest.GetFilters()) == 0) != (c.behind.Others != "") {
			t.Errorf("what is left is taken by %v", rest)
		}
	}
}

// What services speak, and where they and the mesh are, is nothing that the filter chains say, nor anything else but the matcher of the
// listener: Envoy leaves open connections alone when it changes.
func TestOutboundChainsStay(t *testing.T) {
	t.Parallel()
	rest := func(ports []int, services, pods []string) (front, behind *listenerv3.Listener) {
		ways := plan.CapturedWays{Services: services, Dialled: "dialled|"}
		front, err := capturedOutbound(plan.CapturedOutbound{
			CapturedWays: ways, Addresses: []string{"0.0.0.0"}, Port: 15001, Requests: ports, Mesh: pods, Outside: ports, Inspect: "inspect", Passthrough: "passthrough",
		})
		if err != nil {
			t.Fatal(err)
		}
		if behind, err = inspected(plan.Inspected{CapturedWays: ways, Passthrough: "passthrough"}); err != nil {
			t.Fatal(err)
		}
		front.FilterChainMatcher, behind.FilterChainMatcher = nil, nil
		return front, behind
	}
	front, behind := rest([]int{80}, []string{"10.96.0.0/16"}, []string{"10.244.0.0/16"})
	front2, behind2 := rest([]int{80, 81}, []string{"10.96.0.1/32", "10.96.0.2/32"}, []string{"10.244.0.0/16", "10.245.0.0/16"})
	if !proto.Equal(front, front2) || !proto.Equal(behind, behind2) {
		t.Error("the listeners differ in more than their matchers")
	}
	front, behind = rest(nil, nil, nil)
	if !proto.Equal(front, front2) || !proto.Equal(behind, behind2) {
		t.Error("the listeners without services differ in more than their matchers")
	}
}
