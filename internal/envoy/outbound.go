package envoy

import (
	"cmp"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	httpinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/http_inspector/v3"
	originaldstv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_dst/v3"
	proxyprotocolv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/proxy_protocol/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	upstreamproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/proxy_protocol/v3"
	rawbufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lateen-mesh/lateen/internal/plan"
)

const (
	// steeredName is that of what both listeners for what a captured workload sends have in common, so that it is there once.
	steeredName = "outbound"

	// Filter chains of what goes out of a captured workload: to the proxy's own ports, of the mesh as requests, as bytes, what is to
	// be looked at, and bytes to whom the mesh does not know.
	closedChain   = "closed"
	requestsChain = "requests"
	bytesChain    = "bytes"
	inspectChain  = "inspect"
	othersChain   = "others"

	// What is handed on is tried again for some four seconds.
	handedAttempts = 10
	handedPause    = 50 * time.Millisecond
	handedLongest  = time.Second
)

// capturedOutbound looks at nothing but addresses: it waits for nobody. What it has for each port and network are no chains, so that open
// connections stay when these come and go.
func capturedOutbound(p plan.CapturedOutbound) (*listenerv3.Listener, error) {
	l := listener(p.Name, address(p.Addresses[0], p.Port), corev3.TrafficDirection_OUTBOUND)
	l.AdditionalAddresses = furtherListeners(p.Addresses[1:], p.Port)
	if err := steeredChains(l, p.CapturedWays); err != nil {
		return nil, err
	}
	var err error
	if p.Inspect != "" {
		handed, err := handedOn(p.Inspect)
		if err != nil {
			return nil, err
		}
		l.FilterChains = append(l.FilterChains, &listenerv3.FilterChain{Name: inspectChain, Filters: handed})
	}
	if p.Passthrough != "" {
		if l.DefaultFilterChain, err = passedOn(p.Idle, p.Passthrough); err != nil {
			return nil, err
		}
	}
	w, err := outboundWay(p)
	if err != nil {
		return nil, err
	}
	l.FilterChainMatcher = w.GetMatcher()
	return l, addListenerFilter(l, "original_dst", &originaldstv3.OriginalDst{})
}

// outboundWay tells connections apart by where they were going to.
func outboundWay(p plan.CapturedOutbound) (way, error) {
	requests, err1 := byChain(requestsChain)
	bytes, err2 := byChain(bytesChain)
	inspect, err3 := byChain(inspectChain)
	if err := cmp.Or(err1, err2, err3); err != nil {
		return nil, err
	}
	spoken := map[int]way{}
	for _, port := range p.Requests {
		spoken[port] = requests
	}
	for _, port := range p.Bytes {
		spoken[port] = bytes
	}
	for _, apart := range p.Apart {
		w, err := byNetwork([]networkWay{{each(apart.Addresses), bytes}}, requests)
		if err != nil {
			return nil, err
		}
		spoken[apart.Port] = w
	}
	for _, port := range p.Unclear {
		spoken[port] = inspect
	}
	// A number that no service has, or that nobody here has heard of yet: the address is asked for, as that of a pod.
	others, rest := bytes, way(nil)
	if p.Passthrough == "" {
		others, rest = inspect, inspect
	}
	services, err := byPort(spoken, others)
	if err != nil {
		return nil, err
	}
	outside := map[int]way{}
	for _, port := range p.Outside {
		outside[port] = inspect
	}
	for _, named := range p.Named {
		if outside[named.Port], err = byNetwork([]networkWay{{named.Networks, bytes}}, rest); err != nil {
			return nil, err
		}
	}
	if rest, err = byPort(outside, rest); err != nil {
		return nil, err
	}
	if rest, err = byNetwork([]networkWay{{p.Services, services}, {p.Mesh, bytes}}, rest); err != nil {
		return nil, err
	}
	return butClosed(rest)
}

// inspected is reached by the proxy only.
func inspected(p plan.Inspected) (*listenerv3.Listener, error) {
	l := listener(p.Name, pipe(p.Socket), corev3.TrafficDirection_OUTBOUND)
	l.IgnoreGlobalConnLimit = true // the listener that hands on has counted it
	if err := steeredChains(l, p.CapturedWays); err != nil {
		return nil, err
	}
	var err error
	if p.Others == "" {
		l.DefaultFilterChain, err = passedOn(p.Idle, p.Passthrough)
	} else {
		l.DefaultFilterChain = &listenerv3.FilterChain{Name: othersChain} // it ends connections at once
		var filters []*listenerv3.Filter
		filters, err = otherRequests(p)
		l.FilterChains = append(l.FilterChains, &listenerv3.FilterChain{Name: outsideChain, Filters: filters})
	}
	if err != nil {
		return nil, err
	}
	for _, way := range p.Outside {
		filters, err := outsideRequests(p, way.Routes)
		if err != nil {
			return nil, err
		}
		l.FilterChains = append(l.FilterChains, &listenerv3.FilterChain{Name: outsideChainOf(way.Port), Filters: filters})
	}
	w, err := inspectedWay(p)
	if err != nil {
		return nil, err
	}
	l.FilterChainMatcher = w.GetMatcher()
	// The header with the addresses comes with the connection. Where this proxy does not get to read it in time, it ends as unknown.
	l.ListenerFiltersTimeout, l.ContinueOnListenerFiltersTimeout = durationpb.New(byteWait), true
	if err := addListenerFilter(l, "proxy_protocol", &proxyprotocolv3.ProxyProtocol{}); err != nil {
		return nil, err
	}
	return l, addListenerFilter(l, "http_inspector", &httpinspectorv3.HttpInspector{})
}

// inspectedWay tells connections apart by where they were going to and by what they begin with.
func inspectedWay(p plan.Inspected) (way, error) {
	requests, err1 := byChain(requestsChain)
	bytes, err2 := byChain(bytesChain)
	if err := cmp.Or(err1, err2); err != nil {
		return nil, err
	}
	services, err := ofRequests(requests, bytes)
	if err != nil {
		return nil, err
	}
	var rest way
	if p.Others != "" {
		if rest, err = requestsBy(outsideChain); err != nil {
			return nil, err
		}
	}
	outside := map[int]way{}
	for _, o := range p.Outside {
		if outside[o.Port], err = requestsBy(outsideChainOf(o.Port)); err != nil {
			return nil, err
		}
	}
	if rest, err = byPort(outside, rest); err != nil {
		return nil, err
	}
	if rest, err = byNetwork([]networkWay{{p.Services, services}}, rest); err != nil {
		return nil, err
	}
	return butClosed(rest)
}

// requestsBy has requests take a chain, and everything else the default one.
func requestsBy(chain string) (way, error) {
	w, err := byChain(chain)
	if err != nil {
		return nil, err
	}
	return ofRequests(w, nil)
}

// butClosed ends connections to the proxy's own ports, and has others take a way: those would come back for ever, or call in the
// workload's name.
func butClosed(rest way) (way, error) {
	closed, err := byChain(closedChain)
	if err != nil {
		return nil, err
	}
	ways := map[int]way{}
	for _, port := range capturePorts {
		ways[port] = closed
	}
	return byPort(ways, rest)
}

// steeredChains gives a listener the chains of all that goes to the mesh, one that ends connections at once, and a log of bytes.
func steeredChains(l *listenerv3.Listener, p plan.CapturedWays) error {
	requests, err := capturedRequests(p)
	if err != nil {
		return err
	}
	bytes, err := capturedBytes(p)
	if err != nil {
		return err
	}
	l.FilterChains = []*listenerv3.FilterChain{
		{Name: closedChain}, {Name: requestsChain, Filters: requests}, {Name: bytesChain, Filters: bytes},
	}
	if p.NoLog {
		return nil
	}
	log, err := outboundLog()
	l.AccessLog = []*accesslogv3.AccessLog{log}
	return err
}

// handedOn hands connections to the [plan.Inspected], which may come at the same time and be ready a moment later: its routes come after it.
// How long they may be silent is its affair.
func handedOn(cluster string) ([]*listenerv3.Filter, error) {
	config, err := pack(&tcpproxyv3.TcpProxy{
		StatPrefix: cluster, IdleTimeout: durationpb.New(0), ClusterSpecifier: &tcpproxyv3.TcpProxy_Cluster{Cluster: cluster},
		MaxConnectAttempts: wrapperspb.UInt32(handedAttempts),
		BackoffOptions:     &corev3.BackoffStrategy{BaseInterval: durationpb.New(handedPause), MaxInterval: durationpb.New(handedLongest)},
	})
	return []*listenerv3.Filter{{Name: tcpProxyFilter, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: config}}}, err
}

// inspectCluster says first from where and to where a connection was going.
func inspectCluster(p plan.InspectCluster) (*clusterv3.Cluster, error) {
	plain, err := socket(plainSocket, &rawbufferv3.RawBuffer{})
	if err != nil {
		return nil, err
	}
	c := &clusterv3.Cluster{
		Name:                 p.Name,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		CircuitBreakers:      unbounded(),
		LoadAssignment: &endpointv3.ClusterLoadAssignment{
			ClusterName: p.Name,
			Endpoints: []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{{
				HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: pipe(p.Socket)}},
			}}}},
		},
	}
	c.TransportSocket, err = socket(proxyProtocol, &upstreamproxyv3.ProxyProtocolUpstreamTransport{
		Config: &corev3.ProxyProtocolConfig{Version: corev3.ProxyProtocolConfig_V2}, TransportSocket: plain,
	})
	return c, err
}

// pipe is a socket in the proxy's folder, which is its working folder. Nobody else may use it.
func pipe(path string) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: path, Mode: 0o600}}}
}

// outboundLog is one for the bytes of all filter chains. Only those of the mesh, and of networks that are named, have a cluster that says
// whose they are.
func outboundLog() (*accesslogv3.AccessLog, error) {
	unknown := "xds.filter_chain_name == '" + othersChain + "'"
	return connectionLog(logFormat{
		"source":      selfValue,
		"destination": "%CEL(" + unknown + " ? destination.address : xds.cluster_metadata.filter_metadata['lateen']['host'])%",
		"version":     "%METADATA(UPSTREAM_HOST:lateen:version)%",
		"peer":        "%UPSTREAM_PEER_URI_SAN%",
		"tls":         "%UPSTREAM_TLS_VERSION%",
		"rule":        "%METADATA(UPSTREAM_HOST:lateen:rule)%",
		"details":     "%RESPONSE_CODE_DETAILS%",
	}, unknown+" || xds.filter_chain_name == '"+bytesChain+"'")
}
