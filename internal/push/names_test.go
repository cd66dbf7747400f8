package push_test

import (
	"fmt"
	"strings"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/view"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// A proxy that asks for ever more names that nobody knows is answered each time: those that it holds first with words, then
// with nothing, and beyond a bound nothing is kept for it. What it holds and what others hold goes on, and a service that
// appears under one of the names is told.
func TestTooManyNames(t *testing.T) {
	t.Parallel()
	w, f := one(t, push.Config{})
	workload, other := caller(1, "reviews:9080")
	w.Edit(func(d *mesh.Draft) { d.SetWorkload(workload.ID(), workload) })
	w.Connect(f)
	w.Connect(other)
	await(t, f.Await(t.Context(), xds.VirtualHostType, "out/reviews:9080"))
	await(t, other.Await(t.Context(), xds.VirtualHostType, "out/reviews:9080"))
	const asked, most, told = 5000, 4096, 256
	name := func(i int) string { return fmt.Sprintf("n%d:9080", i) }
	for i := range asked {
		await(t, f.Ask(name(i)))
	}
	for i := range asked {
		await(t, f.Await(t.Context(), xds.VirtualHostType, view.VirtualHostOf(name(i)).Name))
	}
	answers := map[string]int{}
	for _, g := range f.Got() {
		if g.Type == xds.VirtualHostType && strings.HasPrefix(g.Name, "out/n") {
			answers[g.Version]++
		}
	}
	if quiet, unheld := answers["quiet"], answers["unheld"]; quiet != most-2-told || unheld != asked+2-most {
		t.Errorf("%d names were answered with nothing, want %d, and %d forgotten, want %d", quiet, most-2-told, unheld, asked+2-most)
	}
	for _, p := range w.Engine.Connected() {
		want := map[mesh.ProxyID]int{f.Node.ID(): most, other.Node.ID(): 2}[p.ID]
		if got := p.Holds[view.KindVirtualHost]; got != want {
			t.Errorf("%s holds %d virtual hosts, want %d", p.ID, got, want)
		}
	}
	if n := w.Confirmed(w.Edit(toVersion("v2"))); n != 2 {
		t.Errorf("a change concerns %d proxies, want 2", n)
	}
	for number, concerned := range map[int]int{0: 1, 4000: 1, 4999: 0} {
		svc := meshtest.NewService(fmt.Sprint("n", number), "http", 9080)
		if n := w.Confirmed(w.Edit(func(d *mesh.Draft) { d.SetService(svc.Host, svc) })); n != concerned {
			t.Errorf("a service under name %d concerns %d proxies, want %d", number, n, concerned)
		}
	}
}

// A name that is dropped and asked for again while the answer to the first question is on its way: both answers are
// confirmed, and what the proxy has in the end is known.
func TestAskedAgainInFlight(t *testing.T) {
	t.Parallel()
	w, f := one(t, push.Config{})
	c := newConversation(t, w, f)
	of := func(typ xds.Type) *discoveryv3.DeltaDiscoveryRequest {
		return &discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(typ)}
	}
	for _, r := range []*discoveryv3.DeltaDiscoveryRequest{of(xds.ClusterType), of(xds.ListenerType), of(xds.RouteType), of(xds.VirtualHostType)} {
		c.answer(c.say(r))
	}
	ask := of(xds.VirtualHostType)
	ask.ResourceNamesSubscribe = []string{"out/nowhere:9080"}
	drop := of(xds.VirtualHostType)
	drop.ResourceNamesUnsubscribe = ask.GetResourceNamesSubscribe()
	first := c.say(ask)
	c.say(drop)
	second := c.say(ask)
	if len(first) != 1 || len(second) != 1 {
		t.Fatalf("%d and %d answers, want one each", len(first), len(second))
	}
	c.answer(first)
	c.answer(second)
	if n := c.session.InFlight(); n != 0 {
		t.Errorf("%d answers are not confirmed", n)
	}
	nowhere := meshtest.NewService("nowhere", "http", 81) // whose answer needs no cluster
	revision := w.Edit(func(d *mesh.Draft) { d.SetService(nowhere.Host, nowhere) })
	c.answer(c.next())
	if n := w.Confirmed(revision); n != 1 {
		t.Errorf("a change of the name concerns %d proxies, want 1", n)
	}
}
