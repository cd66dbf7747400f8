package dump_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/dump"
	"github.com/lateen-mesh/lateen/internal/view"
)

const (
	typePrefix  = "type.googleapis.com/"
	clusterType = typePrefix + "envoy.config.cluster.v3.Cluster"
	routeType   = typePrefix + "envoy.config.route.v3.RouteConfiguration"
	hostType    = typePrefix + "envoy.config.route.v3.VirtualHost"
	secretType  = typePrefix + "envoy.extensions.transport_sockets.tls.v3.Secret"
	listenType  = typePrefix + "envoy.config.listener.v3.Listener"
	loadType    = typePrefix + "envoy.config.endpoint.v3.ClusterLoadAssignment"
)

// section writes a part of a dump.
func section(kind, rest string) string {
	return fmt.Sprintf(`{"@type": "%senvoy.admin.v3.%sConfigDump", %s}`, typePrefix, kind, rest)
}

func dumpOf(sections ...string) []byte {
	return []byte(`{"configs": [` + strings.Join(sections, ",") + `]}`)
}

func cluster(name, rest string) string {
	return fmt.Sprintf(`{"@type": %q, "name": %q, "type": "EDS"%s}`, clusterType, name, rest)
}

// sent is a resource as the control plane tells of it.
func sent(kind view.Kind, typeURL, name, body string) api.Resource {
	return api.Resource{
		Kind: string(kind), Name: name, Type: typeURL, Wanted: "2", Sent: "2", Confirmed: "2", Body: json.RawMessage(body),
	}
}

// said returns "STATE WHY" of each row by kind and name.
func said(t *testing.T, text []byte, resources ...api.Resource) map[string]string {
	t.Helper()
	rows, err := dump.Compare(text, resources)
	if err != nil {
		t.Fatal(err)
	}
	states := map[string]string{}
	for _, r := range rows {
		states[string(r.Kind)+" "+r.Name] = strings.TrimSpace(string(r.State) + " " + r.Why)
	}
	return states
}

func TestStates(t *testing.T) {
	t.Parallel()
	text := dumpOf(
		section("Clusters", `"static_clusters": [{"cluster": `+cluster("own", "")+`}],
			"dynamic_active_clusters": [
				{"version_info": "2", "cluster": `+cluster("same", "")+`},
				{"version_info": "1", "cluster": `+cluster("differs", `, "connect_timeout": "1s"`)+`},
				{"version_info": "1", "cluster": `+cluster("refused", "")+`},
				{"version_info": "1", "cluster": `+cluster("changing", "")+`},
				{"version_info": "1", "cluster": `+cluster("stray", "")+`},
				{"version_info": "1", "cluster": `+cluster("unreadable", `, "no_such_field": 1`)+`}],
			"dynamic_warming_clusters": [
				{"version_info": "2", "cluster": `+cluster("changing", "")+`},
				{"version_info": "2", "cluster": `+cluster("warming", "")+`}]`),
		section("Listeners", `"dynamic_listeners": [
			{"name": "failed", "error_state": {"details": "no such address"}},
			{"name": "leaving", "draining_state": {"listener": {"@type": "`+listenType+`", "name": "leaving"}}}]`),
	)
	body := func(name string) string { return fmt.Sprintf(`{"name": %q, "type": "EDS"}`, name) }
	var resources []api.Resource
	for _, name := range []string{"same", "differs", "refused", "changing", "warming", "unreadable", "only-sent", "not-sent"} {
		resources = append(resources, sent(view.KindCluster, clusterType, name, body(name)))
	}
	resources[1].Confirmed = "1"
	resources[2].Reason = "no good"
	resources[7].Sent, resources[7].Confirmed = "", ""
	got := said(t, text, append(resources, sent(view.KindListener, listenType, "failed", `{"name": "failed"}`))...)
	if why := got["cluster unreadable"]; !strings.HasPrefix(why, "differs it cannot be read: ") {
		t.Errorf("unreadable: %s", why)
	}
	delete(got, "cluster unreadable")
	if diff := cmp.Diff(map[string]string{
		"cluster own": "own", "cluster same": "same",
		"cluster differs":   "differs the proxy has not confirmed the newest version, at connect_timeout",
		"cluster refused":   "refused no good",
		"cluster changing":  "warming",
		"cluster warming":   "warming",
		"cluster stray":     "only in proxy",
		"cluster only-sent": "only sent",
		"cluster not-sent":  "not sent something must be in force before it, or the proxy answers nothing",
		"listener failed":   "only sent no such address",
		"listener leaving":  "only in proxy it is draining",
	}, got); diff != "" {
		t.Error(diff)
	}
}

// Virtual hosts that came on demand are taken out of the routes in whose dump they stand.
func TestVirtualHostsOnDemand(t *testing.T) {
	t.Parallel()
	const vhds = `"vhds": {"config_source": {"ads": {}}}`
	text := dumpOf(section("Routes", `"dynamic_route_configs": [{"route_config": {"@type": "`+routeType+`", "name": "out", `+vhds+`,
		"virtual_hosts": [{"name": "out/a", "domains": ["a"]}, {"name": "out/b", "domains": ["other"]}, {"name": "fixed", "domains": ["c"]}]}}]`))
	got := said(t, text,
		sent(view.KindRoutes, routeType, "out", `{"name": "out", `+vhds+`, "virtual_hosts": [{"name": "fixed", "domains": ["c"]}]}`),
		sent(view.KindVirtualHost, hostType, "out/a", `{"name": "out/a", "domains": ["a"]}`),
		sent(view.KindVirtualHost, hostType, "out/b", `{"name": "out/b", "domains": ["b"]}`))
	if diff := cmp.Diff(map[string]string{
		"routes out": "same", "virtual-host out/a": "same", "virtual-host out/b": "differs at domains[0]",
	}, got); diff != "" {
		t.Error(diff)
	}
}

// Endpoints are compared as what they say; those that the proxy has set aside by itself are no difference.
func TestEndpoints(t *testing.T) {
	t.Parallel()
	endpoint := func(ip, rest string) string {
		return fmt.Sprintf(`{"endpoint": {"address": {"socket_address": {"address": %q, "port_value": 80}}}%s}`, ip, rest)
	}
	load := func(endpoints ...string) string {
		return fmt.Sprintf(`{"@type": %q, "cluster_name": "c", "endpoints": [{"locality": {}, "lb_endpoints": [%s], "load_balancing_weight": 0}],
			"policy": {"overprovisioning_factor": 140}}`, loadType, strings.Join(endpoints, ","))
	}
	in := func(endpoints ...string) []byte {
		return dumpOf(section("Clusters", `"dynamic_active_clusters": [{"cluster": `+cluster("c", "")+`}]`),
			section("Endpoints", `"dynamic_endpoint_configs": [{"endpoint_config": `+load(endpoints...)+`}]`))
	}
	told := sent(view.KindEndpoints, loadType, "c", `{"cluster_name": "c", "endpoints": [{"load_balancing_weight": 1, "lb_endpoints": [`+
		endpoint("10.0.0.1", "")+","+endpoint("10.0.0.2", `, "health_status": "DRAINING"`)+`]}]}`)
	healthy, unhealthy := `, "health_status": "HEALTHY", "load_balancing_weight": 1`, `, "health_status": "UNHEALTHY", "load_balancing_weight": 1`
	for name, c := range map[string]struct {
		text  []byte
		state string
		words string // health of both
	}{
		"the same in another order": {in(endpoint("10.0.0.2", unhealthy), endpoint("10.0.0.1", healthy)), "same", "draining,healthy"},
		"one is set aside": {
			in(endpoint("10.0.0.1", unhealthy), endpoint("10.0.0.2", unhealthy)),
			"same the proxy has set 1 of them aside, since they failed", "set aside,draining",
		},
		"one is not used that should": {in(endpoint("10.0.0.1", healthy), endpoint("10.0.0.2", healthy)), "differs at endpoints[0].lb_endpoints[1].health_status", "healthy,healthy"},
		"one is missing":              {in(endpoint("10.0.0.1", healthy)), "differs at endpoints[0].lb_endpoints", "healthy"},
	} {
		rows, err := dump.Compare(c.text, []api.Resource{told})
		if err != nil {
			t.Fatal(err)
		}
		r := rows[len(rows)-1]
		if got := strings.TrimSpace(string(r.State) + " " + r.Why); got != c.state {
			t.Errorf("%s: %s, want %s", name, got, c.state)
		}
		var words []string
		for _, line := range r.Lines() {
			words = append(words, line[2])
		}
		if strings.Join(words, ",") != c.words {
			t.Errorf("%s: the endpoints are %q, want %q", name, words, c.words)
		}
	}
}

// Keys are in no row, on neither side, though both are compared.
func TestKeysAreNotShown(t *testing.T) {
	t.Parallel()
	secret := func(key string) string {
		return `"name": "s", "tls_certificate": {"certificate_chain": {"inline_string": "chain"}, "private_key": {"inline_string": "` + key + `"}}}`
	}
	text := dumpOf(section("Secrets", `"dynamic_active_secrets": [{"name": "s", "version_info": "2", "secret": {"@type": "`+secretType+`", `+secret("hidden")+`}]`))
	rows, err := dump.Compare(text, []api.Resource{sent(view.KindSecret, secretType, "s", "{"+secret("hidden too"))})
	if err != nil || len(rows) != 1 || rows[0].State != dump.Same {
		t.Fatalf("%+v, %v", rows, err)
	}
	all, err := json.Marshal(rows)
	if err != nil || strings.Contains(string(all), "hidden") || !strings.Contains(string(all), "chain") {
		t.Errorf("%v %s", err, all)
	}
}

// FuzzCompare feeds dumps that no Envoy writes.
func FuzzCompare(f *testing.F) {
	f.Add(dumpOf(section("Clusters", `"dynamic_active_clusters": [{"cluster": `+cluster("c", "")+`}, {}]`)))
	f.Add(dumpOf(section("Listeners", `"dynamic_listeners": [{}, {"active_state": {}}, null]`), section("Endpoints", `"dynamic_endpoint_configs": [{"endpoint_config": null}]`)))
	f.Add(dumpOf(section("Secrets", `"dynamic_active_secrets": [{"secret": {"@type": "`+secretType+`"}}]`)))
	f.Add([]byte(`{"configs": [null, [], 1]}`))
	f.Fuzz(func(_ *testing.T, text []byte) {
		rows, err := dump.Compare(text, []api.Resource{sent(view.KindCluster, clusterType, "c", `{"name": "c"}`), sent(view.KindSecret, "x", "", "{")})
		if err != nil {
			return
		}
		for i := range rows {
			rows[i].Lines()
		}
	})
}

// A proxy that does not answer, or with something else than a dump, is told.
func TestSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.sock")
	if _, err := dump.Socket(path).Dump(t.Context()); !errors.Is(err, dump.ErrNobody) {
		t.Errorf("where nobody listens: %v", err)
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	status := http.StatusOK
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(r.URL.String()))
	})}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() { _ = server.Close(); <-ended })
	if body, err := dump.Socket(path).Dump(t.Context()); err != nil || string(body) != "/config_dump?include_eds" {
		t.Errorf("%q, %v", body, err)
	}
	status = http.StatusForbidden
	if _, err := dump.Socket(path).Dump(t.Context()); err == nil {
		t.Error("a refusal is taken for a dump")
	}
}
