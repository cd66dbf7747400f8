package push

import (
	"slices"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// noteStances notes of which hosts the ports are secured otherwise in the snapshot that comes. The lock is held.
func (e *Engine) noteStances(next *mesh.Snapshot, keys []mesh.Key) {
	if e.snapshot == nil {
		return // who knows how it was before
	}
	for _, k := range keys {
		if k.Kind != mesh.KindStance {
			continue
		}
		host := mesh.Host(k.Name)
		before, after := e.snapshot.Stance(host), next.Stance(host)
		switch {
		case after == nil:
			delete(e.secured, host)
		case before == nil || !slices.Equal(before.Ports, after.Ports):
			e.secured[host] = time.Now()
		}
	}
}

// SecuredSince returns when how the ports of a host are secured changed last; zero: not since the engine was made.
func (e *Engine) SecuredSince(h mesh.Host) time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.secured[h]
}
