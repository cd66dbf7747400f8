package meshtest_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/meshtest"
)

// heldBy reads from an Envoy's own dump which resources it holds: "cluster NAME", "endpoints NAME" and so on, sorted.
func heldBy(t *testing.T, dump []byte) []string {
	t.Helper()
	var parsed struct {
		Configs []map[string]json.RawMessage `json:"configs"`
	}
	if err := json.Unmarshal(dump, &parsed); err != nil {
		t.Fatal(err)
	}
	var held []string
	for _, part := range parsed.Configs {
		var typ string
		if err := json.Unmarshal(part["@type"], &typ); err != nil {
			t.Fatal(err)
		}
		typ = typ[strings.LastIndexByte(typ, '.')+1:]
		for key, paths := range map[string]map[string]string{
			"ClustersConfigDump":  {"static_clusters": "cluster.name", "dynamic_active_clusters": "cluster.name", "dynamic_warming_clusters": "cluster.name"},
			"EndpointsConfigDump": {"static_endpoint_configs": "endpoint_config.cluster_name", "dynamic_endpoint_configs": "endpoint_config.cluster_name"},
			"ListenersConfigDump": {"static_listeners": "listener.name", "dynamic_listeners": "name"},
			"RoutesConfigDump":    {"static_route_configs": "route_config", "dynamic_route_configs": "route_config"},
		} {
			if key != typ {
				continue
			}
			for list, path := range paths {
				held = append(held, namesIn(t, part[list], strings.TrimSuffix(typ, "ConfigDump"), path)...)
			}
		}
	}
	slices.Sort(held)
	return held
}

// bootstrapBytes counts the bytes of a dump that no control plane sent: the bootstrap with the list of Envoy's extensions.
func bootstrapBytes(t *testing.T, dump []byte) int {
	t.Helper()
	var parsed struct {
		Configs []json.RawMessage `json:"configs"`
	}
	if err := json.Unmarshal(dump, &parsed); err != nil {
		t.Fatal(err)
	}
	for _, part := range parsed.Configs {
		if bytes.Contains(part, []byte("BootstrapConfigDump")) {
			return len(part)
		}
	}
	return 0
}

// namesIn returns "KIND NAME" for each item of a list; of route configurations also their virtual hosts.
func namesIn(t *testing.T, list json.RawMessage, kind, path string) []string {
	t.Helper()
	if list == nil {
		return nil
	}
	var items []map[string]any
	if err := json.Unmarshal(list, &items); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, item := range items {
		value := any(item)
		for step := range strings.SplitSeq(path, ".") {
			value = value.(map[string]any)[step]
		}
		routes, isRoutes := value.(map[string]any)
		if !isRoutes {
			names = append(names, kind+" "+value.(string))
			continue
		}
		name, _ := routes["name"].(string)
		names = append(names, kind+" "+name)
		hosts, _ := routes["virtual_hosts"].([]any)
		for _, host := range hosts {
			names = append(names, "VirtualHost "+host.(map[string]any)["name"].(string))
		}
	}
	return names
}

// A sidecar that has called one host of a registry with 300 services holds that host and what every sidecar holds.
func TestFootprint(t *testing.T) {
	t.Parallel()
	m := meshtest.New(t)
	m.AddRegistry(meshtest.Bulk(300))
	m.Start("reviews", "v1", meshtest.Named("v1"))
	caller := m.Start("caller", "v1", meshtest.Named("caller"))
	wantBody(t, caller, reviews, "v1")

	dump := caller.Admin("/config_dump?include_eds")
	got := heldBy(t, dump)
	want := []string{
		"Clusters inbound|9080", // the application
		"Clusters inner",        // what comes through CONNECT
		"Clusters outbound|9080||reviews.default.svc.cluster.local",
		"Clusters sds", // its agent
		"Clusters xds", // the control plane
		"Endpoints inbound|9080",
		"Endpoints inner",
		"Endpoints outbound|9080||reviews.default.svc.cluster.local",
		"Endpoints sds",
		"Endpoints xds",
		"Listeners inbound|9080",
		"Listeners inner",
		"Listeners outbound",
		"Routes inbound|9080", // of what comes with proof, and of what comes without
		"Routes inbound|9080",
		"Routes out",
		"VirtualHost inbound|9080",
		"VirtualHost inbound|9080",
		"VirtualHost out/_init",
		"VirtualHost out/reviews:9080",
	}
	if !slices.Equal(got, want) {
		t.Errorf("the sidecar holds\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
	t.Logf("its dump is %d bytes of JSON, %d of them what it started with", len(dump), bootstrapBytes(t, dump))
}
