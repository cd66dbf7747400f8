package push

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/view"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// scopes are what all captured workloads are told alike: one for each address and port of a service. There are as many as the
// mesh has of those, so that no proxy has a slot for one. They are kept in the order of their last change, and of a proxy it is
// known how far in that order it was told. The engine's lock guards them.
type scopes struct {
	by      map[string]*scope
	log     []turn // rising; a scope that changed again stands in it more than once
	last    int64  // number of the last turn
	there   int    // how many there are, without those that are gone
	readers map[*Proxy]struct{}
	pass    int64               // counts comparisons with what proxies have brought
	alike   map[int64]scopeNews // what those are to be told who were told as far as a turn, and of whom nothing else is known
}

// scopeNews is what a proxy has not been told of scopes.
type scopeNews struct {
	batches []*xds.Batch // of those that changed, sorted
	removed []string     // names of those that are gone, sorted
}

// scope is one of them, or the memory of one that is gone.
type scope struct {
	entry   *entry
	turn    int64 // number of its last change
	there   bool  // it was there at that
	pass    int64 // number of the last comparison in which it was as it is to be
	pressed *made // what proxies get that ask for its routes at once; nil: nobody has needed it
}

// name returns the address and port that the scope is for.
func (s *scope) name() string { return s.entry.group.key.ID.Name }

// turn is a change of a scope.
type turn struct {
	number int64
	scope  *scope
}

func newScopes() scopes { return scopes{by: map[string]*scope{}, readers: map[*Proxy]struct{}{}} }

// told is how far a proxy was told of scopes.
type told struct {
	open    bool
	held    xds.Held            // what it brought from an earlier stream, until it is told for the first time
	pressed map[string]struct{} // scopes whose routes it asks for at once
	single  bool                // it has refused one, so that some have slots
	at      int64               // number of the last turn that was sent
	flights map[int64]int64     // numbers of the last turns in responses that are not confirmed, by nonce
	settled int64               // number of the last turn that it has confirmed
}

// readScopes has a proxy be told of scopes. The first one has them made.
func (e *Engine) readScopes(p *Proxy) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.scopes.by) == 0 {
		for _, h := range e.snapshot.Services() {
			e.makeScopes(h)
		}
	}
	e.scopes.readers[p] = struct{}{}
	p.scoped = true
}

// makeScopes makes those scopes of a service that are not there yet. The lock is held.
func (e *Engine) makeScopes(h mesh.Host) {
	for _, id := range view.ScopesOf(e.snapshot.Service(h)) {
		if e.scopes.by[id.Name] != nil {
			continue // it follows what it reads
		}
		en := e.entryOf(e.groupOf(view.GroupOf(view.Caller{}, id)), view.Caller{}, nil)
		e.scopes.by[id.Name] = &scope{entry: en}
		e.scopeTurned(en)
	}
}

// turnScopes makes what follows from changes of services, and tells whether any scope has changed.
func (e *Engine) turnScopes(keys []mesh.Key, changed []*entry) bool {
	if len(e.scopes.by) == 0 && len(e.scopes.readers) == 0 {
		return false
	}
	before := e.scopes.last
	for _, k := range keys {
		if k.Kind == mesh.KindService {
			e.makeScopes(mesh.Host(k.Name))
		}
	}
	for _, en := range changed {
		e.scopeTurned(en)
	}
	e.shortenScopes()
	return e.scopes.last != before
}

// scopeTurned notes that a scope is another one now, or gone. The lock is held.
func (e *Engine) scopeTurned(en *entry) {
	s := e.scopes.by[en.group.key.ID.Name]
	if s == nil {
		return
	}
	e.release(s.pressed)
	s.pressed = nil
	if there := en.made != nil; there != s.there {
		if s.there = there; there {
			e.scopes.there++
		} else {
			e.scopes.there--
		}
	}
	e.scopes.last++
	e.scopes.alike = nil
	s.turn = e.scopes.last
	e.scopes.log = append(e.scopes.log, turn{s.turn, s})
}

// shortenScopes takes out of the order what has changed again, and what is gone and everybody knows to be. The lock is held.
func (e *Engine) shortenScopes() {
	if len(e.scopes.log) < 2*len(e.scopes.by)+64 {
		return
	}
	known := e.scopes.last
	for p := range e.scopes.readers {
		known = min(known, p.scopesAt)
	}
	e.scopes.log = slices.DeleteFunc(e.scopes.log, func(t turn) bool {
		if t.number == t.scope.turn && t.scope.entry.made == nil && t.number <= known && len(t.scope.entry.subscribers) == 0 {
			en := t.scope.entry
			delete(e.scopes.by, t.scope.name())
			e.drop(en)
			delete(en.group.entries, en.class)
			e.index(en.group, nil)
			delete(e.groups, en.group.key)
			return true
		}
		return t.number != t.scope.turn
	})
}

// scopeFor returns a scope as a proxy is to have it, or nil. The lock is held.
func (e *Engine) scopeFor(p *Proxy, name string, s *scope) *xds.Resource {
	_, pressed := p.scopes.pressed[name]
	return e.scopeAs(s, pressed)
}

// scopeAs returns a scope in one of its two forms, or nil. The lock is held.
func (e *Engine) scopeAs(s *scope, pressed bool) *xds.Resource {
	m := s.entry.made
	switch {
	case m == nil:
		return nil
	case !pressed:
		return &m.resource
	}
	if s.pressed == nil {
		v, ok := m.view.(view.Scope)
		if !ok {
			return &m.resource
		}
		v.Pressed = true
		made, err := e.make(view.KindScope, v)
		if err != nil {
			e.config.Log.Error("make resource", "resource", s.entry.group.key.ID.String(), "err", err)
			return &m.resource
		}
		s.pressed = made
	}
	return &s.pressed.resource
}

// scopesFor returns what a proxy has not been told of scopes, and the number of the last turn.
func (e *Engine) scopesFor(p *Proxy) (scopeNews, int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	held := p.scopes.held
	p.scopes.held = xds.Held{}
	switch {
	case !held.None():
		return e.scopesSince(p, held), e.scopes.last
	case !e.toldAlike(p):
		return e.scopesAfter(p), e.scopes.last
	}
	news, known := e.scopes.alike[p.scopes.at]
	if !known {
		if e.scopes.alike == nil {
			e.scopes.alike = map[int64]scopeNews{}
		}
		news = e.scopesAfter(p)
		e.scopes.alike[p.scopes.at] = news
	}
	return news, e.scopes.last
}

// toldAlike tells whether what a proxy is to be told next of scopes is the same for all who were told as much: it presses none of those,
// and no scope has a slot. The lock is held.
func (e *Engine) toldAlike(p *Proxy) bool {
	for name := range p.scopes.pressed {
		if s := e.scopes.by[name]; s != nil && s.turn > p.scopes.at {
			return false
		}
	}
	return !p.scopes.single
}

// scopesAfter returns what has changed of scopes since a proxy was told. The lock is held.
func (e *Engine) scopesAfter(p *Proxy) scopeNews {
	var resources []*xds.Resource
	var removed []string
	for _, t := range e.scopes.after(p.scopes.at) {
		if name := t.scope.name(); t.number != t.scope.turn || p.slots[t.scope.entry.group.key.ID] != nil {
			continue
		} else if r := e.scopeFor(p, name, t.scope); r != nil {
			resources = append(resources, r)
		} else if p.scopes.at > 0 {
			removed = append(removed, name)
		}
	}
	return newScopeNews(resources, removed)
}

// after returns the turns that follow one.
func (s *scopes) after(number int64) []turn {
	first, _ := slices.BinarySearchFunc(s.log, number+1, func(t turn, number int64) int { return cmp.Compare(t.number, number) })
	return s.log[first:]
}

// scopesSince is scopesFor a proxy that has brought scopes from an earlier stream. The lock is held.
func (e *Engine) scopesSince(p *Proxy, held xds.Held) scopeNews {
	var resources []*xds.Resource
	var removed []string
	e.scopes.pass++
	for name, version := range held.All() {
		s := e.scopes.by[string(name)]
		if s == nil || s.entry.made == nil {
			removed = append(removed, string(name))
		} else if r := e.scopeFor(p, s.name(), s); r.Version == string(version) {
			s.pass = e.scopes.pass
		}
	}
	for name, s := range e.scopes.by {
		if s.pass == e.scopes.pass {
			continue
		}
		if r := e.scopeFor(p, name, s); r != nil {
			resources = append(resources, r)
		}
	}
	return newScopeNews(resources, removed)
}

func newScopeNews(resources []*xds.Resource, removed []string) scopeNews {
	slices.SortFunc(resources, func(a, b *xds.Resource) int { return strings.Compare(a.Name, b.Name) })
	slices.Sort(removed)
	return scopeNews{xds.Batches(xds.ScopeType, resources), slices.Compact(removed)}
}

// openScopes takes the first request of a proxy for scopes, with those that it has from an earlier stream. No Envoy of ours asks
// otherwise than for differences.
func (p *Proxy) openScopes(session *xds.Session, held xds.Held) {
	p.back = p.back || !held.None()
	if !p.dials || !session.Deltas() {
		return
	}
	p.scopes = told{open: true, held: held, flights: map[int64]int64{}, pressed: map[string]struct{}{}}
	for _, spelling := range p.engine.given(p) {
		for _, id := range p.engine.scopesCalled(p, spelling) {
			p.scopes.pressed[id.Name] = struct{}{}
		}
	}
	p.engine.readScopes(p)
	p.engine.keepForms(p)
	p.greet[view.KindScope] = held.None()
}

// keepForms has a proxy that comes back keep the form in which it has a scope, whatever its replicas have learned meanwhile: a
// request may wait there for the routes, and would go on waiting if the scope became another one.
func (e *Engine) keepForms(p *Proxy) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for text, version := range p.scopes.held.All() {
		s := e.scopes.by[string(text)]
		if s == nil || s.entry.made == nil {
			continue
		}
		name := s.name()
		if e.scopeFor(p, name, s).Version == string(version) {
			continue
		}
		if _, pressed := p.scopes.pressed[name]; e.scopeAs(s, !pressed).Version != string(version) {
			continue // it has changed, and is sent as a new proxy gets it
		} else if pressed {
			delete(p.scopes.pressed, name)
		} else {
			p.scopes.pressed[name] = struct{}{}
		}
	}
}

// scopesCalled returns the scopes of a host as a proxy's workload spells it.
func (e *Engine) scopesCalled(p *Proxy, spelling string) []view.ID {
	e.mu.Lock()
	defer e.mu.Unlock()
	return view.ScopesCalled(e.snapshot, p.caller.Namespace, spelling)
}

// respondScopes makes the responses with the scopes that the proxy has not been told of.
func (p *Proxy) respondScopes(session *xds.Session) []*xds.Response {
	if !p.scopes.open || !session.Room(xds.ScopeType, maxInFlight) {
		return nil
	}
	news, at := p.engine.scopesFor(p)
	since := p.leaving[view.KindScope]
	delete(p.leaving, view.KindScope)
	before := p.scopes.at
	p.scopes.at = at
	batches, removed := news.batches, news.removed
	if len(batches) == 0 {
		if len(removed) == 0 && !p.greet[view.KindScope] {
			if at != before && len(p.scopes.flights) == 0 { // it has brought all that it is to have
				p.scopes.settled = at
				p.held[view.KindScope] = p.engine.scopesThere(at, p)
			}
			return nil
		}
		batches = []*xds.Batch{xds.NewBatch(xds.ScopeType, nil)}
	}
	delete(p.greet, view.KindScope)
	var out []*xds.Response
	for i, b := range batches {
		response, delivery := session.RespondBatch(b, removed)
		p.engine.counters.Sends.Add(string(view.KindScope), int64(len(b.Resources)))
		p.engine.counters.Bytes.Add(string(view.KindScope), int64(b.Size))
		removed = nil
		out = append(out, response)
		p.scopes.flights[delivery.Nonce] = p.scopes.settled // all but the last one confirm nothing by themselves
		if i == len(batches)-1 {
			p.scopes.flights[delivery.Nonce] = at
		}
		if since != 0 {
			p.left[delivery.Nonce] = since
		}
	}
	p.held[view.KindScope] = p.engine.scopesThere(at, p)
	return out
}

// scopesThere returns how many scopes there are, and notes how far a proxy was told of them.
func (e *Engine) scopesThere(at int64, p *Proxy) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	p.scopesAt = at
	return e.scopes.there
}

// confirmedScopes takes the confirmation of a response with scopes.
func (p *Proxy) confirmedScopes(nonce int64) {
	p.scopes.settled = max(p.scopes.settled, p.scopes.flights[nonce])
	delete(p.scopes.flights, nonce)
}

// refusedScopes makes slots of the scopes of a response that was refused: from now on they go like everything else, singly and
// set aside if need be.
func (p *Proxy) refusedScopes(d *xds.Delivery) {
	delete(p.scopes.flights, d.Nonce)
	p.scopes.single = true
	for _, name := range slices.Sorted(maps.Keys(d.Sent)) {
		id := view.ID{Kind: view.KindScope, Name: name}
		if p.slots[id] != nil {
			continue
		}
		s := p.hold(id, "")
		s.have, s.firstSent, s.sentAt = d.Sent[name], d.Nonce, d.Nonce
		if s.want != nil {
			s.versions = append(s.versions, carried{nonce: d.Nonce, made: s.want, since: cmp.Or(p.left[d.Nonce], settledForever)})
		}
	}
}

// pendingScopes lists the scopes that the proxy has not confirmed and no slot is for.
func (p *Proxy) pendingScopes() []Pending {
	if !p.scopes.open {
		return nil
	}
	e := p.engine
	e.mu.Lock()
	defer e.mu.Unlock()
	var list []Pending
	for _, t := range e.scopes.after(p.scopes.settled) {
		id := t.scope.entry.group.key.ID
		if t.number == t.scope.turn && p.slots[id] == nil && e.scopeFor(p, id.Name, t.scope) != nil {
			list = append(list, Pending{id, t.number <= p.scopes.at})
		}
	}
	return list
}

// heldScopes lists the scopes that the proxy is to have and no slot is for.
func (p *Proxy) heldScopes() []Sent {
	if !p.scopes.open {
		return nil
	}
	e := p.engine
	e.mu.Lock()
	defer e.mu.Unlock()
	var list []Sent
	for name, s := range e.scopes.by {
		id := s.entry.group.key.ID
		r := e.scopeFor(p, name, s)
		if r == nil || p.slots[id] != nil {
			continue
		}
		h := Sent{Resource: id, Type: xds.ScopeType, Wanted: r.Version, want: &made{resource: *r}, engine: e}
		if s.turn <= p.scopes.at {
			h.Sent = r.Version
		}
		if s.turn <= p.scopes.settled {
			h.Confirmed = r.Version
		}
		list = append(list, h)
	}
	return list
}
