package push_test

import (
	"slices"
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// When a service goes, its endpoints stay at a proxy until the routes that lead to them are gone there: else requests that
// come in between would find nobody.
func TestRoutesGoBeforeEndpoints(t *testing.T) {
	t.Parallel()
	w, f := one(t, push.Config{})
	w.Connect(f)
	await(t, f.Await(t.Context(), xds.VirtualHostType, "out/reviews:9080"))
	w.Confirmed(w.Edit(func(*mesh.Draft) {}))
	f.Got()
	w.Confirmed(w.Edit(func(d *mesh.Draft) {
		d.SetService(reviews, nil)
		d.SetEndpoints(reviews, nil)
	}))
	var types []xds.Type
	for _, g := range f.Got() {
		types = append(types, g.Type)
	}
	routes, endpoints := slices.Index(types, xds.VirtualHostType), slices.Index(types, xds.EndpointsType)
	if routes < 0 || endpoints < routes {
		t.Errorf("the proxy was sent %v, want endpoints, and after virtual hosts", types)
	}
	if got := statuses(t, f, subset("")); len(got) != 0 {
		t.Errorf("nothing leads to the cluster, and its endpoints are %v", got)
	}
}
