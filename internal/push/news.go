package push

import (
	"context"
	"fmt"
	"time"
)

// news tells those who watch that something which they can see has changed. It costs nothing while nobody watches. The
// engine's lock guards it.
type news struct {
	epoch int64 // when the engine was made, so that cursors of another one are known as such
	count int64
	heard chan struct{} // closed at the next change; nil: nobody waits
}

func (n *news) tell() {
	n.count++
	if n.heard != nil {
		close(n.heard)
		n.heard = nil
	}
}

// cursor names the state of now.
func (n *news) cursor() string { return fmt.Sprintf("%x-%x", n.epoch, n.count) }

// wait returns what is closed at the next change.
func (n *news) wait() <-chan struct{} {
	if n.heard == nil {
		n.heard = make(chan struct{})
	}
	return n.heard
}

// Changed waits until what [Engine.Look], [Engine.Absent] and [Engine.Travels] tell may differ from what they told at a
// cursor, at most for the given time, and returns the cursor of now. Every cursor of another engine, and "", differs.
func (e *Engine) Changed(ctx context.Context, cursor string, wait time.Duration) string {
	e.mu.Lock()
	now, heard := e.news.cursor(), e.news.wait()
	e.mu.Unlock()
	if now != cursor {
		return now
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-heard:
	case <-timer.C:
	case <-ctx.Done():
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.news.cursor()
}

// Travel tells in numbers how far a revision has come.
type Travel struct {
	Revision  int64
	Concerned int // proxies that it sends something to, and that are still connected
	Confirmed int // those of them that have it in force
	Refused   int // those that refuse something of it
}

// Waiting is the number of proxies that have neither confirmed nor refused it.
func (t Travel) Waiting() int { return t.Concerned - t.Confirmed - t.Refused }

// maxTravels bounds the revisions of which is told at once.
const maxTravels = 64

// Travels tells of the last revisions after the given one that concern somebody, oldest first, or if that is negative of
// those that are waited for; and which revision is the newest.
func (e *Engine) Travels(after int64) (list []Travel, newest int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.snapshot == nil {
		return nil, -1
	}
	kept := e.progress.kept
	for _, revision := range kept[max(0, len(kept)-maxTravels):] {
		t := e.progress.travels[revision]
		if revision <= after || len(t.concerned) == 0 || (after < 0 && len(t.waiting) == 0) {
			continue
		}
		list = append(list, e.travelled(revision, t))
	}
	return list, e.snapshot.Revision()
}

// travelled counts how far a revision has come. The lock is held.
func (e *Engine) travelled(revision int64, t *travel) Travel {
	now := Travel{Revision: revision}
	for _, seat := range t.concerned {
		p := seat.proxy
		if p == nil {
			continue
		}
		now.Concerned++
		_, waiting := t.waiting[p]
		switch {
		case len(p.refusedOf(revision)) > 0:
			now.Refused++
		case !waiting:
			now.Confirmed++
		}
	}
	return now
}
