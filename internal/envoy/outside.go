package envoy

import (
	"strconv"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/lateen-mesh/lateen/internal/plan"
)

// outsideChain is the filter chain of requests to whom the mesh does not know.
const outsideChain = "outside"

// outsideChainOf is that of requests to a port outside the mesh that rules name.
func outsideChainOf(port int) string { return outsideChain + " " + strconv.Itoa(port) }

// otherRequests steers requests to whom the mesh does not know by what they say in Host.
func otherRequests(p plan.Inspected) ([]*listenerv3.Filter, error) {
	hcm, err := callerSide(steeredName, p.NoLog)
	if err != nil {
		return nil, err
	}
	hcm.StreamIdleTimeout = duration(p.WaitTimeout)
	hcm.HttpProtocolOptions = oldHTTP()
	hcm.RouteSpecifier = askedRoutes(p.Others)
	return steered(hcm, onDemandFilter)
}

// outsideRequests steers requests to a port outside the mesh by the hosts that they name.
func outsideRequests(p plan.Inspected, routes string) ([]*listenerv3.Filter, error) {
	hcm, err := callerSide(steeredName, p.NoLog)
	if err != nil {
		return nil, err
	}
	takeConnect(hcm)
	hcm.HttpProtocolOptions = oldHTTP()
	hcm.RouteSpecifier = askedRoutes(routes)
	return steered(hcm)
}
