package push

import (
	"slices"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Of those who are away it is told who has been so for longer than a proxy takes to come back.
func TestLostProxies(t *testing.T) {
	t.Parallel()
	m := newModel(t, 0, false)
	w := &mesh.Workload{Name: "d", Namespace: "default", Type: mesh.Sidecar, Address: "127.0.0.2", Outbound: 15001, Running: true}
	m.edit("it runs", func(d *mesh.Draft) { d.SetWorkload(w.ID(), w) })
	away, lost := []mesh.ProxyID{w.ID()}, []mesh.ProxyID(nil)
	for range 2 {
		s, _ := m.engine.Standing(1, m.snapshot.Revision())
		if !slices.Equal(s.Away, away) || !slices.Equal(s.Lost, lost) || s.Proxies != 2 {
			t.Errorf("away are %v, for long %v, of %d; want %v and %v of 2", s.Away, s.Lost, s.Proxies, away, lost)
		}
		m.engine.absent[w.ID()] = time.Now().Add(-comeBack)
		lost = away
	}
}
