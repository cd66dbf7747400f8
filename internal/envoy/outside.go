package envoy

import (
	"slices"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/lateen-mesh/lateen/internal/plan"
)

// everywhere is where addresses are of which nothing narrower is said. A chain that says no network means the same two, and of two chains
// for one network Envoy takes either.
var everywhere = []string{"0.0.0.0/0", "::/0"}

// knownOnly adds the chain of requests to whom the mesh does not know, and those for the networks outside that are named with a port.
func knownOnly(chains []*listenerv3.FilterChain, p plan.CapturedOutbound, requests, bytes []*listenerv3.Filter) ([]*listenerv3.FilterChain, error) {
	others, err := otherRequests(p)
	if err != nil {
		return nil, err
	}
	chain, err := networksChain("requests", everywhere, 0, others, requestProtocols)
	if err != nil {
		return nil, err
	}
	chains = append(chains, chain)
	for _, way := range p.Named {
		// As with [plan.OutsideWay], what holds for all ports is said for this one as well.
		if chains, err = networkChains(chains, p, way.Port, requests, bytes); err != nil {
			return nil, err
		}
		if chains, err = addChains(chains, bytesChain, way.Networks, way.Port, bytes, nil); err != nil {
			return nil, err
		}
		rest := slices.DeleteFunc(slices.Clone(everywhere), func(network string) bool { return slices.Contains(way.Networks, network) })
		if len(rest) == 0 {
			continue
		}
		if chain, err = networksChain("requests", rest, way.Port, others, requestProtocols); err != nil {
			return nil, err
		}
		chains = append(chains, chain)
	}
	return chains, nil
}

// otherRequests steers requests to whom the mesh does not know by what they say in Host.
func otherRequests(p plan.CapturedOutbound) ([]*listenerv3.Filter, error) {
	hcm, err := callerSide(p.Name, p.Workload, p.NoLog)
	if err != nil {
		return nil, err
	}
	hcm.StreamIdleTimeout = duration(p.WaitTimeout)
	hcm.HttpProtocolOptions = oldHTTP()
	hcm.RouteSpecifier = askedRoutes(p.Others)
	return steered(hcm, onDemandFilter)
}

// outsideRequests steers requests to a port outside the mesh by the hosts that they name.
func outsideRequests(p plan.CapturedOutbound, routes string) ([]*listenerv3.Filter, error) {
	hcm, err := callerSide(p.Name, p.Workload, p.NoLog)
	if err != nil {
		return nil, err
	}
	takeConnect(hcm)
	hcm.HttpProtocolOptions = oldHTTP()
	hcm.RouteSpecifier = askedRoutes(routes)
	return steered(hcm)
}
