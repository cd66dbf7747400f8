package push

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/view"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// Proxy is one stream's proxy: what it has, what it is to have, and the order in between. It is an [xds.Client]; the
// fields of the first group belong to the engine and its lock, all others to the stream's goroutine.
type Proxy struct {
	seat     *seat
	dirty    map[*entry]struct{}
	wake     chan struct{}
	evicted  bool
	marked   int64             // revision of the last change that concerned it
	marks    []int64           // revisions that concern it and that it has neither confirmed nor refused
	settled  int64             // revision up to which it has confirmed everything
	notTaken []refusal         // what it has not taken of what it should have
	counts   map[view.Kind]int // resources by kind
	busy     bool              // something is to be sent to it, or confirmed by it
	refusal  *Refusal          // its last one

	questions chan func() // for the stream's goroutine to answer
	since     time.Time
	scopeName string

	engine *Engine
	id     mesh.ProxyID
	typ    mesh.ProxyType
	habits
	caller    view.Caller
	callerKey string
	scope     view.Caller // the facts that it shares with the replicas of its workload
	own       map[view.ID]struct{}

	slots  map[view.ID]*slot
	behind map[view.ID]struct{} // slots that may have something to send
	open   map[*slot]struct{}   // slots of which something may not be confirmed
	// Removals: since which revision they wait to be sent, by kind, and to be confirmed, by nonce.
	leaving map[view.Kind]int64
	left    map[int64]int64
	stuck   map[view.ID]struct{} // slots that wait for another version of a cluster that was refused
	// Routes that the proxy brought in another version than the newest: nobody knows which clusters those lead to.
	unknown  map[view.ID]struct{}
	idle     map[view.ID]struct{} // clusters that nothing leads to
	gone     map[view.Kind][]string
	extra    map[view.ID]struct{}               // virtual hosts that are too many, or names that are no hosts: answered and forgotten
	greet    map[view.Kind]bool                 // to be answered even with nothing
	held     map[view.Kind]int                  // slots by kind
	sore     map[view.ID]struct{}               // slots of which some version was refused
	taken    int64                              // revision of what was last taken from the engine
	before   int64                              // the one before
	taking   bool                               // what was taken is just being noted
	begun    bool                               // it was settled once
	complete bool                               // it has asked for everything that its type asks for
	lists    map[view.Kind]map[view.ID]struct{} // of kinds of which it has asked for everything: what there is
	bridges  map[view.ID]struct{}               // slots whose newest version waits for what goes before it
	now      func() time.Time
}

var _ xds.Client = (*Proxy)(nil)

// Wake receives when there may be something to send, and is closed when the stream must end.
func (p *Proxy) Wake() <-chan struct{} { return p.wake }

// Handle takes what a request said.
func (p *Proxy) Handle(_ *xds.Session, e xds.Event) {
	kind, known := kindOf[e.Type]
	if !known {
		return // a type that Lateen does not serve: Envoy goes on without it
	}
	p.engine.counters.answered(kind, e)
	if e.First {
		p.begin(kind, e.Held)
	}
	if e.Acked != nil {
		p.acked(kind, e.Acked)
	}
	if e.Refused != nil {
		p.refused(kind, e.Refused, e.Reason)
	}
	switch {
	case !listed(kind):
		for _, name := range e.Subscribed {
			id := view.ID{Kind: kind, Name: name}
			p.asked(id, e.Held[name])
			if s, ok := p.slots[id]; ok && kind == view.KindVirtualHost {
				p.engine.learn(p, s)
			}
		}
		for _, name := range e.Unsubscribed {
			p.dropped(view.ID{Kind: kind, Name: name})
		}
	case p.walks:
		p.walk(kind, e)
	default: // sent whether asked for or not
	}
}

// listed tells whether a proxy may ask for everything of the kind.
func listed(kind view.Kind) bool { return kind == view.KindCluster || kind == view.KindListener }

// begin takes the first request for a kind, with what the proxy brought from an earlier stream.
func (p *Proxy) begin(kind view.Kind, held map[string]string) {
	if p.walks && listed(kind) {
		return // what it asks for says what it has
	}
	p.greet[kind] = len(held) == 0 && listed(kind)
	for _, name := range slices.Sorted(maps.Keys(held)) {
		id := view.ID{Kind: kind, Name: name}
		_, own := p.own[id]
		_, err := mesh.ParseSubset(name)
		switch {
		case own:
		case kind == view.KindCluster && err == nil:
			// Which routes lead to it is known when the proxy has asked for them again: it is kept meanwhile.
			if s := p.hold(id, held[name]); s.uses == 0 {
				p.unused(id)
			} else if s.have == "" {
				s.have, s.acked = held[name], held[name]
			}
		case kind == view.KindVirtualHost:
			p.asked(id, held[name])
		case listed(kind):
			p.gone[kind] = append(p.gone[kind], name)
		}
	}
	if kind == view.KindVirtualHost {
		p.asked(view.InitHost(), held[view.InitHost().Name])
		if len(held) == 0 {
			for _, name := range p.engine.given(p) {
				p.asked(view.VirtualHostOf(name), "")
			}
		}
	}
	for id := range p.own {
		if id.Kind == kind {
			p.hold(id, held[id.Name])
		}
	}
}

// hold makes the proxy a subscriber of a resource of which it has a version ("": none).
func (p *Proxy) hold(id view.ID, have string) *slot {
	s, ok := p.slots[id]
	if !ok {
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
		p.aim(s, p.engine.subscribe(p, id))
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
	switch {
	case id.Kind == view.KindVirtualHost && (p.held[id.Kind] >= maxHosts || !id.Nameable() || have == unheldVersion):
		p.extra[id] = struct{}{}
		return
	case p.walks && p.held[id.Kind] >= mostWalked(id.Kind):
		p.gone[id.Kind] = append(p.gone[id.Kind], id.Name)
		return
	case !p.walks && id.Kind == view.KindEndpoints && p.held[id.Kind] > p.held[view.KindCluster]+spareEndpoints:
		return // no Envoy asks for the endpoints of clusters that it does not have
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
	p.letGo(s.aimed)
	for _, c := range s.versions {
		p.letGo(p.leads(c.made))
	}
	if s.learned {
		p.engine.unlearn(p, s)
	}
	delete(p.open, s)
	delete(p.slots, id)
	p.held[id.Kind]--
	delete(p.behind, id)
	delete(p.stuck, id)
	delete(p.idle, id)
	delete(p.unknown, id)
	delete(p.sore, id)
	delete(p.bridges, id)
	p.engine.unsubscribe(p, id)
}

// quieten returns nothing with a name for a name that leads nowhere, if the proxy holds so many already.
func (p *Proxy) quieten(s *slot, m *made) *made {
	if !m.leadsNowhere() || (s.have != quietVersion && (s.have != "" || p.held[view.KindVirtualHost] <= maxTold)) {
		return m
	}
	return &made{resource: xds.Resource{Type: m.resource.Type, Name: m.resource.Name, Version: quietVersion}, view: m.view}
}

// aim makes m what the proxy is to have of the slot.
func (p *Proxy) aim(s *slot, m *made) {
	m = p.bridge(s, p.withinReach(s.id, p.quieten(s, m)))
	s.want, s.from, s.to = m, p.before+1, p.taken
	needs := p.leads(m)
	p.use(needs)
	p.letGo(s.aimed)
	s.aimed = needs
	delete(p.stuck, s.id)
	if _, brought := p.unknown[s.id]; brought && m != nil && s.have == m.resource.Version && s.acked == s.have {
		delete(p.unknown, s.id)
		p.use(needs)
		s.versions = append([]carried{{made: m, since: settledForever}}, s.versions...)
	}
	if s.stale() {
		p.late(s)
	} else {
		s.since = 0
	}
	if s.id.Kind == view.KindCluster || s.id.Kind == view.KindEndpoints {
		p.unblock()
	}
	if m == nil && s.have != "" && (p.walks || listed(s.id.Kind)) {
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

// late notes that a slot has something to send.
func (p *Proxy) late(s *slot) {
	at := p.current()
	if !p.taking && (s.id.Kind == view.KindSecret || s.id.Kind == view.KindFilter || s.id.Kind == view.KindRoutes) {
		at = min(at, p.confirmed()+1) // a listener that it has just been sent asks for it, and is not confirmed yet
	}
	s.since = min(cmp.Or(s.since, settledForever), at)
	p.behind[s.id] = struct{}{}
	p.open[s] = struct{}{}
}

// current returns the revision that what is noted now belongs to: the first one that has just been taken; before the proxy
// is settled for the first time, the first of all.
func (p *Proxy) current() int64 {
	switch {
	case !p.begun:
		return 1
	case p.taking:
		return p.before + 1
	default:
		return p.taken + 1
	}
}

// confirmed returns the revision up to which the proxy has confirmed or refused everything that concerns it.
func (p *Proxy) confirmed() int64 {
	first := p.taken + 1
	looksUp := false
	for s := range p.open {
		looksUp = looksUp || !s.foundBy().IsZero()
	}
	for s := range p.open {
		nonce := int64(-1)
		if s.id.Kind == view.KindCluster && looksUp {
			// A proxy that looks up another cluster confirms none meanwhile; that it has taken the endpoints is as good.
			if e, asked := p.slots[view.ID{Kind: view.KindEndpoints, Name: s.id.Name}]; asked {
				nonce = e.confirmedAt
			}
		}
		_, stuck := p.stuck[s.id]
		switch at := s.open(nonce); {
		case at == settledForever:
			delete(p.open, s)
		case !stuck && !s.isRefused():
			first = min(first, at)
		}
	}
	for id := range p.bridges {
		first = min(first, p.slots[id].afterSince)
	}
	for _, at := range p.leaving {
		first = min(first, at)
	}
	for _, at := range p.left {
		first = min(first, at)
	}
	return first - 1
}

// use counts a route that leads to clusters.
func (p *Proxy) use(clusters []view.ID) {
	for _, id := range clusters {
		s := p.hold(id, "")
		s.uses++
		delete(p.idle, id)
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
	p.slots[id].idle = p.now()
	p.idle[id] = struct{}{}
}

// acked takes the confirmation of a response.
func (p *Proxy) acked(kind view.Kind, d *xds.Delivery) {
	for name, version := range d.Sent {
		s, ok := p.slots[view.ID{Kind: kind, Name: name}]
		if !ok || !s.carried(d.Nonce) {
			continue
		}
		s.acked, s.ackedAt, s.confirmedAt, s.alone = version, d.Nonce, max(s.confirmedAt, d.Nonce), false
		delete(p.unknown, s.id)
		for len(s.versions) > 0 && s.versions[0].nonce < d.Nonce {
			p.letGo(p.leads(s.versions[0].made))
			s.versions = s.versions[1:]
		}
		p.engine.counters.arrived(s, p.now())
	}
	delete(p.left, d.Nonce)
}

// addressInUse is how Envoy says that a listener's port is taken. That passes: the one who has it may go away.
const addressInUse = "ddress already in use"

// refused takes the refusal of a response: nothing of it counts as sent. A resource that was refused alone, or by name, is
// set aside in this version; of those refused together without a name each is sent again alone, to find out which it was.
func (p *Proxy) refused(kind view.Kind, d *xds.Delivery, reason string) {
	names := slices.Sorted(maps.Keys(d.Sent))
	named := func(name string) bool { return strings.Contains(reason, name+": ") }
	for _, name := range names {
		s, ok := p.slots[view.ID{Kind: kind, Name: name}]
		if !ok || !s.carried(d.Nonce) {
			continue
		}
		if s.sentAt == d.Nonce { // else a later response carried another version
			s.unsent()
		}
		s.again = kind == view.KindEndpoints // also in a version that the proxy has: a cluster may wait for them
		s.versions = slices.DeleteFunc(s.versions, func(c carried) bool {
			if c.nonce != d.Nonce {
				return false
			}
			p.letGo(p.leads(c.made))
			s.returned(c)
			return true
		})
		switch {
		case len(d.Sent) > 1 && !named(name):
			s.alone = !slices.ContainsFunc(names, named)
		case strings.Contains(reason, addressInUse):
			s.retryAt = p.now().Add(time.Second)
		default:
			s.refused, s.reason, s.refusedAt = d.Sent[name], reason, p.now()
			p.engine.noteRefusal(p, s)
			p.sore[s.id] = struct{}{}
			p.restore(s)
			p.engine.config.Log.Error("proxy refused a resource", "proxy", string(p.id), "resource", s.id.String(), "err", reason)
		}
		p.late(s)
	}
	for _, name := range d.Removed {
		if _, again := p.slots[view.ID{Kind: kind, Name: name}]; !again && len(d.Sent) > 0 {
			p.gone[kind] = append(p.gone[kind], name)
		}
	}
	delete(p.left, d.Nonce)
}

// restore makes a cluster that was refused what it was before. Envoy may keep what it refused as a cluster that warms for
// ever, and confirms no cluster meanwhile.
func (p *Proxy) restore(s *slot) {
	switch {
	case s.id.Kind != view.KindCluster || p.walks || s.have != s.acked: // a later version is on its way
	case s.acked == "":
		p.gone[s.id.Kind] = append(p.gone[s.id.Kind], s.id.Name)
	default:
		s.restore = s.good() != nil && s.refused != s.acked
	}
}

// Close ends the proxy's subscriptions.
func (p *Proxy) Close() {
	for _, s := range p.slots {
		if s.learned {
			p.engine.unlearn(p, s)
		}
	}
	subscriptions := slices.Collect(maps.Keys(p.slots))
	for kind := range p.lists {
		subscriptions = append(subscriptions, view.Everything(kind))
	}
	p.engine.forget(p, subscriptions)
}

// Next returns what is to be sent now. Its order makes before it breaks: clusters, their endpoints, and only then
// what leads to them; clusters that nothing leads to go last, after a grace.
func (p *Proxy) Next(session *xds.Session) ([]*xds.Response, time.Duration) {
	changed, revision := p.engine.take(p)
	p.before, p.taken, p.taking = p.taken, revision, true
	for id, m := range changed {
		if s, ok := p.slots[id]; ok {
			p.aim(s, m)
		} else if p.lists[id.Kind] != nil && id == view.Everything(id.Kind) {
			p.relist(id, m, nil)
		}
	}
	p.taking = false
	p.cross()
	if p.whole(session) {
		p.expire()
	}
	var out []*xds.Response
	for _, kind := range []view.Kind{
		view.KindCluster, view.KindEndpoints, view.KindSecret, view.KindListener, view.KindFilter, view.KindRoutes,
		view.KindVirtualHost,
	} {
		if session.Opened(typeOf[kind]) {
			out = append(out, p.respond(session, kind)...)
		}
	}
	confirmed := int64(-1)
	if p.whole(session) {
		if at := p.confirmed(); at > 0 { // else it has not confirmed what it was sent first
			confirmed, p.begun = at, true
		}
	}
	busy := session.InFlight() > 0 || len(p.behind) > 0 || !p.whole(session)
	p.engine.publish(p, p.refusals(), confirmed, busy)
	p.answer()
	return out, p.wait(session)
}

// whole tells whether the proxy has asked for everything that its type and its listeners ask for. One that comes back says what it has
// type by type, endpoints last, and before nobody can tell whether it has the newest state.
func (p *Proxy) whole(session *xds.Session) bool {
	if p.complete {
		return true
	}
	if slices.ContainsFunc(p.needs, func(t xds.Type) bool { return !session.Opened(t) }) {
		return false
	}
	for id, s := range p.slots {
		if kind, asks := s.asksFor(); asks && !session.Opened(typeOf[kind]) {
			return false
		}
		if _, own := p.own[id]; id.Kind != view.KindCluster || own || p.walks || s.have == "" || (s.want != nil && s.want.finds) {
			continue
		}
		if _, asked := p.slots[view.ID{Kind: view.KindEndpoints, Name: id.Name}]; !asked {
			return false
		}
	}
	p.complete = true
	return true
}
