package envoy

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/plan"
)

// apiListener is what a gRPC client finds under the name that it dials (gRFC A27). Without routes the client says at once that it
// finds none for the name; without a listener it would wait for one.
func apiListener(p plan.Target) (*listenerv3.Listener, error) {
	hcm := &hcmv3.HttpConnectionManager{StatPrefix: p.Name}
	if p.Routes != "" {
		hcm.RouteSpecifier = askedRoutes(p.Routes)
	} else {
		hcm.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{Name: p.Name}}
	}
	var err error
	if hcm.HttpFilters, err = httpFilters(faultFilter); err != nil {
		return nil, err
	}
	config, err := pack(hcm)
	return &listenerv3.Listener{
		Name: p.Name, ApiListener: &listenerv3.ApiListener{ApiListener: config},
	}, err
}

// callRoutes spells routes for a gRPC client, whatever name it has dialled (gRFC A28). It knows a bound on the whole call
// by another word than Envoy (gRFC A31).
func callRoutes(p plan.CallRoutes) (*routev3.RouteConfiguration, error) {
	list, err := routes(p.Routes)
	if err != nil {
		return nil, err
	}
	for i, r := range list {
		action := r.GetRoute()
		if action == nil {
			continue
		}
		action.Timeout, action.IdleTimeout = nil, nil
		if timeout := p.Routes[i].Timeout; timeout > 0 {
			action.MaxStreamDuration = &routev3.RouteAction_MaxStreamDuration{MaxStreamDuration: duration(timeout)}
		}
		if action.GetRetryPolicy() != nil {
			action.RetryPolicy.RetryHostPredicate, action.RetryPolicy.HostSelectionRetryMaxAttempts = nil, 0
		}
	}
	if len(p.Coming) > 0 {
		list = append(list, announcement(p.Coming))
	}
	return &routev3.RouteConfiguration{
		Name: p.Name, VirtualHosts: []*routev3.VirtualHost{{Name: p.Name, Domains: []string{"*"}, Routes: list}},
	}, nil
}

// announcement leads to clusters and is taken by no call.
func announcement(coming []mesh.Subset) *routev3.Route {
	clusters := &routev3.WeightedCluster{}
	for _, s := range coming {
		clusters.Clusters = append(clusters.Clusters, &routev3.WeightedCluster_ClusterWeight{Name: s.String(), Weight: wrapperspb.UInt32(1)})
	}
	return &routev3.Route{
		Match: &routev3.RouteMatch{
			PathSpecifier:   &routev3.RouteMatch_Prefix{Prefix: "/"},
			RuntimeFraction: &corev3.RuntimeFractionalPercent{DefaultValue: fraction(0)},
		},
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_WeightedClusters{WeightedClusters: clusters},
		}},
	}
}
