package push

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/view"
)

// Bounds of what is remembered of refusals.
const (
	maxRejected  = 64   // resources of one proxy
	maxRejecters = 4096 // proxies
)

// Rejected is a version of a resource that a proxy refused and should have. It is remembered beyond the proxy's stream, and
// set aside when it comes back: to refuse it once more it would have to be sent, and Envoy may keep what it refuses as a
// cluster that warms for ever.
type Rejected struct {
	Proxy    mesh.ProxyID `json:"proxy"`
	Resource view.ID      `json:"resource"`
	Version  string       `json:"version"`
	Reason   string       `json:"reason"`
	At       time.Time    `json:"at"`
	Owners   []view.Owner `json:"owners,omitempty"` // whose change it was
}

// rejected holds what proxies refused. The engine's lock guards it.
type rejected struct {
	by   map[mesh.ProxyID]map[view.ID]Rejected
	tell func() // called when there is something new to be kept; nil: nobody wants to know
}

func newRejected(kept []Rejected, tell func()) rejected {
	all := rejected{by: map[mesh.ProxyID]map[view.ID]Rejected{}}
	for _, r := range kept {
		all.add(r)
	}
	all.tell = tell
	return all
}

// add remembers a refusal, if there is room.
func (all *rejected) add(r Rejected) {
	if all.by[r.Proxy] == nil {
		if len(all.by) >= maxRejecters {
			return
		}
		all.by[r.Proxy] = map[view.ID]Rejected{}
	}
	if _, known := all.by[r.Proxy][r.Resource]; known || len(all.by[r.Proxy]) < maxRejected {
		all.by[r.Proxy][r.Resource] = r
		all.changed()
	}
}

// remove forgets one.
func (all *rejected) remove(proxy mesh.ProxyID, id view.ID) {
	if _, known := all.by[proxy][id]; !known {
		return
	}
	if delete(all.by[proxy], id); len(all.by[proxy]) == 0 {
		delete(all.by, proxy)
	}
	all.changed()
}

func (all *rejected) changed() {
	if all.tell != nil {
		all.tell()
	}
}

// Rejected returns what proxies refuse, sorted, to be kept over a restart.
func (e *Engine) Rejected() []Rejected {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := []Rejected{}
	for _, of := range e.rejected.by {
		list = slices.AppendSeq(list, maps.Values(of))
	}
	slices.SortFunc(list, func(a, b Rejected) int {
		return cmp.Or(cmp.Compare(a.Proxy, b.Proxy), compareIDs(a.Resource, b.Resource))
	})
	return list
}

// setAside takes up that the proxy has refused the newest version of a slot on an earlier stream.
func (p *Proxy) setAside(s *slot, m *made) {
	if m == nil || !p.back {
		return
	}
	p.engine.mu.Lock()
	r, known := p.engine.rejected.by[p.id][s.id]
	p.engine.mu.Unlock()
	if !known || r.Version != m.resource.Version || r.Version == s.have {
		return
	}
	o := s.own()
	o.refused, o.reason, o.refusedAt, o.owners = r.Version, r.Reason, r.At, r.Owners
	p.sore[s.id] = struct{}{}
}

// forgive forgets what a proxy has refused.
func (e *Engine) forgive(p *Proxy) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for id := range e.rejected.by[p.id] {
		e.rejected.remove(p.id, id)
	}
}

// takes notes that the proxy has confirmed the newest version of a slot of which it refused an earlier one.
func (p *Proxy) takes(s *slot, version string) {
	if s.rare == nil || s.rare.refused == "" || s.want == nil || s.want.resource.Version != version {
		return
	}
	p.engine.mu.Lock()
	defer p.engine.mu.Unlock()
	p.engine.rejected.remove(p.id, s.id)
}
