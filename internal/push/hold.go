package push

import (
	"cmp"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/view"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// hold makes the proxy a subscriber of a resource of which it has a version ("": none).
func (p *Proxy) hold(id view.ID, have string) *slot {
	s, ok := p.slots[id]
	if !ok {
		m, id := p.engine.subscribe(p, id)
		s = newSlot(id)
		s.have, s.acked = have, have
		if have != "" {
			s.confirmedAt = 0
		}
		p.slots[id] = s
		p.held[id.Kind]++
		if have != "" && leading(id.Kind) {
			p.unknown[id] = struct{}{}
		}
		p.setAside(s, m)
		p.aim(s, m)
	}
	return s
}

// asked takes a subscription by name. A name that comes again is answered again.
func (p *Proxy) asked(id view.ID, have string) {
	if s, ok := p.slots[id]; ok {
		if have == "" {
			s.again = true
			p.late(s)
		}
		return
	}
	if len(p.extra)+len(p.gone[id.Kind]) > maxWaiting {
		p.end()
		return
	}
	switch {
	case id.Kind == view.KindVirtualHost && (p.held[id.Kind] >= maxHosts || !id.Nameable() || have == unheldVersion):
		p.extra[id] = struct{}{}
		return
	case p.typ == mesh.Sidecar && id.Kind == view.KindSecret, p.held[id.Kind] >= mostHeld(id.Kind):
		p.gone[id.Kind] = append(p.gone[id.Kind], id.Name)
		return
	case !p.walks && id.Kind == view.KindEndpoints && p.held[id.Kind] > p.held[view.KindCluster]+spareEndpoints:
		return // no Envoy asks for the endpoints of clusters that it does not have
	}
	if id.IsDialled() && id.Kind == view.KindCluster {
		if p.dialled >= maxHosts {
			p.gone[id.Kind] = append(p.gone[id.Kind], id.Name)
			return
		}
		p.dialled++
	}
	s := p.hold(id, have)
	if cluster, ok := p.slots[view.ID{Kind: view.KindCluster, Name: id.Name}]; ok && !p.walks && id.Kind == view.KindEndpoints && cluster.sentAt >= 0 {
		// The cluster was sent anew before its endpoints were asked for, as on a reconnection: it warms until they come.
		s.again = true
		p.late(s)
	}
	if s.want == nil && id.Kind != view.KindSecret { // a certificate may come yet: what asks for it goes on waiting
		p.gone[id.Kind] = append(p.gone[id.Kind], id.Name)
		if !p.walks { // who walks asks once and takes what comes later
			p.dropped(id)
		}
	}
}

// dropped ends a subscription.
func (p *Proxy) dropped(id view.ID) {
	s, ok := p.slots[id]
	if !ok {
		return
	}
	p.countNowhere(s.want, -1)
	p.letGo(p.aimed(s))
	for _, c := range s.versions {
		p.letGo(p.leads(c.made))
	}
	p.open.remove(s)
	if id.IsDialled() && id.Kind == view.KindCluster {
		p.dialled--
	}
	delete(p.slots, id)
	p.held[id.Kind]--
	p.behind.remove(s)
	delete(p.stuck, id)
	p.idle.remove(s)
	delete(p.unknown, id)
	delete(p.sore, id)
	delete(p.bridges, id)
	p.engine.unsubscribe(p, id, s.learned)
}

// quieten returns nothing with a name for a name that leads nowhere, if the proxy holds so many already.
func (p *Proxy) quieten(s *slot, m *made) *made {
	if !m.leadsNowhere() || (s.have != quietVersion && (s.have != "" || p.nowhere < maxTold)) {
		return m
	}
	return &made{resource: xds.Resource{Type: m.resource.Type, Name: m.resource.Name, Version: quietVersion}, view: m.view}
}

// countNowhere counts the virtual hosts that lead nowhere.
func (p *Proxy) countNowhere(m *made, n int) {
	if m.leadsNowhere() {
		p.nowhere += n
	}
}

// aim makes m what the proxy is to have of the slot.
func (p *Proxy) aim(s *slot, m *made) {
	m = p.bridge(s, p.withinReach(s.id, p.quieten(s, m)))
	old, needs := p.aimed(s), p.leads(m)
	p.countNowhere(s.want, -1)
	p.countNowhere(m, 1)
	s.want, s.from, s.to = m, p.before+1, p.taken
	p.use(needs)
	p.letGo(old)
	delete(p.stuck, s.id)
	if m != nil && len(s.versions) == 0 && s.have == m.resource.Version && s.acked == s.have { // it brought the newest
		delete(p.unknown, s.id)
		p.use(needs)
		s.versions = []carried{{made: m, since: settledForever}}
		if p.letsGo(s.id) {
			p.engine.letGo(m)
		}
	}
	if s.stale() {
		p.late(s)
	} else {
		s.since = 0
	}
	if s.id.Kind == view.KindCluster || s.id.Kind == view.KindEndpoints {
		p.unblock()
	}
	if s.wished && !s.learned {
		p.engine.learn(p, s) // its service may have come later than the wish
	}
	if m == nil && s.have != "" && (p.walks || listed(s.id.Kind) || s.id.Kind == view.KindScope) {
		p.gone[s.id.Kind] = append(p.gone[s.id.Kind], s.id.Name)
		p.leaving[s.id.Kind] = cmp.Or(p.leaving[s.id.Kind], p.current())
		s.have, s.acked = "", ""
	}
}

// leads returns the clusters that must be at the proxy before a resource.
func (p *Proxy) leads(m *made) []view.ID {
	if m == nil || p.walks {
		return nil
	}
	return m.needs
}

// use counts a route that leads to clusters.
func (p *Proxy) use(clusters []view.ID) {
	for _, id := range clusters {
		s := p.hold(id, "")
		s.uses++
		p.idle.remove(s)
	}
}

// letGo takes back what use counted.
func (p *Proxy) letGo(clusters []view.ID) {
	for _, id := range clusters {
		s := p.slots[id]
		if s.uses--; s.uses == 0 {
			p.unused(id)
		}
	}
}

// unused notes that nothing leads to a cluster; the grace runs from now.
func (p *Proxy) unused(id view.ID) {
	s := p.slots[id]
	s.own().idle = p.now()
	p.idle.add(s)
}
