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
		case before != nil && slices.ContainsFunc(after.Ports, func(p mesh.PortStance) bool { return turned(before, p) }):
			e.secured[host] = time.Now()
		}
	}
}

// turned tells whether a port that was there before is secured otherwise now. A new one is at its target from its beginning.
func turned(before *mesh.Stance, now mesh.PortStance) bool {
	return slices.ContainsFunc(before.Ports, func(p mesh.PortStance) bool {
		return p.Port == now.Port && (p.Accept != now.Accept || p.Speak != now.Speak)
	})
}

// SecuredSince returns when how the ports of a host are secured changed last; zero: not since the engine was made.
func (e *Engine) SecuredSince(h mesh.Host) time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.secured[h]
}
