package ca

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// Bounds of what callers may burden the authority with.
const (
	burst     = 10               // certificates that a workload gets one after the other
	refill    = 10 * time.Second // then one more each time, or sooner where certificates are short-lived
	mostRates = 1 << 16          // workloads that are remembered
	slots     = 32               // certificates that are signed at the same time
	// MostWaiting is how many callers may wait at a time, until it is known who they are and then for a slot. Those who are known
	// are served in turn.
	MostWaiting = 4096
)

// newSlots returns what bounds the certificates that are signed at the same time. It is given out in turn.
func newSlots() *semaphore.Weighted { return semaphore.NewWeighted(slots) }

// rates bounds how many certificates each workload gets. It remembers those that came last, at most mostRates: who is forgotten
// has its whole burst, so that somebody who wants more must bring half as many others in the time of a burst.
type rates struct {
	now    func() time.Time
	refill time.Duration

	mu           sync.Mutex
	recent, past map[string]time.Time // when a workload will have its whole burst again; past is dropped when recent is half of all
}

func newRates(now func() time.Time, refill time.Duration) *rates {
	return &rates{now: now, refill: refill, recent: map[string]time.Time{}}
}

// take counts a certificate for a workload, or says when there will be one.
func (r *rates) take(workload string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	full, ok := r.recent[workload]
	if !ok {
		full = r.past[workload]
	}
	if full.Before(now) || full.After(now.Add(burst*r.refill)) { // the clock may have been set back
		full = now
	}
	if wait := full.Sub(now) - (burst-1)*r.refill; wait > 0 {
		return fmt.Errorf("too many certificates for %s: %d at once, then one in %s; try again in %s", workload, burst, r.refill, wait)
	}
	if !ok && len(r.recent) >= mostRates/2 {
		r.recent, r.past = map[string]time.Time{}, r.recent
	}
	r.recent[workload] = full.Add(r.refill)
	return nil
}
