package envoy

import (
	"maps"
	"slices"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	headermutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	ondemandv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/on_demand/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lateen-mesh/lateen/internal/plan"
)

const (
	corsFilter     = "envoy.filters.http.cors"
	mutationFilter = "envoy.filters.http.header_mutation"
	faultFilter    = "envoy.filters.http.fault"
	onDemandFilter = "envoy.filters.http.on_demand"
	routerFilter   = "envoy.filters.http.router"
	tcpProxyFilter = "envoy.filters.network.tcp_proxy"
	httpManager    = "envoy.filters.network.http_connection_manager"

	websocketUpgrade = "websocket"
	connectUpgrade   = "CONNECT"

	// connectAttempts is how often a way to an endpoint is tried for bytes of which none has been sent: it may come to
	// nothing since the cluster changes, or the endpoint does not answer.
	connectAttempts = 3
)

// steering are the filters that routes to other workloads may configure, in their order.
var steering = []string{mutationFilter, corsFilter, faultFilter}

func outboundListener(p plan.OutboundListener) (*listenerv3.Listener, error) {
	hcm, err := callerSide(p.Name, p.NoLog)
	if err != nil {
		return nil, err
	}
	hcm.RouteSpecifier = askedRoutes(p.Routes)
	hcm.StreamIdleTimeout = duration(p.WaitTimeout)
	takeConnect(hcm)
	if hcm.HttpFilters, err = httpFilters(append([]string{onDemandFilter}, steering...)...); err != nil {
		return nil, err
	}
	return httpListener(p.Name, address(p.Address, p.Port), hcm, map[string]string{sourceState: p.Address})
}

// innerListener has no address: a cluster of the same proxy leads to it.
func innerListener(p plan.InnerListener) (*listenerv3.Listener, error) {
	hcm, err := callerSide(p.Name, p.NoLog)
	if err != nil {
		return nil, err
	}
	hcm.RouteSpecifier = askedRoutes(p.Routes)
	hcm.StreamIdleTimeout = duration(p.WaitTimeout)
	takeConnect(hcm)
	if hcm.HttpFilters, err = httpFilters(append([]string{onDemandFilter}, steering...)...); err != nil {
		return nil, err
	}
	l, err := httpListener(p.Name, nil, hcm, map[string]string{sourceState: p.Address})
	if err != nil {
		return nil, err
	}
	l.EnableReusePort = nil
	l.ListenerSpecifier = &listenerv3.Listener_InternalListener{InternalListener: &listenerv3.Listener_InternalListenerConfig{}}
	return l, nil
}

func localListener(p plan.LocalListener) (*listenerv3.Listener, error) {
	at := address(p.Address, p.Port)
	if !p.HTTP {
		filter := &listenerv3.Filter{Name: p.Name, ConfigType: &listenerv3.Filter_ConfigDiscovery{
			ConfigDiscovery: &corev3.ExtensionConfigSource{
				ConfigSource: ads(), TypeUrls: []string{typePrefix + string(proto.MessageName(&tcpproxyv3.TcpProxy{}))},
			},
		}}
		return listener(p.Name, at, corev3.TrafficDirection_OUTBOUND, filter), nil
	}
	hcm, err := callerSide(p.Name, p.NoLog)
	if err != nil {
		return nil, err
	}
	hcm.RouteSpecifier = askedRoutes(p.Name)
	if hcm.HttpFilters, err = httpFilters(steering...); err != nil {
		return nil, err
	}
	return httpListener(p.Name, at, hcm, map[string]string{sourceState: p.Address, dialledState: p.Address})
}

// localBytes says what a [plan.LocalListener] does with bytes. It comes by itself, so that open connections stay when it
// changes.
func localBytes(p plan.LocalBytes) (*corev3.TypedExtensionConfig, error) {
	proxy := &tcpproxyv3.TcpProxy{
		StatPrefix: p.Name, IdleTimeout: duration(p.Idle), MaxConnectAttempts: wrapperspb.UInt32(connectAttempts),
	}
	if !p.NoLog {
		log, err := connectionLog(logFormat{
			"source":      "%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%", // a local address is the workload's own
			"destination": string(p.Host),
			"version":     "%METADATA(UPSTREAM_HOST:lateen:version)%",
			"peer":        "%UPSTREAM_PEER_URI_SAN%",
			"tls":         "%UPSTREAM_TLS_VERSION%",
			"rule":        p.Rule,
			"details":     "%RESPONSE_CODE_DETAILS%",
		}, "")
		if err != nil {
			return nil, err
		}
		proxy.AccessLog = []*accesslogv3.AccessLog{log}
	}
	if p.End > 0 {
		proxy.MaxDownstreamConnectionDuration = duration(p.End)
	}
	if len(p.Shares) == 1 {
		proxy.ClusterSpecifier = &tcpproxyv3.TcpProxy_Cluster{Cluster: p.Shares[0].Subset.String()}
	} else {
		weighted := &tcpproxyv3.TcpProxy_WeightedCluster{}
		for _, s := range p.Shares {
			weighted.Clusters = append(weighted.Clusters, &tcpproxyv3.TcpProxy_WeightedCluster_ClusterWeight{
				Name: s.Subset.String(), Weight: uint32(s.Weight), //nolint:gosec // 1 to 100, checked where it enters the mesh
			})
		}
		proxy.ClusterSpecifier = &tcpproxyv3.TcpProxy_WeightedClusters{WeightedClusters: weighted}
	}
	config, err := pack(proxy)
	return &corev3.TypedExtensionConfig{Name: p.Name, TypedConfig: config}, err
}

// callerSide returns what takes the requests of a workload itself.
func callerSide(name string, noLog bool) (*hcmv3.HttpConnectionManager, error) {
	hcm, err := connectionManager(name, noLog, logFormat{
		"source":      selfValue,
		"destination": "%METADATA(CLUSTER:lateen:host)%",
		"version":     "%METADATA(UPSTREAM_HOST:lateen:version)%",
		"peer":        "%UPSTREAM_PEER_URI_SAN%",
		"tls":         "%UPSTREAM_TLS_VERSION%",
	})
	if err != nil {
		return nil, err
	}
	hcm.PreserveExternalRequestId = true
	hcm.SkipXffAppend = true
	return hcm, nil
}

// takeConnect lets CONNECT through to the routes, which end it.
func takeConnect(hcm *hcmv3.HttpConnectionManager) {
	hcm.UpgradeConfigs = append(hcm.UpgradeConfigs, &hcmv3.HttpConnectionManager_UpgradeConfig{UpgradeType: connectUpgrade})
	hcm.Http2ProtocolOptions = &corev3.Http2ProtocolOptions{AllowConnect: true}
}

// connectionManager holds what all HTTP listeners have in common. The place is what the access log says of where it is.
func connectionManager(name string, noLog bool, place logFormat) (*hcmv3.HttpConnectionManager, error) {
	hcm := &hcmv3.HttpConnectionManager{
		StatPrefix:                 name,
		ServerHeaderTransformation: hcmv3.HttpConnectionManager_PASS_THROUGH,
		NormalizePath:              wrapperspb.Bool(true),
		UseRemoteAddress:           wrapperspb.Bool(false),
		StreamIdleTimeout:          durationpb.New(0), // every route says its own
		UpgradeConfigs:             []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: websocketUpgrade}},
	}
	if noLog {
		return hcm, nil
	}
	log, err := requestLog(place)
	hcm.AccessLog = []*accesslogv3.AccessLog{log}
	return hcm, err
}

func askedRoutes(name string) *hcmv3.HttpConnectionManager_Rds {
	return &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{RouteConfigName: name, ConfigSource: ads()}}
}

// httpFilters returns the named filters, then the router.
func httpFilters(names ...string) ([]*hcmv3.HttpFilter, error) {
	configs := map[string]proto.Message{
		onDemandFilter: &ondemandv3.OnDemand{},
		mutationFilter: &headermutationv3.HeaderMutation{},
		corsFilter:     &corsv3.Cors{},
		faultFilter:    &faultv3.HTTPFault{},
		// Envoy's own headers tell applications and strangers what they need not know.
		routerFilter: &routerv3.Router{SuppressEnvoyHeaders: true},
	}
	var filters []*hcmv3.HttpFilter
	for _, name := range append(names, routerFilter) {
		config, err := pack(configs[name])
		if err != nil {
			return nil, err
		}
		filters = append(filters, &hcmv3.HttpFilter{
			Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: config},
		})
	}
	return filters, nil
}

// httpListener returns a listener for requests that puts addresses where routes find them.
func httpListener(name string, at *corev3.Address, hcm *hcmv3.HttpConnectionManager, state map[string]string) (*listenerv3.Listener, error) {
	var filters []*listenerv3.Filter
	if len(state) > 0 {
		var values []stateValue
		for _, key := range slices.Sorted(maps.Keys(state)) {
			values = append(values, stateValue{key, addressKind, state[key]})
		}
		filter, err := setState(values, nil)
		if err != nil {
			return nil, err
		}
		filters = append(filters, filter)
	}
	config, err := pack(hcm)
	if err != nil {
		return nil, err
	}
	filters = append(filters, &listenerv3.Filter{
		Name:       httpManager,
		ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: config},
	})
	return listener(name, at, corev3.TrafficDirection_OUTBOUND, filters...), nil
}

func listener(name string, at *corev3.Address, direction corev3.TrafficDirection, filters ...*listenerv3.Filter) *listenerv3.Listener {
	return &listenerv3.Listener{
		Name:             name,
		Address:          at,
		TrafficDirection: direction,
		FilterChains:     []*listenerv3.FilterChain{{Filters: filters}},
		// A new listener on the address of one that is going away would share its port with it.
		EnableReusePort:               wrapperspb.Bool(false),
		PerConnectionBufferLimitBytes: wrapperspb.UInt32(1 << 20),
	}
}
