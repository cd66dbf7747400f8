package envoy

import (
	"maps"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	filelogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
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
	faultFilter    = "envoy.filters.http.fault"
	onDemandFilter = "envoy.filters.http.on_demand"
	routerFilter   = "envoy.filters.http.router"
)

func outboundListener(p plan.OutboundListener) (*listenerv3.Listener, error) {
	log, err := accessLog(map[string]string{
		"source":      p.Workload,
		"destination": "%METADATA(CLUSTER:lateen:host)%",
		"version":     "%METADATA(UPSTREAM_HOST:lateen:version)%",
	})
	if err != nil {
		return nil, err
	}
	hcm := connectionManager(p.Name, log)
	hcm.RouteSpecifier = askedRoutes(p.Routes)
	hcm.StreamIdleTimeout = duration(p.WaitTimeout)
	hcm.PreserveExternalRequestId = true
	hcm.SkipXffAppend = true
	if hcm.HttpFilters, err = httpFilters(onDemandFilter, faultFilter); err != nil {
		return nil, err
	}
	return httpListener(p.Name, address(p.Address, p.Port), corev3.TrafficDirection_OUTBOUND, hcm)
}

func doorListener(p plan.DoorListener) (*listenerv3.Listener, error) {
	log, err := accessLog(map[string]string{
		"source":      "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
		"destination": "%METADATA(CLUSTER:lateen:host)%",
		"version":     "%METADATA(UPSTREAM_HOST:lateen:version)%",
	})
	if err != nil {
		return nil, err
	}
	hcm := connectionManager(p.Name, log)
	hcm.RouteSpecifier = askedRoutes(p.Routes)
	hcm.UseRemoteAddress = wrapperspb.Bool(true)
	if hcm.HttpFilters, err = httpFilters(faultFilter); err != nil {
		return nil, err
	}
	return httpListener(p.Name, address(p.Address, p.Port), corev3.TrafficDirection_OUTBOUND, hcm)
}

func inboundListener(p plan.InboundListener) (*listenerv3.Listener, error) {
	if !p.HTTP {
		return tcpListener(p)
	}
	log, err := accessLog(map[string]string{
		"source":      "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
		"destination": string(p.Host),
		"version":     p.Version,
	})
	if err != nil {
		return nil, err
	}
	hcm := connectionManager(p.Name, log)
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
	if hcm.HttpFilters, err = httpFilters(); err != nil {
		return nil, err
	}
	return httpListener(p.Name, address(p.Address, p.Port), corev3.TrafficDirection_INBOUND, hcm)
}

func tcpListener(p plan.InboundListener) (*listenerv3.Listener, error) {
	filter, err := pack(&tcpproxyv3.TcpProxy{
		StatPrefix:       p.Name,
		ClusterSpecifier: &tcpproxyv3.TcpProxy_Cluster{Cluster: p.Cluster},
	})
	if err != nil {
		return nil, err
	}
	return listener(p.Name, address(p.Address, p.Port), corev3.TrafficDirection_INBOUND, &listenerv3.Filter{
		Name:       "envoy.filters.network.tcp_proxy",
		ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: filter},
	}), nil
}

// connectionManager holds what all HTTP listeners have in common.
func connectionManager(name string, log *accesslogv3.AccessLog) *hcmv3.HttpConnectionManager {
	return &hcmv3.HttpConnectionManager{
		StatPrefix:                 name,
		AccessLog:                  []*accesslogv3.AccessLog{log},
		ServerHeaderTransformation: hcmv3.HttpConnectionManager_PASS_THROUGH,
		NormalizePath:              wrapperspb.Bool(true),
		UseRemoteAddress:           wrapperspb.Bool(false),
		StreamIdleTimeout:          durationpb.New(0), // every route says its own
		UpgradeConfigs:             []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}},
	}
}

func askedRoutes(name string) *hcmv3.HttpConnectionManager_Rds {
	return &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{RouteConfigName: name, ConfigSource: ads()}}
}

// httpFilters returns the named filters, then the router.
func httpFilters(names ...string) ([]*hcmv3.HttpFilter, error) {
	configs := map[string]proto.Message{
		onDemandFilter: &ondemandv3.OnDemand{},
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

func httpListener(name string, at *corev3.Address, direction corev3.TrafficDirection, hcm *hcmv3.HttpConnectionManager) (*listenerv3.Listener, error) {
	config, err := pack(hcm)
	if err != nil {
		return nil, err
	}
	return listener(name, at, direction, &listenerv3.Filter{
		Name:       "envoy.filters.network.http_connection_manager",
		ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: config},
	}), nil
}

func listener(name string, at *corev3.Address, direction corev3.TrafficDirection, filter *listenerv3.Filter) *listenerv3.Listener {
	return &listenerv3.Listener{
		Name:             name,
		Address:          at,
		TrafficDirection: direction,
		FilterChains:     []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{filter}}},
		// A new listener on the address of one that is going away would share its port with it.
		EnableReusePort:               wrapperspb.Bool(false),
		PerConnectionBufferLimitBytes: wrapperspb.UInt32(1 << 20),
	}
}

// AccessLogPath is where proxies write their access log. The agent that starts Envoy in a folder of its own makes it a file there.
const AccessLogPath = "access.log"

// accessLog writes one JSON object per request; its keys are fixed in docs/reference/interfaces.md.
func accessLog(place map[string]string) (*accesslogv3.AccessLog, error) {
	format := map[string]string{
		"time":        "%START_TIME%",
		"method":      "%REQ(:METHOD)%",
		"authority":   "%REQ(:AUTHORITY)%",
		"path":        "%REQ(:PATH)%",
		"code":        "%RESPONSE_CODE%",
		"flags":       "%RESPONSE_FLAGS%",
		"details":     "%RESPONSE_CODE_DETAILS%",
		"rule":        "%METADATA(ROUTE:lateen:rule)%",
		"duration_ms": "%DURATION%",
		"bytes_in":    "%BYTES_RECEIVED%",
		"bytes_out":   "%BYTES_SENT%",
		"request_id":  "%REQ(X-REQUEST-ID)%",
	}
	maps.Copy(format, place)
	config, err := pack(&filelogv3.FileAccessLog{
		Path:            AccessLogPath,
		AccessLogFormat: &filelogv3.FileAccessLog_LogFormat{LogFormat: jsonFormat(format)},
	})
	if err != nil {
		return nil, err
	}
	return &accesslogv3.AccessLog{
		Name:       "envoy.access_loggers.file",
		ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: config},
	}, nil
}
