package push_test

import (
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/push"
)

// When the ports of a host were secured otherwise last is remembered, and nothing else that happens to it counts.
func TestChangesOfStancesAreDated(t *testing.T) {
	t.Parallel()
	w, _ := one(t, push.Config{})
	stance := func(accept mesh.Transport, ids ...string) {
		w.Edit(func(d *mesh.Draft) {
			d.SetStance(reviews, &mesh.Stance{Host: reviews, Identities: ids, Ports: []mesh.PortStance{{Port: 9080, Policy: mesh.AuthPermissive, Accept: accept, Speak: mesh.Plain}}})
		})
	}
	if at := w.Engine.SecuredSince(reviews); !at.IsZero() {
		t.Errorf("nothing has changed, and it is dated %s", at)
	}
	stance(mesh.Plain)
	first := w.Engine.SecuredSince(reviews)
	stance(mesh.Plain, "spiffe://cluster.local/ns/default/sa/a")
	if at := w.Engine.SecuredSince(reviews); first.IsZero() || !at.Equal(first) {
		t.Errorf("other identities count as a change: %s, %s", first, at)
	}
	stance(mesh.Both)
	if at := w.Engine.SecuredSince(reviews); !at.After(first) {
		t.Errorf("the change is dated %s, after %s", at, first)
	}
	w.Edit(func(d *mesh.Draft) { d.SetStance(reviews, nil) })
	if at := w.Engine.SecuredSince(reviews); !at.IsZero() {
		t.Errorf("it is gone, and dated %s", at)
	}
}
