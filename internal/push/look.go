package push

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/view"
)

// Connected is a connected proxy as people see it.
type Connected struct {
	ID       mesh.ProxyID
	Type     mesh.ProxyType
	Since    time.Time // when its stream began
	Identity string    // SPIFFE ID that it has proven; "": it has proven none
	Scope    string    // a short name for the facts about it that views may read: equal facts, equal names
	Settled  int64     // revision up to which it has confirmed everything; -1: none yet
	Marked   int64     // revision of the last change that concerned it
	Busy     bool      // something is to be sent to it, or confirmed by it
	Waits    time.Time // since when it has left the oldest of what it was sent unanswered; zero: it has answered all
	Holds    map[view.Kind]int
	Refusals []Refusal
	Last     *Refusal // its last refusal on this stream, also when that is mended; nil: none

	// What only Look tells.
	Pending []Pending // what it has not confirmed, sorted, at most so many
	Behind  int       // how many there are
	Silent  bool      // it is busy, and its stream did not say with what
}

// Pending is a resource that a proxy has not confirmed as it should be.
type Pending struct {
	Resource view.ID
	Sent     bool // it was sent
}

// Absent is a proxy that runs and is not connected.
type Absent struct {
	ID    mesh.ProxyID
	Type  mesh.ProxyType
	Since time.Time
}

const (
	maxPending = 20 // resources that are named
	scopeSize  = 8  // characters of a scope's name
)

// Connected lists the connected proxies, sorted by ID.
func (e *Engine) Connected() []Connected {
	list := []Connected{}
	for _, p := range e.all() {
		list = append(list, p.Connected)
	}
	return list
}

// Look lists the connected proxies like Connected, and asks those that are busy what they have not confirmed.
func (e *Engine) Look(ctx context.Context) []Connected {
	all := e.all()
	answers := make([]<-chan []Pending, len(all))
	for i, p := range all {
		if p.Busy {
			answers[i] = ask(e, p.proxy, p.proxy.pending)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, answerWait)
	defer cancel()
	list := []Connected{}
	for i, p := range all {
		if p.Busy {
			pending, answered := await(ctx, answers[i])
			p.Silent, p.Behind = !answered, len(pending)
			p.Pending = pending[:min(len(pending), maxPending)]
		}
		list = append(list, p.Connected)
	}
	return list
}

// looked is a proxy and what others may see of it.
type looked struct {
	Connected
	proxy *Proxy
}

// all lists the connected proxies, sorted by ID.
func (e *Engine) all() []looked {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := make([]looked, 0, len(e.proxies))
	for p := range e.proxies {
		c := Connected{
			ID: p.id, Type: p.typ, Since: p.since, Identity: p.proven, Scope: p.scopeName, Settled: p.settled, Marked: p.marked,
			Busy: p.busy, Waits: p.waits, Holds: p.counts, Last: p.refusal,
		}
		if !p.busy && p.settled >= p.marked && !p.evicted { // nothing that came later concerns it
			c.Settled = e.snapshot.Revision()
		}
		for _, r := range p.notTaken {
			c.Refusals = append(c.Refusals, Refusal{p.id, r.id, r.reason, r.at})
		}
		list = append(list, looked{c, p})
	}
	slices.SortFunc(list, func(a, b looked) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), a.Since.Compare(b.Since))
	})
	return list
}

// Absent lists the proxies that run and are not connected, sorted by ID.
func (e *Engine) Absent() []Absent {
	e.mu.Lock()
	defer e.mu.Unlock()
	var list []Absent
	for _, id := range slices.Sorted(maps.Keys(e.absent)) {
		if len(e.byID[id]) == 0 && e.missed(id) { // else it is back and has not taken its configuration yet
			list = append(list, Absent{id, e.snapshot.Workload(id).Type, e.absent[id]})
		}
	}
	return list
}

// noteState notes what the proxy refuses, and whether it is busy. The lock is held.
func (e *Engine) noteState(p *Proxy, refusals []refusal, busy bool) {
	same := slices.EqualFunc(p.notTaken, refusals, func(a, b refusal) bool { return a.id == b.id && a.at.Equal(b.at) })
	if !same || p.busy != busy {
		e.news.tell()
	}
	if !same {
		e.reaches.blamed(p.notTaken)
		e.reaches.blamed(refusals)
	}
	p.notTaken, p.busy = refusals, busy
}

// noteRefusal remembers the refusal of a slot's version as the proxy's last one.
func (e *Engine) noteRefusal(p *Proxy, s *slot) {
	e.mu.Lock()
	defer e.mu.Unlock()
	p.refusal = &Refusal{p.id, s.id, s.rare.reason, s.rare.refusedAt}
	e.rejected.add(Rejected{p.id, s.id, s.rare.refused, s.rare.reason, s.rare.refusedAt, p.owners(s)})
}

// pending lists what the proxy has not confirmed, sorted. What it refuses, and what does not go to it for that reason,
// is not waited for.
func (p *Proxy) pending() []Pending {
	var list []Pending
	for id, s := range p.slots {
		_, stuck := p.stuck[id]
		if s.want == nil || stuck || s.isRefused() {
			continue
		}
		if version := s.want.resource.Version; version != s.acked || s.again {
			list = append(list, Pending{id, version == s.have && !s.again})
		}
	}
	list = append(list, p.pendingScopes()...)
	slices.SortFunc(list, func(a, b Pending) int { return compareIDs(a.Resource, b.Resource) })
	return list
}
