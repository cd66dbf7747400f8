// Package dump compares what a proxy says it has with what it was sent.
//
// What comes in: an Envoy's config dump, as its admin interface gives it with endpoints, and what the control plane
// answers about the same proxy ([api.Resource]). What goes out: a [Row] for each resource that either side knows, with a
// [State] and, where the two differ, where. Virtual hosts that came on demand stand inside of routes in Envoy's dump and
// are taken out; endpoints are compared as what they say, since Envoy tells them in words of its own.
//
// Neither side's keys get into a row: both are redacted by [envoy.Redacted] before anything else is done with them. But
// for the [Reader] the package is pure. A dump is hostile input: what cannot be read is a difference, or an error.
package dump

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/internal/envoy"
	"github.com/lateen-mesh/lateen/internal/view"
)

// phase is how far a proxy is with a resource.
type phase string

const (
	active   phase = ""
	static   phase = "static" // it stands in what the proxy started with, or inside of another resource
	warming  phase = "warming"
	draining phase = "draining"
	failed   phase = "failed" // the proxy has none, only a reason why
)

// found is a resource in a proxy's dump.
type found struct {
	kind    view.Kind
	name    string
	version string // "": the dump does not tell
	phase   phase
	message proto.Message // redacted; nil: there is none, or it cannot be read
	broken  string        // why it cannot be read
	failure string        // why the proxy refused a version, in its own words
}

// state is one version of a resource in a dump, under whatever name it stands there.
type state struct {
	Version     string          `json:"version_info"`
	Cluster     json.RawMessage `json:"cluster"`
	Listener    json.RawMessage `json:"listener"`
	RouteConfig json.RawMessage `json:"route_config"`
	Endpoints   json.RawMessage `json:"endpoint_config"`
	Filter      json.RawMessage `json:"ecds_filter"`
	Secret      json.RawMessage `json:"secret"`
	Name        string          `json:"name"`
	Error       *struct {
		Details string `json:"details"`
	} `json:"error_state"`
	Active   *state `json:"active_state"`
	Warming  *state `json:"warming_state"`
	Draining *state `json:"draining_state"`
}

// section is one part of a dump: of each type it has some of these lists.
type section struct {
	Type             string  `json:"@type"`
	StaticClusters   []state `json:"static_clusters"`
	ActiveClusters   []state `json:"dynamic_active_clusters"`
	WarmingClusters  []state `json:"dynamic_warming_clusters"`
	StaticListeners  []state `json:"static_listeners"`
	Listeners        []state `json:"dynamic_listeners"`
	StaticRoutes     []state `json:"static_route_configs"`
	Routes           []state `json:"dynamic_route_configs"`
	StaticEndpoints  []state `json:"static_endpoint_configs"`
	DynamicEndpoints []state `json:"dynamic_endpoint_configs"`
	Filters          []state `json:"ecds_filters"`
	StaticSecrets    []state `json:"static_secrets"`
	ActiveSecrets    []state `json:"dynamic_active_secrets"`
	WarmingSecrets   []state `json:"dynamic_warming_secrets"`
	Scopes           []struct {
		Scopes []json.RawMessage `json:"scoped_route_configs"`
	} `json:"dynamic_scoped_route_configs"`
}

// read reads a dump.
func read(text []byte) ([]found, error) {
	var dump struct {
		Configs []json.RawMessage `json:"configs"`
	}
	if err := json.Unmarshal(text, &dump); err != nil {
		return nil, fmt.Errorf("read the proxy's dump: %w", err)
	}
	var all []found
	for _, config := range dump.Configs {
		var s section
		if err := json.Unmarshal(config, &s); err != nil {
			return nil, fmt.Errorf("read the proxy's dump: %w", err)
		}
		all = append(all, s.resources()...)
	}
	return all, nil
}

// resources lists what a section holds.
func (s *section) resources() []found {
	var all []found
	add := func(kind view.Kind, p phase, list []state) {
		for i := range list {
			all = append(all, list[i].found(kind, p)...)
		}
	}
	add(view.KindCluster, static, s.StaticClusters)
	add(view.KindCluster, active, s.ActiveClusters)
	add(view.KindCluster, warming, s.WarmingClusters)
	add(view.KindListener, static, s.StaticListeners)
	for i := range s.Listeners {
		all = append(all, s.Listeners[i].listener()...)
	}
	add(view.KindRoutes, static, s.StaticRoutes)
	add(view.KindRoutes, active, s.Routes)
	for _, set := range s.Scopes {
		for _, body := range set.Scopes {
			scope := found{kind: view.KindScope}
			scope.take(body)
			all = append(all, scope)
		}
	}
	add(view.KindEndpoints, static, s.StaticEndpoints)
	add(view.KindEndpoints, active, s.DynamicEndpoints)
	add(view.KindFilter, active, s.Filters)
	add(view.KindSecret, static, s.StaticSecrets)
	add(view.KindSecret, active, s.ActiveSecrets)
	add(view.KindSecret, warming, s.WarmingSecrets)
	return all
}

// listener lists the versions of one listener.
func (s *state) listener() []found {
	var all []found
	for _, version := range []struct {
		phase phase
		state *state
	}{{active, s.Active}, {warming, s.Warming}, {draining, s.Draining}} {
		if version.state == nil {
			continue
		}
		version.state.Name, version.state.Error = s.Name, s.Error
		all = append(all, version.state.found(view.KindListener, version.phase)...)
	}
	if len(all) == 0 && s.Error != nil {
		all = append(all, found{kind: view.KindListener, name: s.Name, phase: failed, failure: s.Error.Details})
	}
	return all
}

// found returns the resource, and those that stand inside of it.
func (s *state) found(kind view.Kind, p phase) []found {
	f := found{kind: kind, name: s.Name, version: s.Version, phase: p}
	if s.Error != nil {
		f.failure = s.Error.Details
	}
	for _, body := range []json.RawMessage{s.Cluster, s.Listener, s.RouteConfig, s.Endpoints, s.Filter, s.Secret} {
		if len(body) > 0 {
			f.take(body)
		}
	}
	if f.message == nil && f.broken == "" && p != warming {
		f.phase = failed
	}
	return append([]found{f}, f.onDemand()...)
}

// take reads the resource's message.
func (f *found) take(body json.RawMessage) {
	message, err := readBody(body, "")
	if err != nil {
		f.broken = err.Error()
		var named struct {
			Name        string `json:"name"`
			ClusterName string `json:"cluster_name"`
		}
		if json.Unmarshal(body, &named) == nil {
			f.name = cmp.Or(named.Name, named.ClusterName, f.name)
		}
		return
	}
	f.message = message
	if name := nameOf(message); name != "" {
		f.name = name
	}
}

// readBody reads a message as JSON. Its type stands in it unless it is given.
func readBody(body []byte, typeURL string) (proto.Message, error) {
	var packed anypb.Any
	var message proto.Message
	var err error
	if typeURL == "" {
		if err = protojson.Unmarshal(body, &packed); err == nil {
			message, err = packed.UnmarshalNew()
		}
	} else if message, err = envoy.Read(typeURL, nil); err == nil {
		err = protojson.Unmarshal(body, message)
	}
	if err != nil {
		return nil, fmt.Errorf("it cannot be read: %s", strings.ReplaceAll(err.Error(), "\u00a0", " "))
	}
	return envoy.Redacted(message), nil
}

// nameOf returns the name of a resource's message.
func nameOf(m proto.Message) string {
	switch m := m.(type) {
	case *clusterv3.Cluster:
		return m.GetName()
	case *listenerv3.Listener:
		return m.GetName()
	case *routev3.RouteConfiguration:
		return m.GetName()
	case *routev3.ScopedRouteConfiguration:
		return m.GetName()
	case *endpointv3.ClusterLoadAssignment:
		return m.GetClusterName()
	case *corev3.TypedExtensionConfig:
		return m.GetName()
	case *tlsv3.Secret:
		return m.GetName()
	default:
		return ""
	}
}

// onDemand takes the virtual hosts that came by themselves out of routes, in whose dump they stand.
func (f *found) onDemand() []found {
	routes, ok := f.message.(*routev3.RouteConfiguration)
	if !ok || routes.GetVhds() == nil {
		return nil
	}
	var hosts []found
	var own []*routev3.VirtualHost
	for _, host := range routes.GetVirtualHosts() {
		if !strings.HasPrefix(host.GetName(), routes.GetName()+"/") {
			own = append(own, host)
			continue
		}
		hosts = append(hosts, found{kind: view.KindVirtualHost, name: host.GetName(), message: host})
	}
	routes.VirtualHosts = own
	return hosts
}
