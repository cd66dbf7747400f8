package bench

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/envoy"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
)

// hopPart is something that Lateen's proxies do for a request, and that can be left out of their configuration.
type hopPart struct {
	name  string
	leave func(config any)
}

// hopParts are tried one by one. The first one shows how far two equal configurations lie apart in a run.
var hopParts = []hopPart{
	{"nothing", func(any) {}},
	{"access log", without("access_log")},
	{"fields of the log from metadata", editStrings("%METADATA(", "-")},
	{"waiting for virtual hosts", withoutFilters("envoy.filters.http.on_demand")},
	{"CORS, faults, header copies", withoutFilters("envoy.filters.http.cors", "envoy.filters.http.fault", "envoy.filters.http.header_mutation")},
	{"address of the caller", withoutFilters("envoy.filters.network.set_filter_state")},
	{"retries, with their bounds", without("retry_policy")},
	{"bounds of a try", without("per_try_timeout", "per_try_idle_timeout")},
	{"idle timeouts of routes", without("idle_timeout")},
	{"upgrades", without("upgrade_configs")},
	{"normal paths", without("normalize_path")},
	{"x-request-id", with("stat_prefix", "generate_request_id", false)},
	{"buffer limit", without("per_connection_buffer_limit_bytes")},
	{"bound on connections", without("overload_manager")},
	{"choice of statistics", without("stats_config", "deferred_stat_options")},
}

// visit shows every object of a configuration.
func visit(config any, see func(map[string]any)) {
	switch c := config.(type) {
	case map[string]any:
		see(c)
		for _, key := range slices.Sorted(maps.Keys(c)) {
			visit(c[key], see)
		}
	case []any:
		for _, item := range c {
			visit(item, see)
		}
	}
}

func without(keys ...string) func(any) {
	return func(config any) {
		visit(config, func(o map[string]any) {
			for _, key := range keys {
				delete(o, key)
			}
		})
	}
}

// with sets a key in the objects that have another one.
func with(where, key string, value any) func(any) {
	return func(config any) {
		visit(config, func(o map[string]any) {
			if _, ok := o[where]; ok {
				o[key] = value
			}
		})
	}
}

// editStrings replaces the values that begin with a text.
func editStrings(prefix, by string) func(any) {
	return func(config any) {
		visit(config, func(o map[string]any) {
			for key, value := range o {
				if s, ok := value.(string); ok && strings.HasPrefix(s, prefix) {
					o[key] = by
				}
			}
		})
	}
}

func withoutFilters(names ...string) func(any) {
	return func(config any) {
		visit(config, func(o map[string]any) {
			for _, key := range []string{"filters", "http_filters"} {
				if list, ok := o[key].([]any); ok {
					o[key] = slices.DeleteFunc(list, func(f any) bool { return slices.Contains(names, f.(map[string]any)["name"].(string)) })
				}
			}
		})
	}
}

// What each part of Lateen's configuration costs a request over HTTP/1.1: the Envoys of a mesh, copied with their
// configuration as it is, and with one part left out of both. What a row saves is what the part costs.
func BenchmarkSidecarHopParts(b *testing.B) {
	h := newHop(b)
	all := h.ways(b, "http")
	ours, hand := all[2], all[1]
	ours.round(b, hopWarm) // now the caller knows the host
	o := original{h.logging.caller, h.logging.callee, "hop"}
	whole := o.copied(b, hopPart{"copy", func(any) {}})
	ways := []*hopWay{whole, ours, hand}
	for _, p := range hopParts {
		ways = append(ways, o.copied(b, p))
	}
	measure(b, ways)
	tell("without", ways, whole)
	b.ReportMetric(0, "ns/op") // one operation is all rounds
	b.ReportMetric(whole.ratio(ours, cpuFor), "copy-cpu/mesh")
}

// original is two sidecars of a mesh, the second one of a service.
type original struct {
	caller, callee *meshtest.Instance
	service        string
}

// copied starts copies of both Envoys without a part. They ask the same agents for certificates.
func (o original) copied(b *testing.B, p hopPart) *hopWay {
	b.Helper()
	port := hopPorts["http"]
	in, out := freePort(b), freePort(b)
	callee := dumped(b, o.callee.Admin("/config_dump"))
	caller := dumped(b, o.caller.Admin("/config_dump"))
	inbound, outbound := fmt.Sprintf("inbound|%d", port), mesh.Subset{Host: meshtest.HostOf(o.service), Port: port}.String()
	dirs := []string{
		callee.start(b, p, named(callee.listeners, inbound, in), named(callee.clusters, inbound, 0)),
		caller.start(b, p, named(caller.listeners, "outbound", out), named(caller.clusters, outbound, in)),
	}
	w := &hopWay{name: p.name, load: newHopLoad(b, "http", fmt.Sprintf("127.0.0.1:%d", out), fmt.Sprintf("%s:%d", o.service, port))}
	for _, dir := range dirs {
		w.procs = append(w.procs, envoyIn(b, dir))
	}
	return w
}

// dump is what an Envoy says of its configuration.
type dump struct {
	bootstrap           map[string]any
	listeners, clusters []map[string]any
}

func dumped(b *testing.B, text []byte) dump {
	b.Helper()
	var all struct {
		Configs []struct {
			Bootstrap map[string]any `json:"bootstrap"`
			Clusters  []struct {
				Cluster map[string]any `json:"cluster"`
			} `json:"dynamic_active_clusters"`
			Listeners []struct {
				State struct {
					Listener map[string]any `json:"listener"`
				} `json:"active_state"`
			} `json:"dynamic_listeners"`
			Routes []struct {
				Config map[string]any `json:"route_config"`
			} `json:"dynamic_route_configs"`
		} `json:"configs"`
	}
	if err := json.Unmarshal(text, &all); err != nil {
		b.Fatal(err)
	}
	var d dump
	routes := map[string]any{}
	for _, c := range all.Configs {
		if c.Bootstrap != nil {
			d.bootstrap = c.Bootstrap
		}
		for _, c := range c.Clusters {
			d.clusters = append(d.clusters, c.Cluster)
		}
		for _, l := range c.Listeners {
			d.listeners = append(d.listeners, l.State.Listener)
		}
		for _, r := range c.Routes {
			delete(r.Config, "vhds")
			delete(r.Config, "@type")
			routes[r.Config["name"].(string)] = r.Config
		}
	}
	for _, l := range d.listeners {
		visit(l, func(o map[string]any) {
			if rds, ok := o["rds"].(map[string]any); ok {
				o["route_config"] = routes[rds["route_config_name"].(string)]
				delete(o, "rds")
			}
		})
	}
	return d
}

// named returns the listener or the cluster of a name, with an address of its own if there is a port.
func named(list []map[string]any, name string, port int) map[string]any {
	i := slices.IndexFunc(list, func(o map[string]any) bool { return o["name"] == name })
	found := list[i]
	delete(found, "@type")
	if port == 0 {
		return found
	}
	address := map[string]any{"socket_address": map[string]any{"address": "127.0.0.1", "port_value": port}}
	if _, ok := found["filter_chains"]; ok {
		found["address"] = address
		return found
	}
	delete(found, "eds_cluster_config")
	found["type"] = "STATIC"
	found["load_assignment"] = map[string]any{"cluster_name": name, "endpoints": []any{map[string]any{"lb_endpoints": []any{
		map[string]any{
			"endpoint": map[string]any{"address": address},
			"metadata": map[string]any{"filter_metadata": map[string]any{
				"lateen": map[string]any{"version": "v1", "workload": "hop-v1-0"}, "envoy.transport_socket_match": map[string]any{"lateen": "mtls"},
			}},
		},
	}}}}
	return found
}

// start starts an Envoy with one listener and one cluster of the dump, and returns its folder.
func (d dump) start(b *testing.B, p hopPart, listener, cluster map[string]any) (dir string) {
	b.Helper()
	dir = hopDir(b)
	config := maps.Clone(d.bootstrap)
	delete(config, "dynamic_resources")
	config["admin"] = map[string]any{"address": map[string]any{"pipe": map[string]any{"path": filepath.Join(dir, "admin.sock"), "mode": 0o600}}}
	clusters := []any{cluster}
	for _, c := range config["static_resources"].(map[string]any)["clusters"].([]any) {
		if name := c.(map[string]any)["name"].(string); strings.HasSuffix(name, envoy.SDSCluster) {
			clusters = append(clusters, c)
		}
	}
	config["static_resources"] = map[string]any{"listeners": []any{listener}, "clusters": clusters}
	p.leave(config)
	text, err := json.Marshal(config)
	if err != nil {
		b.Fatal(err)
	}
	startEnvoy(b, dir, "envoy.json", text)
	return dir
}
