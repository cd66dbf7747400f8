package meshtest_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// A new version whose cluster, or whose endpoints, Envoy refuses gets no request: those before it stay, and other hosts
// go on while its cluster waits.
func TestRefusedSubset(t *testing.T) {
	t.Parallel()
	x := newRefusing(t)
	const v2 = "outbound|9080|version=v2|reviews."
	stays := func() {
		t.Helper()
		wantBody(t, x.caller, reviews, "v1")
		x.want("by the local address", x.address(), "v1")
	}
	x.refused(xds.ClusterType, v2, x.apply(rule("all", "route: [{labels: {version: v2}}]")))
	stays()
	x.mesh.Apply(policy("lb", "loadBalancing: {name: RANDOM}")) // a good version of the cluster
	wantBody(t, x.caller, reviews, "v2")

	x.mesh.Apply(rule("all", "route: [{labels: {version: v1}}]"))
	meshtest.Await(t, "the end of the cluster that nothing leads to", func() bool { return !holds(x.caller, v2) })
	x.refused(xds.EndpointsType, v2, x.apply(rule("all", "route: [{labels: {version: v2}}]")))
	stays()
	x.mesh.Start("reviews", "v2", meshtest.Named("v2")) // a good version of the endpoints
	wantBody(t, x.caller, reviews, "v2")
}

// A new listener whose routes Envoy refuses answers that there is no route, and holds up no other listener and no other
// host; it is mended by routes that are good.
func TestListenerWithoutRoutes(t *testing.T) {
	t.Parallel()
	x := newRefusing(t)
	port := x.freePort()
	x.spoil(xds.RouteType, "local|9080|other.")
	x.mesh.TryEdit(func(r *mesh.Registry) {
		x.workload(r, func(w *mesh.Workload) {
			w.Upstreams = append(slices.Clone(w.Upstreams), mesh.Upstream{Host: meshtest.HostOf("other"), Port: 9080, Listen: port})
		})
	})
	meshtest.Await(t, "the refusal of its routes", func() bool {
		proxies, err := x.mesh.API.Proxies(t.Context())
		return err == nil && slices.ContainsFunc(proxies, func(p api.Proxy) bool { return p.ID == x.caller.ID() && len(p.Refused) == 1 })
	})
	x.spoil("", "")
	target := fmt.Sprintf("http://%s:%d/", x.caller.Address, port)
	if body, err := meshtest.Fetch(t.Context(), direct(), target); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("the listener without routes: %q, %v, want 404", body, err)
	}
	x.mesh.Apply(rule("all", "route: [{labels: {version: v2}}]"))
	wantBody(t, x.caller, reviews, "v2")
	x.want("by another local address", x.address(), "v2")
	x.otherGoesOn()
	if body, err := meshtest.Fetch(t.Context(), direct(), target); err != nil || !strings.HasPrefix(body, "other") {
		t.Errorf("the listener whose routes came in the end: %q, %v", body, err)
	}
}

// While a proxy looks up a host of which the DNS says nothing, rules for services of the mesh are in force as ever: also
// those that lead to new clusters.
func TestRulesWithASilentDNS(t *testing.T) {
	t.Parallel()
	m, caller, o := egressMesh(t)
	m.Start("reviews", "v1", meshtest.Named("v1"))
	m.Start("reviews", "v2", meshtest.Named("v2"))
	m.Apply(egress("everything", "*", 80, "http"))
	if status, _ := caller.Get(reviews); status != http.StatusOK {
		t.Errorf("before anything is looked up: %d", status)
	}
	asked := o.asked.Load()
	var silent sync.WaitGroup
	for n := range 3 {
		silent.Go(func() {
			wantAnswer(t, caller, fmt.Sprintf("http://n%d.silent.test/", n), http.StatusServiceUnavailable, "")
		})
	}
	meshtest.Await(t, "the DNS to be asked", func() bool { return o.asked.Load() >= asked+3 })
	for n := range 4 {
		version := fmt.Sprintf("v%d", 1+n%2)
		m.TryApply(rule("all", "route: [{labels: {version: "+version+"}}]"))
		meshtest.Await(t, "an answer by "+version, func() bool { _, body := caller.Get(reviews); return body == version })
	}
	if caller.Stat("cluster_manager.warming_clusters") == 0 {
		t.Error("the DNS is not waited for any more, so this shows nothing")
	}
	silent.Wait()
}

// holds tells whether the sidecar holds a cluster with a part in its name.
func holds(i *meshtest.Instance, part string) bool {
	return strings.Contains(string(i.Admin("/clusters")), part)
}
