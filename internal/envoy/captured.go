package envoy

import (
	"fmt"
	"slices"
	"strconv"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	mutationrulesv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	originaldstv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_dst/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	earlymutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/plan"
)

const (
	// dialledHeader carries the address that a request was captured on the way to, as the key of its scope. What the application
	// says in it is overwritten, and nobody else gets to see it.
	dialledHeader = "x-lateen-dst"
	dialledValue  = "%DOWNSTREAM_LOCAL_ADDRESS%"

	// clusterState is where Envoy looks for the name of the cluster to which a connection's bytes go.
	clusterState = "envoy.tcp_proxy.cluster"

	originalDst = "envoy.filters.listener.original_dst"
)

// requestProtocols are the words of the inspector for what it has found to be requests.
var requestProtocols = []string{"http/1.0", "http/1.1", http2ALPN + "c"}

// capturePorts are those of the proxy itself: what was going there would come back for ever, or call in the workload's name.
var capturePorts = []int{mesh.OutboundPort, mesh.InboundPort}

// buildCaptured builds what only captured workloads are told.
func buildCaptured(p plan.Plan) (string, proto.Message, error) {
	switch p := p.(type) {
	case plan.CapturedOutbound:
		msg, err := capturedOutbound(p)
		return p.Name, msg, err
	case plan.Inspected:
		msg, err := inspected(p)
		return p.Name, msg, err
	case plan.InspectCluster:
		msg, err := inspectCluster(p)
		return p.Name, msg, err
	case plan.CapturedInbound:
		msg, err := capturedInbound(p)
		return p.Name, msg, err
	case plan.OriginalCluster:
		msg, err := originalCluster(p)
		return p.Name, msg, err
	case plan.Scope:
		return p.Name, scope(p), nil
	case plan.DialledEndpoints:
		msg, err := dialledEndpoints(p)
		return p.Name, msg, err
	case plan.OutsideRoutes:
		msg, err := outsideRoutes(p)
		return p.Name, msg, err
	default:
		return "", nil, fmt.Errorf("no message for it")
	}
}

// scope is kept small: every captured workload has one for each address and port of a service.
func scope(p plan.Scope) *routev3.ScopedRouteConfiguration {
	return &routev3.ScopedRouteConfiguration{
		Name: p.Name, OnDemand: !p.Pressed, RouteConfigurationName: p.Routes,
		Key: &routev3.ScopedRouteConfiguration_Key{Fragments: []*routev3.ScopedRouteConfiguration_Key_Fragment{{
			Type: &routev3.ScopedRouteConfiguration_Key_Fragment_StringKey{StringKey: p.Name},
		}}},
	}
}

// closed ends connections to a port at once.
func closed(port int) *listenerv3.FilterChain {
	return &listenerv3.FilterChain{
		Name:             "closed " + strconv.Itoa(port),
		FilterChainMatch: &listenerv3.FilterChainMatch{DestinationPort: portValue(port)},
	}
}

func portValue(port int) *wrapperspb.UInt32Value {
	return wrapperspb.UInt32(uint32(port)) //nolint:gosec // ports are checked where they enter the mesh
}

// capturedRequests steers requests by the routes of the scope that their address has.
func capturedRequests(p plan.CapturedWays) ([]*listenerv3.Filter, error) {
	hcm, err := callerSide(steeredName, p.NoLog)
	if err != nil {
		return nil, err
	}
	hcm.StreamIdleTimeout = duration(p.WaitTimeout)
	hcm.HttpProtocolOptions = oldHTTP()
	hcm.RouteSpecifier = &hcmv3.HttpConnectionManager_ScopedRoutes{ScopedRoutes: &hcmv3.ScopedRoutes{
		Name: steeredName, RdsConfigSource: ads(),
		ScopeKeyBuilder: &hcmv3.ScopedRoutes_ScopeKeyBuilder{Fragments: []*hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder{{
			Type: &hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor_{
				HeaderValueExtractor: &hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor{
					Name:        dialledHeader,
					ExtractType: &hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor_Index{Index: 0},
				},
			},
		}}},
		ConfigSpecifier: &hcmv3.ScopedRoutes_ScopedRds{ScopedRds: &hcmv3.ScopedRds{ScopedRdsConfigSource: ads()}},
	}}
	mutation, err := pack(&earlymutationv3.HeaderMutation{Mutations: []*mutationrulesv3.HeaderMutation{{
		Action: &mutationrulesv3.HeaderMutation_Append{Append: &corev3.HeaderValueOption{
			Header:       &corev3.HeaderValue{Key: dialledHeader, Value: dialledValue},
			AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		}},
	}}})
	if err != nil {
		return nil, err
	}
	hcm.EarlyHeaderMutationExtensions = []*corev3.TypedExtensionConfig{{Name: earlyHeaderWrite, TypedConfig: mutation}}
	return steered(hcm, onDemandFilter)
}

// steered completes what takes requests that are steered by the addresses too which they come from and go to. Further filters come first.
func steered(hcm *hcmv3.HttpConnectionManager, further ...string) ([]*listenerv3.Filter, error) {
	var err error
	if hcm.HttpFilters, err = httpFilters(slices.Concat(further, steering)...); err != nil {
		return nil, err
	}
	state, err := setState([]stateValue{
		{sourceState, addressKind, "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"},
		{dialledState, addressKind, "%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%"},
	}, nil)
	if err != nil {
		return nil, err
	}
	config, err := pack(hcm)
	return []*listenerv3.Filter{state, {Name: httpManager, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: config}}}, err
}

// oldHTTP lets programs speak HTTP/1.0, who know nothing of a proxy.
func oldHTTP() *corev3.Http1ProtocolOptions {
	return &corev3.Http1ProtocolOptions{AcceptHttp_10: true, DefaultHostForHttp_10: "lateen.invalid"}
}

// capturedBytes hands bytes to the cluster for the address that they were going to, which is asked for when it is not there.
func capturedBytes(p plan.CapturedWays) ([]*listenerv3.Filter, error) {
	state, err := setState([]stateValue{{clusterState, clusterState, p.Dialled + dialledValue}}, nil)
	if err != nil {
		return nil, err
	}
	proxy := outboundBytes(p.Idle, p.Dialled) // which is no cluster: each connection says its own
	proxy.OnDemand = &tcpproxyv3.TcpProxy_OnDemand{OdcdsConfig: ads(), Timeout: duration(p.WaitTimeout)}
	config, err := pack(proxy)
	return []*listenerv3.Filter{state, {Name: tcpProxyFilter, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: config}}}, err
}

// passedOn takes connections of which the mesh knows nothing.
func passedOn(idle mesh.Duration, cluster string) (*listenerv3.FilterChain, error) {
	config, err := pack(outboundBytes(idle, cluster))
	return &listenerv3.FilterChain{Name: othersChain, Filters: []*listenerv3.Filter{
		{Name: tcpProxyFilter, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: config}},
	}}, err
}

func outboundBytes(idle mesh.Duration, cluster string) *tcpproxyv3.TcpProxy {
	return &tcpproxyv3.TcpProxy{
		StatPrefix: steeredName, IdleTimeout: duration(idle), MaxConnectAttempts: wrapperspb.UInt32(connectAttempts),
		ClusterSpecifier: &tcpproxyv3.TcpProxy_Cluster{Cluster: cluster},
	}
}

// capturedInbound hands connections to the listeners of their ports, and passes the others on.
func capturedInbound(p plan.CapturedInbound) (*listenerv3.Listener, error) {
	l, err := inboundListener(p.InboundListener)
	if err != nil {
		return nil, err
	}
	for _, port := range capturePorts {
		l.FilterChains = append(l.FilterChains, closed(port))
	}
	l.UseOriginalDst = wrapperspb.Bool(true)
	// What is about to be handed on is looked at there, by a listener that knows how long to wait.
	for _, filter := range l.ListenerFilters {
		filter.FilterDisabled = destinationPorts(p.Ports)
	}
	config, err := pack(&originaldstv3.OriginalDst{})
	l.ListenerFilters = append([]*listenerv3.ListenerFilter{{
		Name: originalDst, ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: config},
	}}, l.ListenerFilters...)
	return l, err
}

// destinationPorts matches connections that were going to one of the ports. It is nil without ports.
func destinationPorts(ports []int) *listenerv3.ListenerFilterChainMatchPredicate {
	var rules []*listenerv3.ListenerFilterChainMatchPredicate
	for _, port := range ports {
		rules = append(rules, &listenerv3.ListenerFilterChainMatchPredicate{
			Rule: &listenerv3.ListenerFilterChainMatchPredicate_DestinationPortRange{
				DestinationPortRange: &typev3.Int32Range{Start: int32(port), End: int32(port) + 1}, //nolint:gosec // a port
			},
		})
	}
	switch len(rules) {
	case 0:
		return nil
	case 1:
		return rules[0]
	}
	return &listenerv3.ListenerFilterChainMatchPredicate{Rule: &listenerv3.ListenerFilterChainMatchPredicate_OrMatch{
		OrMatch: &listenerv3.ListenerFilterChainMatchPredicate_MatchSet{Rules: rules},
	}}
}

// probing takes, where callers must prove who they are, those of the node, who cannot. Who speaks TLS is shown the workload's own
// certificate, since only its application has the one that it would show.
func probing(p plan.InboundListener) ([]*listenerv3.FilterChain, error) {
	only := p
	only.HTTP, only.Accept = true, mesh.Plain
	var chains []*listenerv3.FilterChain
	if len(p.SecureProbes) > 0 {
		filter, err := inboundRequests(only, p.Name+passedChain, false, p.SecureProbes)
		if err != nil {
			return nil, err
		}
		chain := &listenerv3.FilterChain{
			Name: "probes-tls", Filters: []*listenerv3.Filter{filter}, FilterChainMatch: &listenerv3.FilterChainMatch{TransportProtocol: "tls"},
			TransportSocketConnectTimeout: durationpb.New(handshakeWait),
		}
		if chain.TransportSocket, err = downstreamTLS(fromAgent(IdentitySecret)); err != nil {
			return nil, err
		}
		chains = append(chains, chain)
	}
	if len(p.Probes) > 0 {
		filter, err := inboundRequests(only, p.Name+plainChain, false, p.Probes)
		if err != nil {
			return nil, err
		}
		chains = append(chains, &listenerv3.FilterChain{Name: "probes", Filters: []*listenerv3.Filter{filter}})
	}
	return chains, nil
}

// originalCluster connects to where the connection was going to, from a source by which it is known where one is said.
func originalCluster(p plan.OriginalCluster) (*clusterv3.Cluster, error) {
	c := &clusterv3.Cluster{
		Name: p.Name, ConnectTimeout: duration(p.ConnectTimeout), CircuitBreakers: unbounded(), LbPolicy: clusterv3.Cluster_CLUSTER_PROVIDED,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_ORIGINAL_DST}, UpstreamBindConfig: from(p.Sources),
	}
	if !p.Requests {
		return c, nil
	}
	speak := plan.SpeakSame
	var err error
	if p.TLS {
		speak = plan.SpeakNegotiated
		if c.TransportSocket, err = anyTLS(); err != nil {
			return nil, err
		}
	}
	c.TypedExtensionProtocolOptions, err = protocolOptions(speak, poolBounds{idle: duration(p.IdleTimeout)}, nil)
	return c, err
}

// anyTLS speaks TLS as the node does to whom it probes: it asks for no name, and takes whatever certificate is shown.
func anyTLS() (*corev3.TransportSocket, error) {
	return socket(tlsSocket, &tlsv3.UpstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{TlsParams: newestTLS()}})
}

// from binds, of some addresses, the first one as source that is of the other side's family; without any nothing.
func from(sources []string) *corev3.BindConfig {
	if len(sources) == 0 {
		return nil
	}
	source := func(ip string) *corev3.SocketAddress {
		return &corev3.SocketAddress{Address: ip, PortSpecifier: &corev3.SocketAddress_PortValue{}}
	}
	c := &corev3.BindConfig{SourceAddress: source(sources[0])}
	for _, ip := range sources[1:] {
		c.ExtraSourceAddresses = append(c.ExtraSourceAddresses, &corev3.ExtraSourceAddress{Address: source(ip)})
	}
	return c
}

// furtherListeners has a listener listen on more addresses.
func furtherListeners(addresses []string, port int) []*listenerv3.AdditionalAddress {
	var list []*listenerv3.AdditionalAddress
	for _, ip := range addresses {
		list = append(list, &listenerv3.AdditionalAddress{Address: address(ip, port)})
	}
	return list
}

// dialledEndpoints puts each group into a locality of its own, which is what Envoy can weigh.
func dialledEndpoints(p plan.DialledEndpoints) (*endpointv3.ClusterLoadAssignment, error) {
	assignment := &endpointv3.ClusterLoadAssignment{ClusterName: p.Name}
	for i, group := range p.Groups {
		locality, err := localityOf(group.Endpoints)
		if err != nil {
			return nil, err
		}
		if locality == nil || group.Weight == 0 {
			continue
		}
		locality.Locality.SubZone = strconv.Itoa(i)
		locality.LoadBalancingWeight = wrapperspb.UInt32(uint32(group.Weight)) //nolint:gosec // 1 to 100, checked where it enters the mesh
		for _, e := range locality.LbEndpoints {
			e.Metadata.FilterMetadata[metadataKey].Fields["rule"] = structpb.NewStringValue(p.Rule)
		}
		assignment.Endpoints = append(assignment.Endpoints, locality)
	}
	return assignment, nil
}
