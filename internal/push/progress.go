package push

import (
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
	Concerned int            // proxies that the change sends something to, and that are still connected
	Confirmed int            // those of them that have it in force
	Waiting   []mesh.ProxyID // those that have not, sorted
	Refusals  []Refusal      // of those concerned, sorted
}

// Refusal is a resource that a proxy did not take, in the proxy's own words.
type Refusal struct {
	Proxy    mesh.ProxyID
	Resource view.ID
	Reason   string
}

// progress remembers which proxies past revisions concerned.
type progress struct {
	concerned map[int64][]*Proxy
	kept      []int64
}

func newProgress() *progress { return &progress{concerned: map[int64][]*Proxy{}} }

func (p *progress) add(revision int64, concerned []*Proxy) {
	p.concerned[revision] = concerned
	if p.kept = append(p.kept, revision); len(p.kept) > keptRevisions {
		delete(p.concerned, p.kept[0])
		p.kept = p.kept[1:]
	}
}

// Progress waits until every proxy that the revision concerns has confirmed or refused it, at most for the given
// time, and tells how far it is. A proxy that goes away is not waited for: it gets the newest state when it is back.
func (e *Engine) Progress(ctx context.Context, revision int64, wait time.Duration) Progress {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		now, changed, done := e.progressNow(revision)
		if done {
			return now
		}
		select {
		case <-changed:
		case <-timer.C:
			return now
		case <-ctx.Done():
			return now
		}
	}
}

func (e *Engine) progressNow(revision int64) (now Progress, changed <-chan struct{}, done bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now.Revision = revision
	if e.snapshot == nil || e.snapshot.Revision() < revision {
		return now, e.changed, false
	}
	for _, p := range e.progress.concerned[revision] {
		if _, connected := e.proxies[p]; !connected {
			continue
		}
		now.Concerned++
		refusals := p.refusalsSince(revision)
		switch {
		case len(refusals) > 0:
			now.Refusals = append(now.Refusals, refusals...)
		case p.settled >= revision:
			now.Confirmed++
		default:
			now.Waiting = append(now.Waiting, p.id)
		}
	}
	slices.Sort(now.Waiting)
	return now, e.changed, len(now.Waiting) == 0
}

// refusal is why a proxy did not take a resource, and the revision that brought it.
type refusal struct {
	reason   string
	revision int64
}

// refusalsSince returns what the proxy refused of the revision and later ones, sorted. The engine's lock is held.
func (p *Proxy) refusalsSince(revision int64) []Refusal {
	var list []Refusal
	for _, id := range slices.SortedFunc(maps.Keys(p.refusals), compareIDs) {
		if r := p.refusals[id]; r.revision >= revision {
			list = append(list, Refusal{p.id, id, r.reason})
		}
	}
	return list
}

// settle notes that the proxy has confirmed everything that it took from the engine.
func (e *Engine) settle(p *Proxy) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if p.settled != p.taken {
		p.settled = p.taken
		p.counts = maps.Clone(p.held)
		e.signal()
	}
}

// refused notes a refusal, accepted that there is none any more.
func (e *Engine) refused(p *Proxy, id view.ID, reason string) {
	e.config.Log.Error("proxy refused a resource", "proxy", string(p.id), "resource", id.String(), "err", reason)
	e.mu.Lock()
	defer e.mu.Unlock()
	p.refusals[id] = refusal{reason, p.taken}
	e.signal()
}

func (e *Engine) accepted(p *Proxy, id view.ID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(p.refusals, id)
}
