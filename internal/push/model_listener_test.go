package push

import (
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/lateen-mesh/lateen/internal/xds"
)

// namesBehind returns the names that the listeners ask for of a type, sorted.
func (m *model) namesBehind(typ xds.Type) []string {
	var names []string
	for _, behind := range m.behind {
		if name := behind[typ]; name != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// listen asks for what stands behind the listeners now, and drops what stood there before.
func (m *model) listen(before map[xds.Type][]string) {
	for _, typ := range []xds.Type{xds.RouteType, xds.FilterType} {
		var more, less []string
		now := m.namesBehind(typ)
		for _, name := range now {
			if !slices.Contains(before[typ], name) {
				more = append(more, name)
			}
		}
		for _, name := range before[typ] {
			if !slices.Contains(now, name) {
				less = append(less, name)
				delete(m.held[typ], name)
				delete(m.leads, string(typ)+" "+name)
			}
		}
		switch {
		case len(more)+len(less) == 0:
		case m.opened[typ]:
			m.ask(&request{TypeUrl: string(typ), ResourceNamesSubscribe: more, ResourceNamesUnsubscribe: less})
		default:
			m.open(typ, now)
		}
	}
}

// behindOf returns the names of what a listener asks for.
func behindOf(m *model, x *discoveryv3.Resource) map[xds.Type]string {
	var l listenerv3.Listener
	if err := x.GetResource().UnmarshalTo(&l); err != nil {
		m.fail("%s: %v", x.GetName(), err)
	}
	behind := map[xds.Type]string{}
	for _, f := range l.GetFilterChains()[0].GetFilters() {
		var hcm hcmv3.HttpConnectionManager
		if f.GetConfigDiscovery() != nil {
			behind[xds.FilterType] = f.GetName()
		} else if f.GetTypedConfig().UnmarshalTo(&hcm) == nil {
			behind[xds.RouteType] = hcm.GetRds().GetRouteConfigName()
		}
	}
	return behind
}

// leadsOf returns the clusters that a virtual host, routes or a filter lead to.
func leadsOf(m *model, x *discoveryv3.Resource) []string {
	var clusters []string
	message, err := x.GetResource().UnmarshalNew()
	if err != nil {
		m.fail("%s: %v", x.GetName(), err)
	}
	var routes []*routev3.Route
	switch message := message.(type) {
	case *routev3.VirtualHost:
		routes = message.GetRoutes()
	case *routev3.RouteConfiguration:
		for _, h := range message.GetVirtualHosts() {
			routes = append(routes, h.GetRoutes()...)
		}
	case *corev3.TypedExtensionConfig:
		var proxy tcpproxyv3.TcpProxy
		if err := message.GetTypedConfig().UnmarshalTo(&proxy); err != nil {
			m.fail("%s: %v", x.GetName(), err)
		}
		if c := proxy.GetCluster(); c != "" {
			clusters = append(clusters, c)
		}
		for _, w := range proxy.GetWeightedClusters().GetClusters() {
			clusters = append(clusters, w.GetName())
		}
	}
	for _, r := range routes {
		if c := r.GetRoute().GetCluster(); c != "" {
			clusters = append(clusters, c)
		}
		for _, w := range r.GetRoute().GetWeightedClusters().GetClusters() {
			clusters = append(clusters, w.GetName())
		}
		for _, mirror := range r.GetRoute().GetRequestMirrorPolicies() {
			clusters = append(clusters, mirror.GetCluster())
		}
	}
	return clusters
}
