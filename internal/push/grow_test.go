package push_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/view"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// selected has services select the pod of a captured caller: its workload answers for the port 80 of each.
func selected(w *meshtest.FakeMesh, i int, hosts ...mesh.Host) func(*mesh.Draft) {
	caller := *w.Snapshot.Workload(mesh.NewProxyID(fmt.Sprintf("caller-%03d", i), "default"))
	caller.Serves = nil
	for n, h := range hosts {
		caller.Serves = append(caller.Serves, mesh.Serving{Host: h, Port: 80, Protocol: mesh.HTTP, Listen: 8080 + n})
	}
	return func(d *mesh.Draft) { d.SetWorkload(caller.ID(), &caller) }
}

// closed tells whether a stream has to end.
func (s *scoped) closed() bool {
	for {
		select {
		case _, alive := <-s.client.Wake():
			if !alive {
				return true
			}
		default:
			return false
		}
	}
}

// A service that comes selects pods that run: their proxies are told on their streams, and are callers as its pods are from then on.
// When a service goes, the streams end.
func TestServiceComesToItsPods(t *testing.T) {
	t.Parallel()
	w := scopedMesh(t, push.Config{}, 3, 2)
	p := connectScoped(t, w, 0, nil)
	p.took()
	routes, cluster := view.CapturedRoutesOf(hostNumber(1), 80).Name, mesh.Subset{Host: hostNumber(1), Port: 80}.String()
	p.ask(xds.RouteType, routes)
	p.ask(xds.EndpointsType, cluster)
	p.took()
	w.Edit(func(d *mesh.Draft) {
		d.SetRules(hostNumber(1), mesh.NewRuleSet(hostNumber(1), []*mesh.RouteRule{{
			Object: mesh.Ref{Name: "x"}, Destination: hostNumber(1), Source: &mesh.SourceMatch{Host: hostNumber(2)},
			Redirect: &mesh.Redirect{URI: "/elsewhere"},
		}}))
	})
	p.wantTook("a rule for other callers")
	before := p.held[xds.RouteType][routes]

	revision := w.Edit(selected(w, 0, hostNumber(2)))
	if p.closed() {
		t.Fatal("the stream ends")
	}
	p.wantTook("a service that comes: the cluster, the listener, and routes", "+inbound|8080", "+inbound|8080", "+"+routes)
	if p.held[xds.RouteType][routes] == before {
		t.Error("it has the routes of callers that the service does not select")
	}
	if concerned := w.Confirmed(revision); concerned != 1 {
		t.Errorf("it concerned %d proxies, want 1", concerned)
	}
	p.wantTook("later")
	// What it has asked for is learned by who else is selected.
	w.Edit(selected(w, 1, hostNumber(2)))
	if names := w.Engine.NextIsGiven("caller-001.default"); !slices.Equal(names, []string{string(hostNumber(1)) + ":80"}) {
		t.Errorf("its next replica is given %q", names)
	}

	w.Edit(selected(w, 0, hostNumber(2), hostNumber(0)))
	w.Edit(selected(w, 0, hostNumber(2))) // gone before anybody was told
	p.wantTook("a service that came and went")
	if p.closed() {
		t.Error("the stream ends, since a service came and went")
	}
	w.Edit(selected(w, 0, hostNumber(2), hostNumber(0)))
	p.took()
	w.Edit(selected(w, 0, hostNumber(0)))
	if !p.closed() {
		t.Error("the stream goes on, though a service that selected the pod is gone")
	}
	p.client.Close()
	if size := w.Engine.Size(); size.Streams[mesh.Sidecar] != 0 {
		t.Errorf("%d streams are left", size.Streams[mesh.Sidecar])
	}
}
