package envoy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/lateen-mesh/lateen/internal/plan"
)

// Where only what is known is reached, a network that is named with a port holds for that port alone, and no network has two chains for the
// same: of these Envoy takes either. What none takes is closed without asking for a cluster, by a chain that is logged as bytes.
func TestKnownOnlyChains(t *testing.T) {
	t.Parallel()
	_, msg, err := buildCaptured(plan.CapturedOutbound{
		Name: "outbound", Workload: "shop.default", Addresses: []string{"0.0.0.0"}, Port: 15001, Requests: []string{"10.96.0.0/16"},
		Bytes: []string{"10.96.0.0/16", "10.244.0.0/16"}, Dialled: "dialled|", Passthrough: "passthrough", Others: "out",
		Named: []plan.NamedWay{{Port: 7000, Networks: []string{"0.0.0.0/0"}}, {Port: 9090, Networks: []string{"198.51.100.0/24"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	l := msg.(*listenerv3.Listener)
	matches := map[string]bool{}
	var got []string
	for _, c := range l.GetFilterChains() {
		got = append(got, c.GetName())
		m := c.GetFilterChainMatch()
		for _, network := range m.GetPrefixRanges() {
			match := fmt.Sprint(m.GetDestinationPort().GetValue(), network, m.GetApplicationProtocols())
			if matches[match] {
				t.Errorf("%s: another chain takes the same", c.GetName())
			}
			matches[match] = true
		}
		if len(m.GetPrefixRanges()) == 0 && m.GetDestinationPort().GetValue() == 0 {
			t.Errorf("%s says neither network nor port", c.GetName())
		}
	}
	want := []string{
		"closed 15001", "closed 15006", "requests 10.96.0.0/16", "bytes 10.96.0.0/16", "bytes 10.244.0.0/16", "requests",
		"requests 10.96.0.0/16:7000", "bytes 10.96.0.0/16:7000", "bytes 10.244.0.0/16:7000", "bytes 0.0.0.0/0:7000", "requests:7000",
		"requests 10.96.0.0/16:9090", "bytes 10.96.0.0/16:9090", "bytes 10.244.0.0/16:9090", "bytes 198.51.100.0/24:9090", "requests:9090",
	}
	if !slices.Equal(got, want) {
		t.Errorf("chains %q, want %q", got, want)
	}
	if rest := l.GetDefaultFilterChain(); !strings.HasPrefix(rest.GetName(), bytesChain) || len(rest.GetFilters()) != 0 {
		t.Errorf("what is left is taken by %v", rest)
	}
}
