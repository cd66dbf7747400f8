package envoy

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	previoushostsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/plan"
)

func virtualHost(p plan.VirtualHost) (*routev3.VirtualHost, error) {
	list, err := routes(p.Routes)
	for _, r := range list {
		waitNoLonger(r.GetRoute())
	}
	return &routev3.VirtualHost{Name: p.Name, Domains: []string{p.Domain}, Routes: list}, err
}

// waitNoLonger ends the bound on how long a request may wait for its virtual host when that has come. The listener's
// bound is a time without a byte, and Envoy goes on counting for a request that has waited and has no body: only an idle
// timeout of 0 ends that at once. What the route says of idle streams is then the upstream side's to watch; a tunnel has no
// such bound.
func waitNoLonger(a *routev3.RouteAction) {
	if a == nil {
		return
	}
	if a.GetRetryPolicy() != nil && len(a.GetUpgradeConfigs()) == 0 {
		a.RetryPolicy.PerTryIdleTimeout = a.IdleTimeout
	}
	a.IdleTimeout = durationpb.New(0)
}

func onDemandRoutes(p plan.OnDemandRoutes) *routev3.RouteConfiguration {
	return &routev3.RouteConfiguration{
		Name:             p.Name,
		Vhds:             &routev3.Vhds{ConfigSource: ads()},
		ValidateClusters: wrapperspb.Bool(false),
	}
}

// outsideRoutes knows each host with and without the port that it is called at.
func outsideRoutes(p plan.OutsideRoutes) (*routev3.RouteConfiguration, error) {
	config := &routev3.RouteConfiguration{Name: p.Name, ValidateClusters: wrapperspb.Bool(false)}
	for _, h := range p.Hosts {
		list, err := routes(h.Routes)
		if err != nil {
			return nil, err
		}
		domains := []string{h.Domain}
		if h.Domain != "*" {
			domains = append(domains, fmt.Sprintf("%s:%d", h.Domain, p.Port))
		}
		config.VirtualHosts = append(config.VirtualHosts, &routev3.VirtualHost{Name: h.Name, Domains: domains, Routes: list})
	}
	return config, nil
}

func localRoutes(p plan.LocalRoutes) (*routev3.RouteConfiguration, error) {
	list, err := routes(p.Routes)
	config := &routev3.RouteConfiguration{
		Name:             p.Name,
		VirtualHosts:     []*routev3.VirtualHost{{Name: p.Name, Domains: []string{"*"}, Routes: list}},
		ValidateClusters: wrapperspb.Bool(false),
	}
	if p.Captured {
		config.RequestHeadersToRemove = []string{dialledHeader}
		for _, r := range list {
			waitNoLonger(r.GetRoute())
		}
	}
	return config, err
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
	r := &routev3.Route{Name: p.Name, Match: match}
	switch {
	case p.Answer != nil:
		r.Action = &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{
			Status: uint32(p.Answer.Status), //nolint:gosec // a status is checked where it enters the mesh
			Body:   &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: p.Answer.Body}},
		}}
		return r, nil
	case p.Redirect != nil:
		r.Action = &routev3.Route_Redirect{Redirect: redirect(p.Redirect)}
		return r, nil
	}
	action, err := routeAction(p)
	if err != nil {
		return nil, err
	}
	r.Action = &routev3.Route_Route{Route: action}
	for _, h := range p.Append {
		r.RequestHeadersToAdd = append(r.RequestHeadersToAdd, &corev3.HeaderValueOption{
			Header:       &corev3.HeaderValue{Key: h.Name, Value: strings.ReplaceAll(h.Value, "%", "%%")},
			AppendAction: corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD,
		})
	}
	if f := p.Fault; f != nil && f.Delay != nil && f.Delay.Header != "" {
		r.RequestHeadersToRemove = append(r.RequestHeadersToRemove, delayHeader)
	}
	if f := p.Fault; f != nil && f.Abort != nil && f.Abort.Header != "" {
		r.RequestHeadersToRemove = append(r.RequestHeadersToRemove, abortHeader)
	}
	r.TypedPerFilterConfig, err = filterConfigs(p)
	return r, err
}

func redirect(to *mesh.Redirect) *routev3.RedirectAction {
	// A port in the authority is taken as it is.
	r := &routev3.RedirectAction{HostRedirect: to.Authority, ResponseCode: routev3.RedirectAction_FOUND}
	if to.URI != "" {
		r.PathRewriteSpecifier = &routev3.RedirectAction_PathRedirect{PathRedirect: to.URI}
	}
	return r
}

func routeMatch(p plan.Route) (*routev3.RouteMatch, error) {
	m := &routev3.RouteMatch{}
	switch {
	case p.Connect:
		m.PathSpecifier = &routev3.RouteMatch_ConnectMatcher_{ConnectMatcher: &routev3.RouteMatch_ConnectMatcher{}}
	case p.Path.Kind == plan.PathExact:
		m.PathSpecifier = &routev3.RouteMatch_Path{Path: p.Path.Value}
	case p.Path.Kind == plan.PathPrefix:
		m.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: p.Path.Value}
	case p.Path.Kind == plan.PathElementPrefix:
		m.PathSpecifier = &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: p.Path.Value}
	case p.Path.Kind == plan.PathRegex:
		m.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: p.Path.Value}}
	default:
		return nil, fmt.Errorf("unknown path match %q", p.Path.Kind)
	}
	for _, h := range p.Headers {
		matcher, err := headerMatcher(h)
		if err != nil {
			return nil, fmt.Errorf("header %s: %w", h.Name, err)
		}
		m.Headers = append(m.Headers, matcher)
	}
	for key, networks := range map[string][]string{sourceState: p.Sources, dialledState: p.Dialled} {
		if len(networks) == 0 {
			continue
		}
		state, err := addressMatcher(key, networks)
		if err != nil {
			return nil, err
		}
		m.FilterState = append(m.FilterState, state)
	}
	slices.SortFunc(m.FilterState, func(a, b *matcherv3.FilterStateMatcher) int { return strings.Compare(a.GetKey(), b.GetKey()) })
	return m, nil
}

func headerMatcher(h plan.HeaderMatch) (*routev3.HeaderMatcher, error) {
	if h.Kind == mesh.MatchPresent {
		return &routev3.HeaderMatcher{
			Name: h.Name, HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true},
		}, nil
	}
	value, err := stringMatcher(h.StringMatch)
	return &routev3.HeaderMatcher{Name: h.Name, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: value}}, err
}

// addressMatcher matches the address that a listener has put under the key.
func addressMatcher(key string, networks []string) (*matcherv3.FilterStateMatcher, error) {
	ranges := make([]*xdscorev3.CidrRange, len(networks))
	for i, text := range networks {
		network, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, err
		}
		ranges[i] = &xdscorev3.CidrRange{
			AddressPrefix: network.Addr().String(), PrefixLen: wrapperspb.UInt32(uint32(network.Bits())), //nolint:gosec // 0 to 128
		}
	}
	return &matcherv3.FilterStateMatcher{
		Key:     key,
		Matcher: &matcherv3.FilterStateMatcher_AddressMatch{AddressMatch: &matcherv3.AddressMatcher{Ranges: ranges}},
	}, nil
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
	if p.Tunnel {
		a.UpgradeConfigs = []*routev3.RouteAction_UpgradeConfig{{
			UpgradeType: connectUpgrade, ConnectConfig: &routev3.RouteAction_UpgradeConfig_ConnectConfig{},
		}}
	}
	if p.Rewrite != nil {
		rewrite(a, p)
	}
	if p.Mirror != nil {
		a.RequestMirrorPolicies = []*routev3.RouteAction_RequestMirrorPolicy{{
			Cluster: p.Mirror.String(), DisableShadowHostSuffixAppend: true,
		}}
	}
	if p.Retry == (plan.Retry{}) && p.Begin == 0 {
		return a, nil
	}
	var err error
	a.RetryPolicy, err = retryPolicy(p)
	return a, err
}

// rewrite changes path and authority. Envoy's rewriting of prefixes cannot take a whole path of which any was matched: a
// regular expression does.
func rewrite(a *routev3.RouteAction, p plan.Route) {
	if w := p.Rewrite; w.Authority != "" {
		a.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: w.Authority}
	}
	a.PrefixRewrite = p.Rewrite.Prefix
	if p.Rewrite.Path != "" {
		a.RegexRewrite = &matcherv3.RegexMatchAndSubstitute{
			Pattern:      &matcherv3.RegexMatcher{Regex: "^.*$"},
			Substitution: strings.ReplaceAll(p.Rewrite.Path, `\`, `\\`),
		}
	}
}

// retryPolicy tries another endpoint where there may be one: a cluster of the proxy's own has one. The bound on the
// beginning of a response stands here too: Envoy calls it the timeout of a try, and stops it when the response has begun.
func retryPolicy(p plan.Route) (*routev3.RetryPolicy, error) {
	policy := &routev3.RetryPolicy{
		RetryOn:    p.Retry.On,
		NumRetries: wrapperspb.UInt32(uint32(p.Retry.Attempts)), //nolint:gosec // checked where it enters the mesh
	}
	if p.Begin > 0 {
		policy.PerTryTimeout = duration(p.Begin)
	}
	if p.Retry.Header != "" {
		policy.RetriableHeaders = []*routev3.HeaderMatcher{{
			Name: p.Retry.Header, HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true},
		}}
	}
	if p.Cluster != "" {
		return policy, nil
	}
	previous, err := pack(&previoushostsv3.PreviousHostsPredicate{})
	if err != nil {
		return nil, err
	}
	policy.RetryHostPredicate = []*routev3.RetryPolicy_RetryHostPredicate{{
		Name:       previousHosts,
		ConfigType: &routev3.RetryPolicy_RetryHostPredicate_TypedConfig{TypedConfig: previous},
	}}
	policy.HostSelectionRetryMaxAttempts = 5
	return policy, nil
}

// fraction spells percents with four decimals.
func fraction(p float64) *typev3.FractionalPercent {
	return &typev3.FractionalPercent{
		Numerator:   uint32(math.Round(p * 10_000)),
		Denominator: typev3.FractionalPercent_MILLION,
	}
}

func percent(p float64) *typev3.Percent { return &typev3.Percent{Value: p} }
