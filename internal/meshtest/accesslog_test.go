package meshtest_test

import (
	"encoding/json"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/netns"
)

// accessLogKeys are those that docs/reference/interfaces.md fixes.
const accessLogKeys = "authority bytes_in bytes_out code destination details duration_ms flags method path peer request_id rule source time tls version"

// Every request stands in the access log of the proxy that decided about it, with the rule that did.
func TestAccessLog(t *testing.T) {
	t.Parallel()
	m, caller := reviewsMesh(t)
	m.Apply(rule("jason", "precedence: 1, match: {request: {headers: {x-user: {exact: jason}}}}, route: [{labels: {version: v2}}]"))
	caller.Get(reviews+"one?q=1", "X-User", "jason")
	caller.Get(reviews + "two")
	caller.Get("http://nowhere/three")
	for path, want := range map[string]map[string]any{
		"/one?q=1": {
			"rule": "default/jason", "version": "v2", "code": 200.0, "method": "GET", "authority": "reviews:9080",
			"destination": "reviews.default.svc.cluster.local", "details": "via_upstream", "flags": "-",
			"peer": "spiffe://cluster.local/ns/default/sa/default", "tls": "TLSv1.3",
		},
		"/two":   {"rule": "<default>", "code": 200.0},
		"/three": {"rule": "<no-service>", "code": 502.0, "destination": nil, "details": "direct_response"},
	} {
		entry := logged(t, caller, path)
		if keys := strings.Join(slices.Sorted(maps.Keys(entry)), " "); keys != accessLogKeys {
			t.Errorf("%s: keys %s, want %s", path, keys, accessLogKeys)
		}
		want["source"] = string(caller.ID())
		for key, value := range want {
			if entry[key] != value {
				t.Errorf("%s: %s is %v, want %v", path, key, entry[key], value)
			}
		}
	}
}

// logged waits until a proxy has written the entry for a path.
func logged(t *testing.T, i *meshtest.Instance, path string) map[string]any {
	t.Helper()
	var found map[string]any
	meshtest.Await(t, "the access log of "+path, func() bool {
		text, err := os.ReadFile(filepath.Join(i.Dir, "access.log"))
		if err != nil {
			return false
		}
		for line := range strings.Lines(string(text)) {
			var entry map[string]any
			if json.Unmarshal([]byte(line), &entry) == nil && entry["path"] == path {
				found = entry
			}
		}
		return found != nil
	})
	return found
}

// Every connection for bytes of a captured workload stands once in the log of each side, whatever way it took, with the same keys as
// a request and nothing under those that only requests have.
func TestAccessLogOfConnections(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		m := meshtest.NewCaptured(t, meshtest.Config{})
		m.Network().Outside("198.51.100.7")
		outside, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "198.51.100.7:9090")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = outside.Close() })
		sayWhoCalls(outside, "outside")
		db := m.StartSpec(meshtest.Spec{Service: "db", Version: "v1", Capture: true, Ports: []meshtest.SpecPort{
			{Name: "tcp", Number: 9090}, {Name: "http", Number: 9080, App: mirrored("db")},
		}})
		sayWhoCalls(db.Pod().Listen(":9090"), "db")
		sayWhoCalls(db.Pod().Listen(":9999"), "unnamed")
		caller, stranger := m.CapturedCaller("shop", nil), m.Network().Pod("stranger")
		const host, peer = "db.default.svc.cluster.local", "spiffe://cluster.local/ns/default/sa/default"
		service, unnamed := m.ServiceAddress("db")+":9090", db.Address+":9999"
		for _, at := range []string{service, unnamed, "198.51.100.7:9090"} {
			firstLine(t, caller.Pod(), at)
		}
		for _, at := range []string{db.Address + ":9090", unnamed} {
			firstLine(t, stranger, at)
		}
		for _, c := range []struct {
			what string
			in   *meshtest.Instance
			want map[string]any
		}{
			{"a service, by its caller", caller, map[string]any{
				"source": string(caller.ID()), "destination": host, "version": "v1", "rule": "<default>", "peer": peer, "tls": "TLSv1.3",
			}},
			{"a pod, by its caller", caller, map[string]any{
				"source": string(caller.ID()), "destination": string(db.ID()), "version": "v1", "rule": "<default>", "peer": peer, "tls": "TLSv1.3",
			}},
			{"the outside", caller, map[string]any{
				"source": string(caller.ID()), "destination": "198.51.100.7:9090", "version": nil, "rule": nil, "peer": nil, "tls": nil,
			}},
			{"a member, at a port of a service", db, map[string]any{
				"source": string(caller.ID()), "destination": host, "version": "v1", "rule": "inbound", "peer": peer, "tls": "TLSv1.3",
			}},
			{"a member, at another port", db, map[string]any{
				"source": string(caller.ID()), "destination": unnamed, "version": "v1", "rule": "inbound", "peer": peer, "tls": "TLSv1.3",
			}},
			{"a stranger, at a port of a service", db, map[string]any{
				"source": stranger.Address, "destination": host, "version": "v1", "rule": "inbound", "peer": nil, "tls": nil,
			}},
			{"a stranger, at another port", db, map[string]any{
				"source": stranger.Address, "destination": unnamed, "version": "v1", "rule": "inbound", "peer": nil, "tls": nil,
			}},
		} {
			c.want["method"], c.want["authority"], c.want["path"], c.want["request_id"] = nil, nil, nil, nil
			entry := awaitEntry(t, c.in, c.want)
			if keys := strings.Join(slices.Sorted(maps.Keys(entry)), " "); keys != accessLogKeys {
				t.Errorf("%s: keys %s, want %s", c.what, keys, accessLogKeys)
			}
			if entry["flags"] != "-" || entry["bytes_in"] != 6.0 || entry["bytes_out"] == 0.0 || entry["code"] != 0.0 {
				t.Errorf("%s: %v", c.what, entry)
			}
		}
		if a, b := len(entries(t, caller, nil)), len(entries(t, db, nil)); a != 3 || b != 4 {
			t.Errorf("the logs have %d and %d entries, want one for each connection: 3 and 4", a, b)
		}
	})
}
