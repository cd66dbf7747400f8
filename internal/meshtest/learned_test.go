package meshtest_test

import (
	"net/http"
	"slices"
	"testing"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/view"
)

// A new replica's Envoy takes what its scope uses before it asks for it, also when all who asked are gone and the control
// plane is another one: its first request needs no control plane. What
// it was given comes back with it on a later stream, and is then updated like everything else.
func TestReplicaKnowsWhatIsUsed(t *testing.T) {
	t.Parallel()
	m := meshtest.New(t)
	m.Start("reviews", "v1", meshtest.Named("v1"))
	labels := mesh.Labels{"app": "caller"}
	first := m.Caller("caller", labels)
	wantAnswer(t, first, "http://reviews:9080", http.StatusOK, "v1")
	first.Stop()
	m.Restart() // so that nobody is left who could tell, but what was kept

	m.Start("reviews", "v2", meshtest.Named("v2"))
	m.Apply(rule("one", "route: [{labels: {version: v1}}]"))
	second := m.Caller("caller", labels)
	meshtest.Await(t, "the replica to hold the virtual host", func() bool {
		proxies, err := m.API.Proxies(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(proxies, func(p api.Proxy) bool { return p.ID == second.ID() })
		return i >= 0 && proxies[i].Holds[string(view.KindVirtualHost)] == 2 && proxies[i].Current
	})
	m.Stop()
	wantAnswer(t, second, "http://reviews:9080", http.StatusOK, "v1")

	m.Restart()
	for _, version := range []string{"v2", "v1"} {
		m.Apply(rule("one", "route: [{labels: {version: "+version+"}}]"))
		for range 5 {
			wantAnswer(t, second, "http://reviews:9080", http.StatusOK, version)
		}
	}
}
