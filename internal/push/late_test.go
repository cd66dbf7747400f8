package push_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// A name that leads nowhere when it is asked for is learned when its service appears: replicas that come later get it.
func TestNameIsLearnedWhenItsServiceAppears(t *testing.T) {
	t.Parallel()
	w, f := one(t, push.Config{})
	c := settled(t, w, f)
	c.answer(c.say(request(xds.VirtualHostType, "out/ratings:9080")))
	svc := meshtest.NewService("ratings", "http", 9080)
	w.Edit(func(d *mesh.Draft) { d.SetService(svc.Host, svc) })
	c.answer(c.next())
	var names []string
	for _, u := range w.Engine.Uses() {
		for _, n := range u.Names {
			names = append(names, n.Name)
		}
	}
	if !slices.Contains(names, "ratings:9080") {
		t.Errorf("the scope has learned %q, and its proxy uses ratings:9080", names)
	}
}

// Whoever calls many hosts that there are is told all the same why the first name that leads nowhere does so.
func TestFirstUnknownNameIsAnswered(t *testing.T) {
	t.Parallel()
	w, fakes := replicas(t, push.Config{}, 1, mesh.Uses{})
	c := newConversation(t, w, fakes[0])
	c.answer(c.say(request(xds.ClusterType)))
	var names []string
	for i := range 300 {
		names = append(names, fmt.Sprintf("out/svc-%03d:9080", i))
	}
	c.say(request(xds.VirtualHostType, names...))
	for _, r := range of(c.say(request(xds.VirtualHostType, "out/nowhere:9080")), xds.VirtualHostType) {
		for _, x := range r.GetResources() {
			if x.GetName() == "out/nowhere:9080" && x.GetResource() == nil {
				t.Errorf("the first name that leads nowhere is answered with nothing, version %q", x.GetVersion())
			}
		}
	}
}
