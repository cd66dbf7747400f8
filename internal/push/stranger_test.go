package push_test

import (
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/push"
)

// Those that wait since nobody knows them are named, until somebody does.
func TestStrangersAreNamed(t *testing.T) {
	t.Parallel()
	w, _ := one(t, push.Config{})
	workload, unknown := caller(9, "reviews:9080")
	w.Connect(unknown)
	w.Connect(meshtest.NewFakeProxy(unknown.Node))
	meshtest.Await(t, "two streams that wait", func() bool { list := w.Engine.Strangers(); return len(list) == 1 && list[0].Streams == 2 })
	if s := w.Engine.Strangers()[0]; s.ID != unknown.Node.ID() || s.Type != mesh.Sidecar || s.Since.IsZero() || s.Identity != "" {
		t.Errorf("it is %+v", s)
	}
	w.Edit(func(d *mesh.Draft) { d.SetWorkload(workload.ID(), workload) })
	meshtest.Await(t, "the streams to be of somebody known", func() bool { return len(w.Engine.Connected()) == 2 })
	meshtest.Await(t, "nobody to wait", func() bool { return len(w.Engine.Strangers()) == 0 })
}
