package push

import (
	"slices"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/internal/plan"
	"github.com/lateen-mesh/lateen/internal/view"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// maxInFlight bounds the unanswered responses of one kind. More than one, since Envoy answers for clusters only when
// they have warmed, and others must not wait for that; but a proxy that does not answer is sent no more: it gets the
// newest state when it does.
const maxInFlight = 8

// maxClustersInFlight is the bound for clusters: while a proxy looks one up it confirms none, and those that need no
// looking up must not wait.
const maxClustersInFlight = 64

// findGrace bounds how long a route waits for a proxy to confirm a cluster whose endpoints it looks up. A proxy confirms
// no cluster at all while it looks one up, so a name of which the DNS says nothing holds up those that it knows.
const findGrace = time.Second

// respond makes the responses of one kind that can go now.
func (p *Proxy) respond(session *xds.Session, kind view.Kind) []*xds.Response {
	most := maxInFlight
	if kind == view.KindCluster {
		most = maxClustersInFlight
	}
	if !session.Room(typeOf[kind], most) {
		return nil
	}
	var together, alone []*slot
	now := p.now()
	for s := range p.behind.of(kind) {
		switch {
		case s.restoring():
			alone = append(alone, s)
		case !s.stale():
			p.behind.remove(s)
			s.since = 0
		case p.blocked(s):
			p.behind.remove(s)
			p.stuck[s.id] = struct{}{}
		case (s.rare != nil && now.Before(s.rare.retryAt)) || !p.ready(s):
		case s.alone || s.want.finds: // so that nobody else's refusal keeps a route waiting beyond its grace
			alone = append(alone, s)
		default:
			together = append(together, s)
		}
	}
	removed := p.removals(kind)
	if kind == view.KindVirtualHost {
		together = append(together, p.refuseExtra()...)
	}
	slices.SortFunc(together, bySlotName)
	slices.SortFunc(alone, bySlotName)
	batches := batch(together, alone)
	if len(batches) == 0 && (len(removed) > 0 || p.greet[kind]) {
		batches = [][]*slot{nil}
	}
	var out []*xds.Response
	for _, slots := range batches {
		if !session.Room(typeOf[kind], most) {
			break // the rest stays behind
		}
		if response := p.carry(session, kind, slots, removed); response != nil {
			out = append(out, response)
		}
		removed = nil
	}
	return out
}

// removals takes what is to be removed of a kind and is not needed again by now, sorted: as much as one response may hold.
func (p *Proxy) removals(kind view.Kind) []string {
	removed := slices.DeleteFunc(p.gone[kind], func(name string) bool {
		s, ok := p.slots[view.ID{Kind: kind, Name: name}]
		return ok && s.want != nil && (!s.isRefused() || s.acked != "")
	})
	delete(p.gone, kind)
	slices.Sort(removed)
	removed = slices.Compact(removed)
	size := 0
	for i, name := range removed {
		if size += len(name); size > xds.MaxBodies {
			p.gone[kind] = slices.Clone(removed[i:])
			return removed[:i]
		}
	}
	return removed
}

// batch puts slots into responses: those that may go together as far as one response may hold them, then the others.
func batch(together, alone []*slot) [][]*slot {
	var batches [][]*slot
	first, size := 0, 0
	for i, s := range together {
		if i > first && size+s.want.size > xds.MaxBodies {
			batches, first, size = append(batches, together[first:i]), i, 0
		}
		size += s.want.size
	}
	if first < len(together) {
		batches = append(batches, together[first:])
	}
	for _, s := range alone {
		batches = append(batches, []*slot{s})
	}
	return batches
}

func bySlotName(a, b *slot) int { return strings.Compare(a.id.Name, b.id.Name) }

// carry puts slots and removals, both sorted, into one response. It is nil when the stream has no words for it.
func (p *Proxy) carry(session *xds.Session, kind view.Kind, slots []*slot, removed []string) *xds.Response {
	delete(p.greet, kind)
	resources := make([]*xds.Resource, 0, len(slots))
	size := 0
	slots = slices.DeleteFunc(slots, func(s *slot) bool {
		m := s.next()
		r, err := p.sendable(s.id, m)
		if err != nil { // it was made before, so this is a mistake of ours: the proxy keeps what it has
			p.engine.config.Log.Error("make resource", "resource", s.id.String(), "err", err)
			p.behind.remove(s)
			return true
		}
		p.use(p.leads(m))
		resources = append(resources, r)
		size += m.size
		return false
	})
	response, delivery := session.Respond(typeOf[kind], resources, removed)
	for _, s := range slots {
		p.behind.remove(s)
		delete(p.extra, s.id)
		s.sent(delivery.Nonce)
		if s.want != nil && s.want.finds {
			s.own().sentWhen = p.now()
		}
		if kind == view.KindCluster && !p.walks {
			p.endpointsAgain(s.id)
		}
	}
	if at := p.leaving[kind]; at != 0 && len(removed) > 0 && delivery != nil {
		p.left[delivery.Nonce] = at
	}
	delete(p.leaving, kind)
	p.engine.counters.Sends.Add(string(kind), int64(len(slots)))
	p.engine.counters.Bytes.Add(string(kind), int64(size))
	return response
}

// refuseExtra answers names with slots that nobody keeps: those beyond the bound with an explanation, those that are
// no hosts with nothing, upon which Envoy says 404.
func (p *Proxy) refuseExtra() []*slot {
	var slots []*slot
	for id := range p.extra {
		m := &made{}
		if id.Nameable() {
			var err error
			if m, err = makeResource(plan.TooManyHosts(id.Name, maxHosts)); err != nil {
				delete(p.extra, id)
				p.engine.config.Log.Error("make resource", "resource", id.String(), "err", err)
				continue
			}
		}
		m.resource.Type, m.resource.Name, m.resource.Version = xds.VirtualHostType, id.Name, unheldVersion
		s := newSlot(id)
		s.want = m
		slots = append(slots, s)
	}
	return slots
}

// endpointsAgain makes a cluster's endpoints follow it: Envoy does not ask for them again when a cluster changes, and
// the new one warms until they come.
func (p *Proxy) endpointsAgain(cluster view.ID) {
	if s, ok := p.slots[view.ID{Kind: view.KindEndpoints, Name: cluster.Name}]; ok {
		s.again = true
		p.late(s)
	}
}

// ready tells whether everything that a slot's newest version leads to is in force at the proxy, and nothing that it has leads
// to what the newest version takes away. A cluster that was refused and never there is not waited for: a request is then
// answered at once that it leads nowhere.
func (p *Proxy) ready(s *slot) bool {
	if e, ok := s.want.view.(view.Endpoints); ok && e.Gone && s.have != "" && p.isLeft(view.ID{Kind: view.KindCluster, Name: s.id.Name}) {
		return false
	}
	for _, id := range p.aimed(s) {
		cluster := p.slots[id]
		endpoints, asked := p.slots[view.ID{Kind: view.KindEndpoints, Name: id.Name}]
		if cluster.isRefused() || (asked && endpoints.isRefused()) {
			continue
		}
		switch {
		case cluster.have == "" || cluster.stale():
			return false
		case cluster.want != nil && cluster.want.finds:
			if p.now().Before(cluster.foundBy()) {
				return false
			}
		case !asked || endpoints.confirmedAt <= cluster.sentAt:
			return false
		}
	}
	return true
}

// isLeft tells whether routes that the proxy was sent lead to a cluster, and none will when it was sent the newest.
func (p *Proxy) isLeft(cluster view.ID) bool {
	if s, ok := p.slots[cluster]; !ok || s.uses == 0 {
		return false
	}
	left := false
	for id, s := range p.slots {
		if !leading(id.Kind) {
			continue
		}
		led := slices.Contains(p.leads(s.last()), cluster)
		if _, stuck := p.stuck[id]; slices.Contains(p.aimed(s), cluster) || (led && (stuck || s.isRefused())) {
			return false
		}
		left = left || led
	}
	return left
}

// blocked tells whether a slot's newest version leads to something that the proxy refused and does not have, while
// the version that it has leads somewhere.
func (p *Proxy) blocked(s *slot) bool {
	return s.have != "" && slices.ContainsFunc(p.aimed(s), func(id view.ID) bool {
		cluster, endpoints := p.slots[id], p.slots[view.ID{Kind: view.KindEndpoints, Name: id.Name}]
		return (cluster.isRefused() && cluster.acked == "") || (endpoints != nil && endpoints.isRefused() && endpoints.acked == "")
	})
}

// unblock tries the blocked slots again, since a cluster changed.
func (p *Proxy) unblock() {
	for id := range p.stuck {
		p.late(p.slots[id])
	}
	clear(p.stuck)
}

// expire removes the clusters that nothing has led to for the grace.
func (p *Proxy) expire() {
	if p.undecided() {
		return
	}
	deadline := p.now().Add(-p.engine.config.Grace)
	for s := range p.idle.slots {
		if !s.rare.idle.After(deadline) {
			if s.have != "" {
				p.gone[s.id.Kind] = append(p.gone[s.id.Kind], s.id.Name)
			}
			p.dropped(s.id)
		}
	}
}

// undecided tells whether the proxy has routes of which nobody knows where they lead, so that no cluster may go.
func (p *Proxy) undecided() bool { return len(p.unknown) > 0 }

// wait returns the time until something falls due by itself, or 0.
func (p *Proxy) wait(session *xds.Session) time.Duration {
	var next time.Time
	sooner := func(t time.Time) {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	if p.whole(session) && !p.undecided() { // else what the proxy says next decides
		for s := range p.idle.slots {
			sooner(s.rare.idle.Add(p.engine.config.Grace))
		}
	}
	for id := range p.bridges {
		sooner(p.slots[id].rare.bridgeBy)
	}
	now := p.now()
	for _, slots := range p.behind {
		for s := range slots.slots {
			if s.rare != nil && s.rare.retryAt.After(now) {
				sooner(s.rare.retryAt)
			}
			for _, cluster := range p.aimed(s) {
				if by := p.slots[cluster].foundBy(); by.After(now) {
					sooner(by)
				}
			}
		}
	}
	if next.IsZero() {
		return 0
	}
	return max(next.Sub(now), time.Millisecond)
}
