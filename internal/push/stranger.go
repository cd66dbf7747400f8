package push

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// Stranger is a proxy whose streams wait, since the mesh knows no workload of its name and type.
type Stranger struct {
	ID       mesh.ProxyID
	Type     mesh.ProxyType
	Identity string // SPIFFE ID that it has proven; "": it has proven none
	Streams  int
	Since    time.Time // when the first of them came
}

// stranger is one stream that waits.
type stranger struct {
	node   mesh.Node
	proven string
	since  time.Time
}

// strange notes that a stream begins to wait, and returns what notes its end.
func (e *Engine) strange(n mesh.Node, peer xds.Peer) (end func()) {
	s := &stranger{node: n, since: time.Now()}
	if peer.Identity != nil {
		s.proven = peer.Identity.ID.String()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.strangers[s] = struct{}{}
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.strangers, s)
	}
}

// Strangers lists the proxies that wait since nobody knows them, sorted by ID.
func (e *Engine) Strangers() []Stranger {
	e.mu.Lock()
	defer e.mu.Unlock()
	type key struct {
		id     mesh.ProxyID
		typ    mesh.ProxyType
		proven string
	}
	found := map[key]Stranger{}
	for s := range e.strangers {
		k := key{s.node.ID(), s.node.Type, s.proven}
		one := found[k]
		if one.Streams == 0 || s.since.Before(one.Since) {
			one.Since = s.since
		}
		one.ID, one.Type, one.Identity = k.id, k.typ, k.proven
		one.Streams++
		found[k] = one
	}
	return slices.SortedFunc(maps.Values(found), func(a, b Stranger) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Type, b.Type), cmp.Compare(a.Identity, b.Identity))
	})
}
