package envoy

import (
	"fmt"
	"math"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	commonfaultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	previoushostsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/plan"
)

func virtualHost(p plan.VirtualHost) (*routev3.VirtualHost, error) {
	list, err := routes(p.Routes)
	return &routev3.VirtualHost{Name: p.Name, Domains: []string{p.Domain}, Routes: list}, err
}

func onDemandRoutes(p plan.OnDemandRoutes) *routev3.RouteConfiguration {
	return &routev3.RouteConfiguration{
		Name:             p.Name,
		Vhds:             &routev3.Vhds{ConfigSource: ads()},
		ValidateClusters: wrapperspb.Bool(false),
	}
}

func doorRoutes(p plan.Door) (*routev3.RouteConfiguration, error) {
	list, err := routes(p.Routes)
	return &routev3.RouteConfiguration{
		Name:             p.Name,
		VirtualHosts:     []*routev3.VirtualHost{{Name: p.Name, Domains: []string{"*"}, Routes: list}},
		ValidateClusters: wrapperspb.Bool(false),
	}, err
}

func routes(planned []plan.Route) ([]*routev3.Route, error) {
	list := make([]*routev3.Route, len(planned))
	for i, p := range planned {
		r, err := route(p)
		if err != nil {
			return nil, fmt.Errorf("route %s: %w", p.Name, err)
		}
		list[i] = r
	}
	return list, nil
}

func route(p plan.Route) (*routev3.Route, error) {
	match, err := routeMatch(p)
	if err != nil {
		return nil, err
	}
	r := &routev3.Route{Name: p.Name, Match: match, Metadata: metadata(map[string]string{"rule": p.Name})}
	if p.Answer != nil {
		r.Action = &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{
			Status: uint32(p.Answer.Status), //nolint:gosec // a status is checked where it enters the mesh
			Body:   &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: p.Answer.Body}},
		}}
		return r, nil
	}
	action, err := routeAction(p)
	if err != nil {
		return nil, err
	}
	r.Action = &routev3.Route_Route{Route: action}
	if p.Fault != nil {
		fault, err := pack(httpFault(p.Fault))
		if err != nil {
			return nil, err
		}
		r.TypedPerFilterConfig = map[string]*anypb.Any{faultFilter: fault}
	}
	return r, nil
}

func routeMatch(p plan.Route) (*routev3.RouteMatch, error) {
	m := &routev3.RouteMatch{}
	switch p.Path.Kind {
	case plan.PathExact:
		m.PathSpecifier = &routev3.RouteMatch_Path{Path: p.Path.Value}
	case plan.PathPrefix:
		m.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: p.Path.Value}
	case plan.PathElementPrefix:
		m.PathSpecifier = &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: p.Path.Value}
	case plan.PathRegex:
		m.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: p.Path.Value}}
	default:
		return nil, fmt.Errorf("unknown path match %q", p.Path.Kind)
	}
	for _, h := range p.Headers {
		value, err := stringMatcher(h.StringMatch)
		if err != nil {
			return nil, fmt.Errorf("header %s: %w", h.Name, err)
		}
		m.Headers = append(m.Headers, &routev3.HeaderMatcher{
			Name:                 h.Name,
			HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: value},
		})
	}
	return m, nil
}

func stringMatcher(m mesh.StringMatch) (*matcherv3.StringMatcher, error) {
	switch m.Kind {
	case mesh.MatchExact:
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: m.Value}}, nil
	case mesh.MatchPrefix:
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: m.Value}}, nil
	case mesh.MatchRegex:
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{
			SafeRegex: &matcherv3.RegexMatcher{Regex: m.Value},
		}}, nil
	default:
		return nil, fmt.Errorf("unknown match %q", m.Kind)
	}
}

func routeAction(p plan.Route) (*routev3.RouteAction, error) {
	a := &routev3.RouteAction{
		Timeout:     duration(p.Timeout),
		IdleTimeout: duration(p.Idle),
	}
	switch {
	case p.Cluster != "":
		a.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: p.Cluster}
	case len(p.Shares) == 1:
		a.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: p.Shares[0].Subset.String()}
	default:
		weighted := &routev3.WeightedCluster{}
		for _, s := range p.Shares {
			weighted.Clusters = append(weighted.Clusters, &routev3.WeightedCluster_ClusterWeight{
				Name:   s.Subset.String(),
				Weight: wrapperspb.UInt32(uint32(s.Weight)), //nolint:gosec // 0 to 100, checked where it enters the mesh
			})
		}
		a.ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: weighted}
	}
	var err error
	a.RetryPolicy, err = retryPolicy(p.Retry, p.Begin)
	return a, err
}

// retryPolicy tries another endpoint where there is one. The bound on the beginning of a response stands here too:
// Envoy calls it the timeout of a try, and stops it when the response has begun.
func retryPolicy(p plan.Retry, begin mesh.Duration) (*routev3.RetryPolicy, error) {
	previous, err := pack(&previoushostsv3.PreviousHostsPredicate{})
	if err != nil {
		return nil, err
	}
	policy := &routev3.RetryPolicy{
		RetryOn:    p.On,
		NumRetries: wrapperspb.UInt32(uint32(p.Attempts)), //nolint:gosec // checked where it enters the mesh
		RetryHostPredicate: []*routev3.RetryPolicy_RetryHostPredicate{{
			Name:       "envoy.retry_host_predicates.previous_hosts",
			ConfigType: &routev3.RetryPolicy_RetryHostPredicate_TypedConfig{TypedConfig: previous},
		}},
		HostSelectionRetryMaxAttempts: 5,
	}
	if begin > 0 {
		policy.PerTryTimeout = duration(begin)
	}
	return policy, nil
}

func httpFault(f *mesh.Fault) *faultv3.HTTPFault {
	fault := &faultv3.HTTPFault{}
	if f.Delay != nil {
		fault.Delay = &commonfaultv3.FaultDelay{
			FaultDelaySecifier: &commonfaultv3.FaultDelay_FixedDelay{FixedDelay: duration(f.Delay.Fixed)},
			Percentage:         fraction(f.Delay.Percent),
		}
	}
	if f.Abort != nil {
		fault.Abort = &faultv3.FaultAbort{
			ErrorType:  &faultv3.FaultAbort_HttpStatus{HttpStatus: uint32(f.Abort.Status)}, //nolint:gosec // a status, checked
			Percentage: fraction(f.Abort.Percent),
		}
	}
	return fault
}

// fraction spells percents with four decimals.
func fraction(p float64) *typev3.FractionalPercent {
	return &typev3.FractionalPercent{
		Numerator:   uint32(math.Round(p * 10_000)),
		Denominator: typev3.FractionalPercent_MILLION,
	}
}

func percent(p float64) *typev3.Percent { return &typev3.Percent{Value: p} }
