package push

import (
	"slices"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Here returns those of some proxies that are connected and have said what they have, in their order.
func (e *Engine) Here(ids []mesh.ProxyID) []mesh.ProxyID {
	e.mu.Lock()
	defer e.mu.Unlock()
	var here []mesh.ProxyID
	for _, id := range ids {
		for p := range e.byID[id] {
			if p.settled >= 0 {
				here = append(here, id)
				break
			}
		}
	}
	return here
}

// Settled returns the proxies that are connected and have said what they have, sorted.
func (e *Engine) Settled() []mesh.ProxyID {
	e.mu.Lock()
	defer e.mu.Unlock()
	ids := make([]mesh.ProxyID, 0, len(e.byID))
	for id, all := range e.byID {
		for p := range all {
			if p.settled >= 0 {
				ids = append(ids, id)
				break
			}
		}
	}
	slices.Sort(ids)
	return ids
}

// SetElsewhere tells which proxies are connected to other replicas: they are not missed here, for people and for who waits for a
// revision. A handover asks more closely.
func (e *Engine) SetElsewhere(ids map[mesh.ProxyID]bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.elsewhere = ids
	e.signal()
	e.news.tell()
}

// missed tells whether a proxy that runs is connected nowhere. The lock is held.
func (e *Engine) missed(id mesh.ProxyID) bool { return !e.elsewhere[id] }
