package kubewrite

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Pauses before something is written once more.
const (
	firstPause = time.Second // doubled each time, where it was changed again soon or could not be written
	longPause  = time.Minute
	calm       = 2 * time.Minute // without a change: the next one is repaired at once again
)

// pace says when what was changed may be written: at once at first, and ever more slowly where somebody changes it again and
// again. Its methods may be called from any goroutine.
type pace[K comparable] struct {
	order func(a, b K) int
	wake  chan struct{} // has a value when something may be due

	mu    sync.Mutex
	dirty map[K]time.Time // what is to be looked at, and when
	wrote map[K]writing
}

// writing is what was written lately.
type writing struct {
	at    time.Time
	pause time.Duration // before the next time
	told  bool          // that it does not last
}

func newPace[K comparable](order func(a, b K) int) *pace[K] {
	return &pace[K]{order: order, wake: make(chan struct{}, 1), dirty: map[K]time.Time{}, wrote: map[K]writing{}}
}

// look has something looked at, not before it may be written again.
func (p *pace[K]) look(k K) { p.lookIn(k, 0) }

// lookIn is the same, not before some time has passed. What is to be looked at sooner stays so.
func (p *pace[K]) lookIn(k K, wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w, now := p.wrote[k], time.Now()
	due := now.Add(wait)
	if now.Sub(w.at) < calm && w.at.Add(w.pause).After(due) {
		due = w.at.Add(w.pause)
	}
	if before, known := p.dirty[k]; !known || due.Before(before) {
		p.dirty[k] = due
	}
	p.stir()
}

func (p *pace[K]) stir() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// due takes what is due, what has waited for longest first. One who does not lead forgets everything: whoever becomes the leader
// looks at all.
func (p *pace[K]) due(leading bool) []K {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !leading {
		clear(p.dirty)
		return nil
	}
	var due []K
	for k, at := range p.dirty {
		if !at.After(now) {
			due = append(due, k)
		}
	}
	slices.SortFunc(due, func(a, b K) int { return cmp.Or(p.dirty[a].Compare(p.dirty[b]), p.order(a, b)) })
	for _, k := range due {
		delete(p.dirty, k)
	}
	maps.DeleteFunc(p.wrote, func(_ K, w writing) bool { return now.Sub(w.at) > calm+longPause })
	return due
}

// wait returns when to come again.
func (p *pace[K]) wait() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	wait := longPause
	for _, at := range p.dirty {
		wait = min(wait, max(time.Until(at), time.Millisecond))
	}
	return wait
}

// note remembers that something was written, or could not be, and tells once that it does not last. Fresh: it is written for a reason
// of our own, not since somebody has changed it. What was written by somebody else in the same moment is no failure: it is
// looked at when it is seen.
func (p *pace[K]) note(k K, fresh bool, err error) (tell bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		return false
	}
	next, tell := p.wrote[k].then(time.Now(), fresh && err == nil, err != nil)
	if err != nil {
		p.dirty[k] = next.at.Add(next.pause)
		p.stir()
	}
	p.wrote[k] = next
	return tell
}

// then returns what is remembered of one more writing, and whether it is to be told that they do not last.
func (w writing) then(now time.Time, fresh, failed bool) (next writing, tell bool) {
	next = writing{at: now, pause: firstPause}
	if now.Sub(w.at) < calm {
		next.pause, next.told = w.pause, w.told
		if !fresh {
			next.pause = min(2*w.pause, longPause)
		}
	}
	tell = !next.told && (failed || next.pause >= 8*firstPause)
	next.told = next.told || tell
	return next, tell
}
