package push_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/push"
)

// When the ports of a host were secured otherwise last is remembered, and nothing else that happens to it counts.
func TestChangesOfStancesAreDated(t *testing.T) {
	t.Parallel()
	w, _ := one(t, push.Config{})
	stance := func(accept mesh.Transport, more ...int) time.Time {
		w.Edit(func(d *mesh.Draft) {
			s := &mesh.Stance{Host: reviews, Ports: []mesh.PortStance{{Port: 9080, Policy: mesh.AuthPermissive, Accept: accept, Speak: mesh.Plain}}}
			for _, port := range more {
				s.Ports = append(s.Ports, mesh.PortStance{Port: port, Policy: mesh.AuthPermissive, Accept: mesh.Both, Speak: mesh.TLS})
				s.Identities = append(s.Identities, fmt.Sprint("spiffe://cluster.local/ns/default/sa/", port))
			}
			d.SetStance(reviews, s)
		})
		return w.Engine.SecuredSince(reviews)
	}
	for _, at := range []time.Time{w.Engine.SecuredSince(reviews), stance(mesh.Plain), stance(mesh.Plain, 9081), stance(mesh.Plain)} {
		if !at.IsZero() {
			t.Errorf("what is new, or goes, counts as a change: %s", at)
		}
	}
	first := stance(mesh.Both)
	if first.IsZero() {
		t.Error("a change is not dated")
	}
	if at := stance(mesh.Both, 9081); !at.Equal(first) {
		t.Errorf("another port counts as a change: %s, %s", first, at)
	}
	if at := stance(mesh.TLS); !at.After(first) {
		t.Errorf("the next change is dated %s, the one before %s", at, first)
	}
	w.Edit(func(d *mesh.Draft) { d.SetStance(reviews, nil) })
	if at := w.Engine.SecuredSince(reviews); !at.IsZero() {
		t.Errorf("it is gone, and dated %s", at)
	}
}
