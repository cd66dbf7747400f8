package envoy

import (
	"fmt"
	"net/netip"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	networkrbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/plan"
)

const (
	// byteWait is how long a port for bytes waits for a caller to begin TLS before it takes it for one in plain text:
	// where the server speaks first, such a caller says nothing. It is shorter than the pause between two steps of a
	// handover, so that whoever was let in is served. requestWait is the same where callers speak first.
	byteWait    = 500 * time.Millisecond
	requestWait = 15 * time.Second

	// handshakeWait bounds how long a caller may take for its part of TLS.
	handshakeWait = 10 * time.Second

	// plainChain and passedChain name what comes in plain text, and an application's own TLS, beside what is proven.
	plainChain  = "|plain"
	passedChain = "|tls"
	// plainWord and passedWord name their filter chains.
	plainWord  = "plain"
	passedWord = "tls"

	// remoteValue is the address that a connection comes from, not what x-forwarded-for says.
	remoteValue = "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"
)

// inboundListener takes what comes for a port of the workload, as the plan accepts it: what proves an identity, what is
// plain, and beside plain text the application's own TLS, which is passed on as it is.
func inboundListener(p plan.InboundListener) (*listenerv3.Listener, error) {
	l := listener(p.Name, address(p.Address, p.Port), corev3.TrafficDirection_INBOUND)
	l.AdditionalAddresses = furtherListeners(p.Further, p.Port)
	l.FilterChains = nil
	if p.Captured {
		l.BindToPort = wrapperspb.Bool(false)
	}
	if !p.HTTP && !p.Original {
		if err := checkTarget(p.Target); err != nil {
			return nil, err
		}
	}
	if p.Accept != mesh.Plain {
		chain, err := provenChain(p)
		if err != nil {
			return nil, err
		}
		l.FilterChains = append(l.FilterChains, chain)
	}
	if p.Accept == mesh.Both {
		filter, err := inboundBytes(p, p.Name+passedChain, false)
		if err != nil {
			return nil, err
		}
		chain := &listenerv3.FilterChain{Name: passedWord, FilterChainMatch: &listenerv3.FilterChainMatch{TransportProtocol: "tls"}}
		if chain.Filters, err = unprovenFilters(p, filter); err != nil {
			return nil, err
		}
		l.FilterChains = append(l.FilterChains, chain)
	}
	if p.Accept != mesh.TLS {
		filter, err := inboundFilter(p, p.Name+plainChain, false)
		if err != nil {
			return nil, err
		}
		chain := &listenerv3.FilterChain{Name: plainWord}
		if chain.Filters, err = unprovenFilters(p, filter); err != nil {
			return nil, err
		}
		l.FilterChains = append(l.FilterChains, chain)
	}
	probes, err := probing(p)
	if err != nil {
		return nil, err
	}
	l.FilterChains = append(l.FilterChains, probes...)
	if err := logConnections(l, p); err != nil || p.TrustDomain == "" {
		return l, err
	}
	return l, inspect(l, p)
}

// checkTarget returns an error unless a target is an address and a port: it stands in expressions, which it must not add to.
func checkTarget(target string) error {
	at, err := netip.ParseAddrPort(target)
	if err == nil && at.Addr().Zone() != "" { // which may hold anything
		err = fmt.Errorf("the target %q has a zone", target)
	}
	return err
}

// unprovenFilters returns the filters for callers that prove nothing, where nothing need be proven: they get to the target.
func unprovenFilters(p plan.InboundListener, last *listenerv3.Filter) ([]*listenerv3.Filter, error) {
	if p.HTTP || p.Original {
		return []*listenerv3.Filter{last}, nil
	}
	state, err := setState([]stateValue{{targetState, targetKind, p.Target}}, nil)
	return []*listenerv3.Filter{state, last}, err
}

// inspect has a listener find out whether callers speak TLS. A port for bytes that takes plain text alone does not wait for
// that; one for requests does: what is the same whatever it accepts leaves open connections where they are when that changes.
func inspect(l *listenerv3.Listener, p plan.InboundListener) error {
	wait := byteWait
	if p.HTTP {
		wait = requestWait
	}
	if p.Accept == mesh.Plain && !p.HTTP {
		return nil
	}
	inspector, err := pack(&tlsinspectorv3.TlsInspector{})
	if err != nil {
		return err
	}
	l.ListenerFilters = []*listenerv3.ListenerFilter{{
		Name:       "envoy.filters.listener.tls_inspector",
		ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: inspector},
	}}
	l.ListenerFiltersTimeout, l.ContinueOnListenerFiltersTimeout = durationpb.New(wait), true
	return nil
}

// provenChain takes callers that prove an identity of the trust domain, from the address that they prove.
func provenChain(p plan.InboundListener) (*listenerv3.FilterChain, error) {
	chain := &listenerv3.FilterChain{
		Name:                          mutualWord,
		FilterChainMatch:              &listenerv3.FilterChainMatch{TransportProtocol: "tls", ApplicationProtocols: []string{mutualALPN}},
		TransportSocketConnectTimeout: durationpb.New(handshakeWait),
	}
	var err error
	if chain.TransportSocket, err = takeMutual(p.TrustDomain); err != nil {
		return nil, err
	}
	state, err := setState(nil, provenStates(p))
	if err != nil {
		return nil, err
	}
	last, err := inboundFilter(p, p.Name, true)
	if err != nil {
		return nil, err
	}
	chain.Filters = []*listenerv3.Filter{state, last}
	if p.HTTP {
		own, err := onlyOwnPlace(p.Name)
		if err != nil {
			return nil, err
		}
		chain.Filters = []*listenerv3.Filter{state, own, last}
	}
	return chain, nil
}

// provenStates says from where who has proven an identity comes: an address that its certificate was given to, or another
// one. A certificate that names no address holds anywhere. Who comes from elsewhere gets no target. Addresses stand between commas, so
// that one is looked for as a whole among several.
func provenStates(p plan.InboundListener) []stateValue {
	is := func(condition, then, otherwise string) string {
		return "%CEL(" + condition + " ? " + then + " : '" + otherwise + "')%"
	}
	target := "'" + p.Target + "'"
	if p.Original {
		target = "destination.address"
	}
	state := func(key string) string { return "filter_state['" + key + "']" }
	text := func(key string) string { return "string(" + state(key) + ")" }
	states := []stateValue{
		{provenState, textKind, ",%DOWNSTREAM_PEER_IP_SAN%,"},
		{remoteState, textKind, ",%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%,"},
		{givenState, textKind, "given_to_%DOWNSTREAM_PEER_DNS_SAN%_at_%DOWNSTREAM_PEER_IP_SAN%"},
		{placeState, textKind, is(state(provenState)+" == b',-,' || "+text(provenState)+".contains("+text(remoteState)+")", "'"+ownPlace+"'", anotherPlace)},
	}
	if !p.HTTP {
		states = append(states, stateValue{targetState, targetKind, is(inPlace(ownPlace), target, "-")})
	}
	return states
}

// inPlace is an expression of CEL for a connection from a place.
func inPlace(place string) string { return "filter_state['" + placeState + "'] == b'" + place + "'" }

// onlyOwnPlace ends connections from elsewhere with their first byte, before which a port for requests does nothing.
func onlyOwnPlace(name string) (*listenerv3.Filter, error) {
	config, err := pack(&networkrbacv3.RBAC{
		StatPrefix: "lateen." + name,
		Rules: &rbacv3.RBAC{Policies: map[string]*rbacv3.Policy{"own-address": {
			Permissions: []*rbacv3.Permission{{Rule: &rbacv3.Permission_Any{Any: true}}},
			Principals: []*rbacv3.Principal{{Identifier: &rbacv3.Principal_FilterState{FilterState: &matcherv3.FilterStateMatcher{
				Key: placeState, Matcher: &matcherv3.FilterStateMatcher_StringMatch{StringMatch: &matcherv3.StringMatcher{
					MatchPattern: &matcherv3.StringMatcher_Exact{Exact: ownPlace},
				}},
			}}}},
		}}},
	})
	return &listenerv3.Filter{
		Name: "envoy.filters.network.rbac", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: config},
	}, err
}

// inboundFilter hands on requests or bytes, as the port speaks.
func inboundFilter(p plan.InboundListener, name string, proven bool) (*listenerv3.Filter, error) {
	if !p.HTTP {
		return inboundBytes(p, name, proven)
	}
	return inboundRequests(p, name, proven, []plan.Route{p.Route})
}

// inboundRequests hands on requests as the routes say.
func inboundRequests(p plan.InboundListener, name string, proven bool, planned []plan.Route) (*listenerv3.Filter, error) {
	source := remoteValue
	if proven {
		source = "%DOWNSTREAM_PEER_DNS_SAN%"
	}
	hcm, err := connectionManager(name, p.NoLog, inboundPlace(p, source))
	if err != nil {
		return nil, err
	}
	list, err := routes(planned)
	if err != nil {
		return nil, err
	}
	hcm.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{
		Name:             p.Name,
		VirtualHosts:     []*routev3.VirtualHost{{Name: p.Name, Domains: []string{"*"}, Routes: list, ResponseHeadersToRemove: []string{plan.UnsentHeader}}},
		ValidateClusters: wrapperspb.Bool(false),
	}}
	hcm.LocalReplyConfig = unsentReply()
	hcm.PreserveExternalRequestId = true
	hcm.SkipXffAppend = true
	if p.Captured {
		hcm.HttpProtocolOptions = oldHTTP()
	}
	if proven { // what a caller says of itself in that header is replaced by what it has proven; else it is removed
		hcm.ForwardClientCertDetails = hcmv3.HttpConnectionManager_SANITIZE_SET
		hcm.SetCurrentClientCertDetails = &hcmv3.HttpConnectionManager_SetCurrentClientCertDetails{Uri: true, Dns: true}
		hcm.CommonHttpProtocolOptions = &corev3.HttpProtocolOptions{MaxStreamDuration: duration(p.Longest)}
	}
	if hcm.HttpFilters, err = httpFilters(); err != nil {
		return nil, err
	}
	config, err := pack(hcm)
	return &listenerv3.Filter{
		Name: httpManager, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: config},
	}, err
}

// unsentReply marks answers to requests for which no connection to the application came about.
func unsentReply() *hcmv3.LocalReplyConfig {
	return &hcmv3.LocalReplyConfig{Mappers: []*hcmv3.ResponseMapper{{
		Filter: &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ResponseFlagFilter{
			ResponseFlagFilter: &accesslogv3.ResponseFlagFilter{Flags: []string{"UF"}},
		}},
		HeadersToAdd: []*corev3.HeaderValueOption{{Header: &corev3.HeaderValue{Key: plan.UnsentHeader, Value: "1"}}},
	}}}
}

// inboundBytes hands on bytes: of callers that prove an identity when they have done so, for the longest time on one connection.
func inboundBytes(p plan.InboundListener, name string, proven bool) (*listenerv3.Filter, error) {
	proxy := &tcpproxyv3.TcpProxy{StatPrefix: name, ClusterSpecifier: &tcpproxyv3.TcpProxy_Cluster{Cluster: p.Cluster}}
	if proven {
		proxy.MaxDownstreamConnectionDuration = duration(p.Longest)
		proxy.UpstreamConnectMode = tcpproxyv3.UpstreamConnectMode_ON_DOWNSTREAM_TLS_HANDSHAKE
		proxy.MaxEarlyDataBytes = wrapperspb.UInt32(0) // there is none before the handshake
	}
	if p.HTTP && !p.NoLog { // else the listener has one for all
		log, err := bytesLog(p, "")
		if err != nil {
			return nil, err
		}
		proxy.AccessLog = []*accesslogv3.AccessLog{log}
	}
	config, err := pack(proxy)
	return &listenerv3.Filter{
		Name: tcpProxyFilter, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: config},
	}, err
}
