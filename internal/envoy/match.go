package envoy

import (
	"net/netip"
	"strconv"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	matcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	networkv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/network/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// A way is what a connection takes of the filter chains of its listener, as far as is known of it: one by its name, or a further question.
// nil is the default chain. What stands here may change, and connections that are open stay: Envoy ends them when their chain changes, and
// the chains say nothing of this.
type way = *matcherv3.Matcher_OnMatch

// byChain takes a filter chain.
func byChain(name string) (way, error) {
	config, err := pack(wrapperspb.String(name))
	return &matcherv3.Matcher_OnMatch{OnMatch: &matcherv3.Matcher_OnMatch_Action{
		Action: &xdscorev3.TypedExtensionConfig{Name: "chain", TypedConfig: config},
	}}, err
}

// byPort asks for the port that the connection was going to.
func byPort(ways map[int]way, rest way) (way, error) {
	named := make(map[string]way, len(ways))
	for port, w := range ways {
		named[strconv.Itoa(port)] = w
	}
	return byValue(&networkv3.DestinationPortInput{}, named, rest)
}

// ofRequests asks whether it has been found to carry requests.
func ofRequests(w, rest way) (way, error) {
	named := map[string]way{}
	for _, protocol := range requestProtocols {
		named["'"+protocol+"'"] = w
	}
	return byValue(&networkv3.ApplicationProtocolInput{}, named, rest)
}

func byValue(input proto.Message, ways map[string]way, rest way) (way, error) {
	if len(ways) == 0 {
		return rest, nil
	}
	config, err := pack(input)
	return further(&matcherv3.Matcher{
		OnNoMatch: rest,
		MatcherType: &matcherv3.Matcher_MatcherTree_{MatcherTree: &matcherv3.Matcher_MatcherTree{
			Input:    &xdscorev3.TypedExtensionConfig{Name: "value", TypedConfig: config},
			TreeType: &matcherv3.Matcher_MatcherTree_ExactMatchMap{ExactMatchMap: &matcherv3.Matcher_MatcherTree_MatchMap{Map: ways}},
		}},
	}), err
}

// networkWay is the way of connections that were going to one of some networks.
type networkWay struct {
	networks []string
	way      way
}

// byNetwork asks for the narrowest network that the address lies in.
func byNetwork(ways []networkWay, rest way) (way, error) {
	list := &matcherv3.IPMatcher{}
	for _, w := range ways {
		matcher := &matcherv3.IPMatcher_IPRangeMatcher{OnMatch: w.way}
		for _, text := range w.networks {
			network, err := netip.ParsePrefix(text)
			if err != nil {
				return nil, err
			}
			matcher.Ranges = append(matcher.Ranges, &xdscorev3.CidrRange{
				AddressPrefix: network.Masked().Addr().String(), PrefixLen: wrapperspb.UInt32(uint32(network.Bits())), //nolint:gosec // 0 to 128
			})
		}
		if len(matcher.GetRanges()) > 0 {
			list.RangeMatchers = append(list.RangeMatchers, matcher)
		}
	}
	if len(list.GetRangeMatchers()) == 0 {
		return rest, nil
	}
	input, err := pack(&networkv3.DestinationIPInput{})
	if err != nil {
		return nil, err
	}
	config, err := pack(list)
	return further(&matcherv3.Matcher{
		OnNoMatch: rest,
		MatcherType: &matcherv3.Matcher_MatcherTree_{MatcherTree: &matcherv3.Matcher_MatcherTree{
			Input:    &xdscorev3.TypedExtensionConfig{Name: "address", TypedConfig: input},
			TreeType: &matcherv3.Matcher_MatcherTree_CustomMatch{CustomMatch: &xdscorev3.TypedExtensionConfig{Name: "networks", TypedConfig: config}},
		}},
	}), err
}

// each returns addresses as networks.
func each(addresses []string) []string {
	var networks []string
	for _, text := range addresses {
		if a, err := netip.ParseAddr(text); err == nil {
			networks = append(networks, netip.PrefixFrom(a, a.BitLen()).String())
		}
	}
	return networks
}

func further(m *matcherv3.Matcher) way {
	return &matcherv3.Matcher_OnMatch{OnMatch: &matcherv3.Matcher_OnMatch_Matcher{Matcher: m}}
}
