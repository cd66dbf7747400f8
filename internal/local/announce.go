package local

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

const announceRetry = 100 * time.Millisecond

// announcer keeps what the control plane knows equal to the roster, also when the control plane starts anew.
type announcer struct {
	api    API
	roster *roster
	back   func()        // called when the control plane takes what it is told, after it was lost
	anew   chan struct{} // has a value when the control plane may have forgotten
	base   int64         // generation of what the control plane has; 0: it must be told everything

	mu       sync.Mutex
	number   int64 // of the last change that arrived
	revision int64 // that the control plane gave it
	arrived  chan struct{}
	lost     bool // the control plane ended, and its successor has not been told anything
}

func newAnnouncer(api API, r *roster, back func()) *announcer {
	return &announcer{api: api, roster: r, back: back, anew: make(chan struct{}, 1), arrived: make(chan struct{})}
}

// lose notes that the control plane has ended, and tells whether it was lost already.
func (a *announcer) lose() (before bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	before, a.lost = a.lost, true
	return before
}

// away tells whether the control plane is lost.
func (a *announcer) away() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.lost
}

// again tells everything once more.
func (a *announcer) again() {
	select {
	case a.anew <- struct{}{}:
	default:
	}
}

// reached tells whether the control plane ever took what it was told.
func (a *announcer) reached() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.number > 0
}

// run announces each change, and only the last of several that came together, until ctx ends.
func (a *announcer) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.roster.changed:
		case <-a.anew:
			a.base = 0
		}
		a.announce(ctx)
	}
}

// announce tries until the control plane has what the roster says.
func (a *announcer) announce(ctx context.Context) {
	tick := time.NewTicker(announceRetry)
	defer tick.Stop()
	for {
		a.mu.Lock()
		lost := a.lost // before it is told, else this may be the answer of the one that ended
		a.mu.Unlock()
		revision, number, err := a.tell(ctx)
		if errors.Is(err, api.ErrOtherBase) {
			continue // with everything, which has no base
		}
		if err == nil {
			a.mu.Lock()
			a.number, a.revision, a.lost = number, revision, a.lost && !lost
			close(a.arrived)
			a.arrived = make(chan struct{})
			a.mu.Unlock()
			if lost {
				a.back()
			}
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// tell tells the control plane what changed, or everything when it may have something else than was told last. After an
// error nobody knows what arrived.
func (a *announcer) tell(ctx context.Context) (revision, number int64, err error) {
	var generation int64
	if a.base == 0 {
		var registry mesh.Registry
		registry, number = a.roster.registry()
		generation = registry.Generation
		revision, err = a.api.PutRegistry(ctx, registry)
	} else {
		var edit mesh.RegistryEdit
		edit, number = a.roster.edit()
		edit.Base, generation = a.base, edit.Generation
		revision, err = a.api.EditRegistry(ctx, edit)
	}
	if a.base = generation; err != nil {
		a.base = 0
	}
	return revision, number, err
}

// settle returns true when the control plane has the change and all proxies that it concerns have confirmed it, or have had
// their time to; and false when ctx ends before. While the change is being handed over in steps the time does not count:
// before the last of them an instance may not be called.
func (a *announcer) settle(ctx context.Context, number int64, most time.Duration) bool {
	tick := time.NewTicker(announceRetry)
	defer tick.Stop()
	end := time.Now().Add(most)
	moving := false
	for ctx.Err() == nil {
		a.mu.Lock()
		done, revision, arrived := a.number >= number, a.revision, a.arrived
		a.mu.Unlock()
		var retry, over <-chan time.Time
		if done {
			// An error means that the control plane is gone; its successor gives another revision.
			progress, err := a.api.Progress(ctx, revision, min(time.Second, max(time.Until(end), announceRetry)))
			if err == nil && progress.Done() {
				return true
			}
			if err == nil && progress.Reached { // else it is as it was, for all that is known
				moving = len(progress.Handovers) > 0
			}
			retry = tick.C
		}
		if !moving {
			over = time.After(time.Until(end))
		}
		select {
		case <-ctx.Done():
			return false
		case <-over:
			return true
		case <-arrived:
		case <-retry:
		}
	}
	return false
}

// inForce returns true when the control plane has the change and all that it concerns do as it says, however long that takes; and
// false when ctx ends before.
func (a *announcer) inForce(ctx context.Context, number int64) bool {
	tick := time.NewTicker(announceRetry)
	defer tick.Stop()
	var revision int64 // with which the change came: those after it say nothing of it
	for ctx.Err() == nil {
		a.mu.Lock()
		has, now, arrived := a.number >= number, a.revision, a.arrived
		a.mu.Unlock()
		var retry <-chan time.Time
		if has {
			if revision == 0 {
				revision = now
			}
			progress, err := a.api.Progress(ctx, revision, time.Second)
			if err == nil && progress.Done() {
				return true
			}
			if err != nil || !progress.Reached {
				revision = 0 // its successor gives another one
			}
			retry = tick.C
		}
		select {
		case <-ctx.Done():
		case <-arrived:
		case <-retry:
		}
	}
	return false
}
