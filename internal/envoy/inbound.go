package envoy

import (
	"errors"
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
	exprv1alpha1 "google.golang.org/genproto/googleapis/api/expr/v1alpha1"
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

	// plainChain and passedChain name what comes in plain text, and an application's own TLS, beside what is proven.
	plainChain  = "|plain"
	passedChain = "|tls"

	// Where a connection's state has the address in the caller's certificate, "-" for none, and the one that it comes from.
	provenState = "lateen.proven-address"
	remoteState = "lateen.remote-address"
)

// Who called, as the access log says it: the workload that the certificate was given to, or else an address.
const (
	provenCaller = "%DOWNSTREAM_PEER_DNS_SAN%"
	plainCaller  = "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"
)

// inboundListener takes what comes for a port of the workload, as the plan accepts it: what proves an identity, what is
// plain, and beside plain text the application's own TLS, which is passed on as it is.
func inboundListener(p plan.InboundListener) (*listenerv3.Listener, error) {
	l := listener(p.Name, address(p.Address, p.Port), corev3.TrafficDirection_INBOUND)
	l.FilterChains = nil
	if p.Accept != mesh.Plain {
		chain, err := provenChain(p)
		if err != nil {
			return nil, err
		}
		l.FilterChains = append(l.FilterChains, chain)
	}
	if p.Accept == mesh.Both {
		filter, err := inboundBytes(p, p.Name+passedChain, plainCaller, 0)
		if err != nil {
			return nil, err
		}
		l.FilterChains = append(l.FilterChains, &listenerv3.FilterChain{
			Name: "tls", FilterChainMatch: &listenerv3.FilterChainMatch{TransportProtocol: "tls"}, Filters: []*listenerv3.Filter{filter},
		})
	}
	if p.Accept != mesh.TLS {
		filter, err := inboundFilter(p, p.Name+plainChain, plainCaller, false)
		if err != nil {
			return nil, err
		}
		l.FilterChains = append(l.FilterChains, &listenerv3.FilterChain{Name: "plain", Filters: []*listenerv3.Filter{filter}})
	}
	if p.TrustDomain == "" {
		return l, nil
	}
	return l, errors.Join(inspect(l, p), logTurnedAway(l, p))
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
		Name:             mutualWord,
		FilterChainMatch: &listenerv3.FilterChainMatch{TransportProtocol: "tls", ApplicationProtocols: []string{mutualALPN}},
	}
	var err error
	if chain.TransportSocket, err = takeMutual(p.TrustDomain); err != nil {
		return nil, err
	}
	state, err := addressState(textState, map[string]string{
		provenState: "%DOWNSTREAM_PEER_IP_SAN%", remoteState: "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%",
	})
	if err != nil {
		return nil, err
	}
	own, err := ownAddress(p.Name)
	if err != nil {
		return nil, err
	}
	last, err := inboundFilter(p, p.Name, provenCaller, true)
	chain.Filters = []*listenerv3.Filter{state, own, last}
	return chain, err
}

// ownAddress refuses callers whose certificate was given to a workload with another address than theirs. One that names no
// address holds anywhere.
func ownAddress(name string) (*listenerv3.Filter, error) {
	config, err := pack(&networkrbacv3.RBAC{
		StatPrefix: "lateen." + name,
		Rules: &rbacv3.RBAC{Policies: map[string]*rbacv3.Policy{"own-address": {
			Permissions: []*rbacv3.Permission{{Rule: &rbacv3.Permission_Any{Any: true}}},
			Principals:  []*rbacv3.Principal{{Identifier: &rbacv3.Principal_Any{Any: true}}},
			Condition: call("_||_",
				call("_==_", stateOf(provenState), text("-")),
				call("_==_", stateOf(provenState), stateOf(remoteState))),
		}}},
	})
	return &listenerv3.Filter{
		Name: "envoy.filters.network.rbac", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: config},
	}, err
}

// call, text and stateOf spell an expression of CEL: a function, a text, and what a connection's state has under a key.
func call(function string, args ...*exprv1alpha1.Expr) *exprv1alpha1.Expr {
	return &exprv1alpha1.Expr{ExprKind: &exprv1alpha1.Expr_CallExpr{CallExpr: &exprv1alpha1.Expr_Call{Function: function, Args: args}}}
}

func text(value string) *exprv1alpha1.Expr {
	return &exprv1alpha1.Expr{ExprKind: &exprv1alpha1.Expr_ConstExpr{
		ConstExpr: &exprv1alpha1.Constant{ConstantKind: &exprv1alpha1.Constant_StringValue{StringValue: value}},
	}}
}

func stateOf(key string) *exprv1alpha1.Expr {
	return call("_[_]", &exprv1alpha1.Expr{ExprKind: &exprv1alpha1.Expr_IdentExpr{
		IdentExpr: &exprv1alpha1.Expr_Ident{Name: "filter_state"},
	}}, text(key))
}

// inboundFilter hands on requests or bytes, as the port speaks.
func inboundFilter(p plan.InboundListener, name string, caller string, proven bool) (*listenerv3.Filter, error) {
	longest := mesh.Duration(0)
	if proven {
		longest = p.Longest
	}
	if !p.HTTP {
		return inboundBytes(p, name, caller, longest)
	}
	hcm, err := connectionManager(name, p.NoLog, inboundPlace(p, caller))
	if err != nil {
		return nil, err
	}
	list, err := routes([]plan.Route{p.Route})
	if err != nil {
		return nil, err
	}
	hcm.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{
		Name:             p.Name,
		VirtualHosts:     []*routev3.VirtualHost{{Name: p.Name, Domains: []string{"*"}, Routes: list}},
		ValidateClusters: wrapperspb.Bool(false),
	}}
	hcm.PreserveExternalRequestId = true
	hcm.SkipXffAppend = true
	if proven { // what a caller says of itself in that header is replaced by what it has proven; else it is removed
		hcm.ForwardClientCertDetails = hcmv3.HttpConnectionManager_SANITIZE_SET
		hcm.SetCurrentClientCertDetails = &hcmv3.HttpConnectionManager_SetCurrentClientCertDetails{Uri: true, Dns: true}
		hcm.CommonHttpProtocolOptions = &corev3.HttpProtocolOptions{MaxStreamDuration: duration(longest)}
	}
	if hcm.HttpFilters, err = httpFilters(); err != nil {
		return nil, err
	}
	config, err := pack(hcm)
	return &listenerv3.Filter{
		Name: httpManager, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: config},
	}, err
}

// inboundBytes hands on bytes, of one connection for the longest time (0: no bound).
func inboundBytes(p plan.InboundListener, name string, caller string, longest mesh.Duration) (*listenerv3.Filter, error) {
	proxy := &tcpproxyv3.TcpProxy{StatPrefix: name, ClusterSpecifier: &tcpproxyv3.TcpProxy_Cluster{Cluster: p.Cluster}}
	if longest > 0 {
		proxy.MaxDownstreamConnectionDuration = duration(longest)
	}
	if !p.NoLog {
		place := inboundPlace(p, caller)
		place["rule"] = "inbound"
		log, err := accessLog(place)
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

// inboundPlace is what the access log says of where it is and who called.
func inboundPlace(p plan.InboundListener, caller string) map[string]string {
	return map[string]string{
		"source": caller, "destination": string(p.Host), "version": p.Version,
		"peer": "%DOWNSTREAM_PEER_URI_SAN%", "tls": "%DOWNSTREAM_TLS_VERSION%",
	}
}
