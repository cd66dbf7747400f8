package meshtest_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/meshtest"
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
