package push

import (
	"slices"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/view"
)

// bridgeGrace bounds how long new routes wait for a client without a proxy to have the clusters that they lead to.
const bridgeGrace = 2 * time.Second

// bridge returns what goes before m to a client without a proxy. The one of gRPC for Go lets calls take new routes a moment
// before it knows their clusters, and fails them: so it is first told the routes that it has together with the clusters
// that are coming, and m when it has those.
func (p *Proxy) bridge(s *slot, m *made) *made {
	if s.rare != nil {
		s.rare.after = nil
	}
	delete(p.bridges, s.id)
	last := s.last()
	if m == nil || m.call == nil || last == nil || last.call == nil {
		return m
	}
	var coming []mesh.Subset
	waits := false
	for _, n := range m.call.Needs() {
		id := view.ClusterOf(n)
		known := slices.Contains(last.needs, id)
		if !known {
			coming = append(coming, n)
		}
		waits = waits || !known || !p.arrived(id)
	}
	if !waits {
		return m
	}
	first := last
	if len(coming) > 0 {
		var err error
		if first, err = makeResource(last.call.Announcing(coming)); err != nil {
			p.engine.config.Log.Error("make resource", "resource", s.id.String(), "err", err)
			return m
		}
		first.view = m.view
	}
	o := s.own()
	o.after, o.bridgeBy, o.afterSince = m, p.now().Add(bridgeGrace), p.current()
	p.bridges[s.id] = struct{}{}
	return first
}

// cross sends on what waited for clusters that are there now.
func (p *Proxy) cross() {
	for id := range p.bridges {
		s := p.slots[id]
		if !p.bridged(s) && p.now().Before(s.rare.bridgeBy) && !s.isRefused() {
			continue
		}
		delete(p.bridges, id)
		if s.want, s.rare.after = s.rare.after, nil; s.stale() {
			p.late(s)
			s.since = min(s.since, s.rare.afterSince)
		}
	}
}

// bridged tells whether the proxy has all clusters that a slot's newest version leads to, with their endpoints.
func (p *Proxy) bridged(s *slot) bool {
	if s.acked != s.want.resource.Version {
		return false
	}
	return !slices.ContainsFunc(s.rare.after.needs, func(id view.ID) bool { return !p.arrived(id) })
}

// arrived tells whether the proxy has a cluster, with its endpoints.
func (p *Proxy) arrived(id view.ID) bool {
	cluster, endpoints := p.slots[id], p.slots[view.ID{Kind: view.KindEndpoints, Name: id.Name}]
	return cluster != nil && cluster.acked != "" && endpoints != nil && endpoints.acked != ""
}
