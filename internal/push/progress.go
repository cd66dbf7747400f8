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

// Progress tells how far a revision has travelled.
type Progress struct {
	Revision  int64
	Reached   bool           // there is a snapshot of this revision or a later one
	Concerned int            // proxies that the change sends something to, and that are still connected
	Confirmed int            // those of them that have it in force
	Waiting   []mesh.ProxyID // those that have not, sorted
	Refusals  []Refusal      // of those concerned, sorted
	Away      []mesh.ProxyID // those that run, have been without a stream for a while and may still do as before, sorted
}

// Refusal is a resource that a proxy did not take, in the proxy's own words.
type Refusal struct {
	Proxy    mesh.ProxyID
	Resource view.ID
	Reason   string
	At       time.Time
}

// travel is how far one revision has come.
type travel struct {
	concerned []*seat
	waiting   map[*Proxy]struct{} // those that have neither confirmed nor refused it, and are still connected
}

// seat is the place of a proxy among those that a revision concerns. Past revisions are remembered for longer than
// proxies that have gone, of which nothing may be left.
type seat struct{ proxy *Proxy }

// progress remembers how far past revisions have come.
type progress struct {
	travels map[int64]*travel
	kept    []int64
}

func newProgress() *progress { return &progress{travels: map[int64]*travel{}} }

// add begins a revision. The engine's lock is held.
func (p *progress) add(revision int64, concerned map[*Proxy]struct{}) {
	t := &travel{concerned: make([]*seat, 0, len(concerned)), waiting: concerned}
	for proxy := range concerned {
		t.concerned = append(t.concerned, proxy.seat)
		if len(proxy.marks) == keptRevisions {
			proxy.marks = proxy.marks[1:] // nobody can ask for it any more
		}
		proxy.marks = append(proxy.marks, revision)
	}
	p.travels[revision] = t
	if p.kept = append(p.kept, revision); len(p.kept) > keptRevisions {
		delete(p.travels, p.kept[0])
		p.kept = p.kept[1:]
	}
}

// arrive notes that a proxy is not waited for any more up to a revision, and tells whether one of these revisions
// waits for nobody now. The engine's lock is held.
func (p *progress) arrive(proxy *Proxy, revision int64) (done bool) {
	proxy.marks = slices.DeleteFunc(proxy.marks, func(mark int64) bool {
		if mark > revision {
			return false
		}
		if t := p.travels[mark]; t != nil {
			delete(t.waiting, proxy)
			done = done || len(t.waiting) == 0
		}
		return true
	})
	return done
}

// Progress waits until every proxy that the revision concerns has confirmed or refused it, at most for the given
// time, and tells how far it is. A proxy that has lost its stream is given a moment to come back: until then nobody
// knows whether the revision concerns it.
func (e *Engine) Progress(ctx context.Context, revision int64, wait time.Duration) Progress {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		changed, again, done := e.arrived(revision)
		if done {
			return e.sumUp(revision)
		}
		var expired <-chan time.Time
		if again > 0 {
			expired = time.After(again)
		}
		select {
		case <-changed:
		case <-expired:
		case <-timer.C:
			return e.sumUp(revision)
		case <-ctx.Done():
			return e.sumUp(revision)
		}
	}
}

// comeBack is how long a running proxy without a stream is waited for. Envoy tries again after a second at most.
const comeBack = 3 * time.Second

// arrived tells whether nobody is waited for, or else what to wait for: a change, or the end of the longest absence
// that still counts.
func (e *Engine) arrived(revision int64) (changed <-chan struct{}, again time.Duration, done bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.snapshot == nil || e.snapshot.Revision() < revision {
		return e.changed, 0, false
	}
	if t := e.progress.travels[revision]; t != nil && len(t.waiting) > 0 {
		return e.changed, 0, false
	}
	for id, since := range e.absent {
		if !e.missed(id) {
			continue
		}
		if left := comeBack - time.Since(since); left > 0 && (again == 0 || left < again) {
			again = left
		}
	}
	return e.changed, again, again == 0
}

// sumUp tells how far a revision is.
func (e *Engine) sumUp(revision int64) Progress {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := Progress{Revision: revision, Reached: e.snapshot != nil && e.snapshot.Revision() >= revision}
	for id, since := range e.absent {
		if !e.missed(id) {
			continue
		}
		if time.Since(since) < comeBack {
			now.Waiting = append(now.Waiting, id)
		} else if len(e.byID[id]) == 0 {
			now.Away = append(now.Away, id)
		}
	}
	slices.Sort(now.Away)
	t := e.progress.travels[revision]
	if t == nil {
		return now
	}
	for _, seat := range t.concerned {
		p := seat.proxy
		if p == nil {
			continue
		}
		now.Concerned++
		refusals := p.refusedOf(revision)
		_, waiting := t.waiting[p]
		switch {
		case len(refusals) > 0:
			now.Refusals = append(now.Refusals, refusals...)
		case waiting:
			now.Waiting = append(now.Waiting, p.id)
		default:
			now.Confirmed++
		}
	}
	slices.Sort(now.Waiting)
	now.Waiting = slices.Compact(now.Waiting) // one that is back and not ready counts as absent too
	slices.SortFunc(now.Refusals, func(a, b Refusal) int {
		return cmp.Or(cmp.Compare(a.Proxy, b.Proxy), compareIDs(a.Resource, b.Resource))
	})
	return now
}

// refusal is why a proxy has not taken a resource, and which revisions may have brought it.
type refusal struct {
	id       view.ID
	of       view.ID // the resource that was refused: another one where this one waits for it
	reason   string
	from, to int64
	owners   []view.Owner
	at       time.Time
}

// refusals returns what the proxy should have and has refused, and what it does not get for that reason, sorted.
func (p *Proxy) refusals() []refusal {
	var list []refusal
	told := map[view.ID]bool{}
	for id := range p.stuck {
		s := p.slots[id]
		for _, need := range p.aimed(s) {
			for _, refused := range []*slot{p.slots[need], p.slots[view.ID{Kind: view.KindEndpoints, Name: need.Name}]} {
				if refused != nil && refused.isRefused() && !told[id] {
					told[id], told[refused.id] = true, true
					list = append(list, refusal{id, refused.id, refused.rare.reason, s.from, s.to, p.owners(refused, s), refused.rare.refusedAt})
				}
			}
		}
	}
	for id := range p.sore {
		if s := p.slots[id]; s.isRefused() && !told[id] {
			list = append(list, refusal{id, id, s.rare.reason, s.from, s.to, p.owners(s), s.rare.refusedAt})
		}
	}
	slices.SortFunc(list, func(a, b refusal) int { return compareIDs(a.id, b.id) })
	return list
}

// refusedOf returns what the proxy refuses of a revision. The engine's lock is held.
func (p *Proxy) refusedOf(revision int64) []Refusal {
	var list []Refusal
	for _, r := range p.notTaken {
		if r.from <= revision && revision <= r.to {
			list = append(list, Refusal{p.id, r.id, r.reason, r.at})
		}
	}
	return list
}

// publish notes what the proxy refuses, and up to which revision it has confirmed everything else; -1: nobody knows. busy
// tells whether something is to be sent to it or confirmed by it.
func (e *Engine) publish(p *Proxy, refusals []refusal, confirmed int64, busy bool, waits time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.noteState(p, refusals, busy)
	p.waits = waits
	if confirmed >= 0 && !maps.Equal(p.counts, p.held) {
		p.counts = maps.Clone(p.held)
		e.news.tell()
	}
	if confirmed <= p.settled || p.evicted {
		return
	}
	first := p.settled < 0
	p.settled = confirmed
	e.reaches.moved = true
	e.news.tell()
	if first {
		e.joins(p)
		e.miss(p.id)
	}
	if e.progress.arrive(p, confirmed) || first {
		e.signal()
	}
}
