package push_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// replicas returns a mesh with services and as many replicas of one workload, which call nobody by themselves yet.
func replicas(t *testing.T, config push.Config, n int, uses mesh.Uses) (*meshtest.FakeMesh, []*meshtest.FakeProxy) {
	t.Helper()
	w := meshtest.NewFakeMesh(t, config)
	registry := meshtest.Bulk(400)
	var fakes []*meshtest.FakeProxy
	for i := range n {
		workload, fake := caller(i)
		workload.Labels, workload.Uses = mesh.Labels{"app": "caller"}, uses
		registry.Workloads, fakes = append(registry.Workloads, workload), append(fakes, fake)
	}
	w.Edit(func(d *mesh.Draft) { meshtest.Put(d, registry) })
	return w, fakes
}

// What the proxy of a workload has asked for is sent to its next replica at once, cluster and endpoints first. What that
// one was given teaches nothing.
func TestNextReplicaIsGivenWhatIsUsed(t *testing.T) {
	t.Parallel()
	w, fakes := replicas(t, push.Config{}, 2, mesh.Uses{})
	w.Connect(fakes[0])
	await(t, fakes[0].Await(t.Context(), xds.VirtualHostType, "out/_init"))
	for _, host := range []string{"svc-003:9080", "nobody:9080"} {
		await(t, fakes[0].Ask(host))
		await(t, fakes[0].Await(t.Context(), xds.VirtualHostType, "out/"+host))
	}

	w.Connect(fakes[1])
	await(t, fakes[1].Await(t.Context(), xds.VirtualHostType, "out/svc-003:9080"))
	var got []string
	for _, g := range fakes[1].Got() {
		if g.Type != xds.ListenerType && g.Name != "inner" && g.Name != "out" && g.Name != "out/_init" {
			got = append(got, g.Name)
		}
	}
	cluster := mesh.Subset{Host: hostNumber(3), Port: 9080}.String()
	if want := []string{cluster, cluster, "out/svc-003:9080"}; !slices.Equal(got, want) {
		t.Errorf("the second replica was sent %q before it asked for anything, want %q", got, want)
	}
	uses := w.Engine.Uses()
	if len(uses) != 1 || len(uses[0].Names) != 1 || uses[0].Names[0].Name != "svc-003:9080" {
		t.Errorf("what is learned is %+v, want svc-003:9080 alone", uses)
	}
}

// What is learned is kept over a restart, and ages out for new proxies a week after the last one that asked for it went.
// One that lives keeps what it has.
func TestLearnedUseAges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, fakes := replicas(t, push.Config{}, 2, mesh.Uses{})
		disconnect := w.Connect(fakes[0])
		await(t, fakes[0].Await(t.Context(), xds.VirtualHostType, "out/_init"))
		await(t, fakes[0].Ask("svc-003:9080"))
		await(t, fakes[0].Await(t.Context(), xds.VirtualHostType, "out/svc-003:9080"))
		<-time.After(30 * 24 * time.Hour)
		if names := usedNames(w.Engine); !slices.Equal(names, []string{"svc-003:9080"}) {
			t.Errorf("while a proxy that asked lives, %q are learned", names)
		}
		disconnect()
		synctest.Wait()
		kept := w.Engine.Uses()
		<-time.After(6 * 24 * time.Hour)
		if names := usedNames(push.NewEngine(push.Config{Uses: kept})); !slices.Equal(names, []string{"svc-003:9080"}) {
			t.Errorf("after six days and a restart %q are learned", names)
		}
		<-time.After(2 * 24 * time.Hour)
		if names := usedNames(push.NewEngine(push.Config{Uses: kept})); len(names) != 0 {
			t.Errorf("after eight days %q are learned, want none", names)
		}
	})
}

func usedNames(e *push.Engine) []string {
	var names []string
	for _, u := range e.Uses() {
		for _, n := range u.Names {
			names = append(names, n.Name)
		}
	}
	return names
}

// A workload's own list pins names, which every new proxy is given, and forbids others, which are not learned.
func TestPinnedAndForbiddenUses(t *testing.T) {
	t.Parallel()
	w, fakes := replicas(t, push.Config{}, 1, mesh.Uses{Pin: []string{"svc-007:9080"}, Forbid: []string{"svc-003:9080"}})
	w.Connect(fakes[0])
	await(t, fakes[0].Await(t.Context(), xds.VirtualHostType, "out/svc-007:9080"))
	for _, host := range []string{"svc-003:9080", "svc-004:9080"} {
		await(t, fakes[0].Ask(host))
		await(t, fakes[0].Await(t.Context(), xds.VirtualHostType, "out/"+host))
	}
	if names := usedNames(w.Engine); !slices.Equal(names, []string{"svc-004:9080"}) {
		t.Errorf("%q are learned, want svc-004:9080 alone", names)
	}
	if names := w.Engine.NextIsGiven(fakes[0].Node.ID()); !slices.Equal(names, []string{"svc-004:9080", "svc-007:9080"}) {
		t.Errorf("the next replica is given %q, want what is learned and what is pinned", names)
	}
}

// What is learned is bounded: when a scope is full, the name whose askers are gone for the longest time makes room, and
// names that are in use never do.
func TestLearnedUseIsBounded(t *testing.T) {
	t.Parallel()
	const most = 256
	w, fakes := replicas(t, push.Config{}, 1, mesh.Uses{})
	c := newConversation(t, w, fakes[0])
	ask := func(from, to int) {
		var names []string
		for i := from; i < to; i++ {
			names = append(names, fmt.Sprintf("out/svc-%03d:9080", i))
		}
		c.say(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(xds.VirtualHostType), ResourceNamesSubscribe: names})
	}
	ask(0, 300)
	if n := len(usedNames(w.Engine)); n != most {
		t.Errorf("%d names are learned, want %d", n, most)
	}
	c.say(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(xds.VirtualHostType), ResourceNamesUnsubscribe: []string{"out/svc-001:9080"}})
	ask(399, 400)
	names := usedNames(w.Engine)
	if len(names) != most || slices.Contains(names, "svc-001:9080") || !slices.Contains(names, "svc-399:9080") {
		t.Errorf("%d names are learned, svc-001 among them: %v, svc-399: %v", len(names),
			slices.Contains(names, "svc-001:9080"), slices.Contains(names, "svc-399:9080"))
	}
}
