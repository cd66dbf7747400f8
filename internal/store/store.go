// Package store folds what the sources say into one [mesh.Snapshot] after another.
//
// Sources hand in their whole state: objects with [Store.SetObjects], services and workloads with [Store.SetRegistry],
// and say with [Store.EditRegistry] what changed in the latter. One goroutine, [Store.Run], owns everything; it translates
// the objects that are new, makes the next snapshot, in which unchanged parts keep their pointer, and publishes it with
// the keys of the parts that differ. What that costs depends on what changed, not on what there is.
//
// Bursts are held together from their first change on: it is published at once, those that follow within a short back-off
// are published together at its end. Registries and objects have a back-off of their own: where endpoints are never waits
// for rules.
//
// Nothing is published before every required source has reported. One that is silent for longer than [Config.Patience] is
// known by what it reported last, before a restart; nothing of that is removed until it reports, and it is a problem.
// Sources rank in the order of [Config.Sources]: where
// two say something about the same thing, the first one counts, and the other is told.
//
// How the ports of a host are secured, its [mesh.Stance], follows what is wanted in steps, as package handover says: the store
// puts in force at once what may be, and the next step with [Store.AdvanceStances]. What it has put in force is on the disk.
//
// An object with an error means nothing and harms nothing else; [Store.Problems] tells all that is wrong. What depends
// on several objects, such as a rule for a host that no source knows or one that is never reached, is looked up when
// somebody asks. Only an object that is not applied because of another one is told at once.
package store

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/lateen-mesh/lateen/internal/cache"
	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Config is what a Store is made with.
type Config struct {
	Kinds  config.Kinds
	Domain string // DNS suffix of services, "cluster.local"
	// Realm is what holds for the whole mesh. What it does not say: Domain, which is the trust domain too, and
	// [mesh.DefaultCertTTL].
	Realm mesh.Realm
	// Sources are the names of those that must report, once each, before anything is published. A source that is not
	// among them may report as well; it ranks after them, by name.
	Sources []string
	// Optional are sources that may be away: one that has not reported after a while is a problem, and holds up nothing.
	// They rank after the others.
	Optional []string
	// Last is where the last registry of each source is kept, and how ports are secured. A source that has not reported when
	// Patience is over is known by the former until it does. nil: nothing is kept.
	Last     *cache.Cache
	Stances  Keeper        // where it is kept how ports are secured; nil: with the rest
	Patience time.Duration // 0: 10 s
	// Publish is called for the first snapshot, even when it is empty, and for each one that differs from the one
	// before, in order and never at the same time. Changes wait for it.
	Publish func(*mesh.Snapshot, []mesh.Key)
	Log     *slog.Logger
}

// ErrOtherBase is returned for an edit of something else than the store has: whoever sent it hands in the whole.
var ErrOtherBase = errors.New("the store has something else than what the edit was made from")

// ErrStopped is returned for changes to a store whose Run has ended.
var ErrStopped = errors.New("the store has stopped")

// Store holds what all sources say. Its methods may be called from any goroutine.
type Store struct {
	publish  func(*mesh.Snapshot, []mesh.Key)
	log      *slog.Logger
	fold     *fold
	changes  chan change
	queues   [classes]queue
	asks     chan func(*fold) // which change nothing
	last     *cache.Cache     // nil: nothing is kept
	patience time.Duration
	stopped  chan struct{}
	current  atomic.Pointer[state]
	counters Counters
}

// New returns a store that knows nothing. Changes wait until it runs.
func New(c Config) *Store {
	s := &Store{
		publish: c.Publish, log: c.Log, changes: make(chan change), stopped: make(chan struct{}),
		asks: make(chan func(*fold)), last: c.Last, patience: cmp.Or(c.Patience, defaultPatience),
		queues: [classes]queue{ofRegistries: {backOff: registryBackOff}, ofObjects: {backOff: objectBackOff}, ofStances: {backOff: registryBackOff}},
	}
	s.fold = newFold(c, &s.counters)
	s.current.Store(s.fold.state(nil))
	return s
}

// Run takes changes until ctx ends, and returns why it ended. It is called once. Changes that still wait then are lost,
// and whoever made them is told so.
func (s *Store) Run(ctx context.Context) error {
	defer close(s.stopped)
	alarm := time.NewTimer(0)
	defer alarm.Stop()
	patience := time.NewTimer(s.patience)
	defer patience.Stop()
	for ctx.Err() == nil {
		s.collect()
		now := time.Now()
		if q := s.due(now); q != nil {
			s.take(q)
			continue
		}
		var later <-chan time.Time
		if wait, waiting := s.nextDue(now); waiting {
			alarm.Reset(wait)
			later = alarm.C
		}
		select {
		case <-ctx.Done():
		case c := <-s.changes:
			s.queues[c.class].add(c)
		case <-later:
		case ask := <-s.asks:
			ask(s.fold)
		case <-patience.C:
			s.goOn()
		}
	}
	return context.Cause(ctx)
}

// take applies the changes that wait in a queue, publishes what comes out and answers them all.
func (s *Store) take(q *queue) {
	began := time.Now()
	batch := q.takeAll()
	answers := make([]answer, len(batch))
	for i, c := range batch {
		s.counters.events[c.class].Add(1)
		answers[i].err = c.apply(s.fold)
	}
	s.fold.tellDoubtful()
	s.fold.tellSilence()
	keys, fresh := s.fold.next()
	next := s.fold.state(s.current.Load())
	s.current.Store(next)
	for _, p := range s.fold.takeFresh() {
		s.log.Warn("problem", "object", p.Object.String(), "problem", p.String())
	}
	if fresh {
		s.counters.Published.Add(1)
		s.counters.Merged.Add(int64(len(batch) - 1))
		s.log.Debug("new snapshot", "revision", next.snapshot.Revision(), "keys", len(keys))
		s.publish(next.snapshot, keys)
		now := time.Now()
		q.rest(len(batch), now, now.Sub(began))
	}
	for i, c := range batch {
		if answers[i].err == nil {
			answers[i].revision = next.snapshot.Revision()
		}
		c.done <- answers[i]
	}
}

// SetObjects replaces the objects of a source, and the problems that were met when they were read. It returns once the
// change is published, with the revision that holds it; or, while other sources are still missing, at once with
// revision 0. When ctx ends first, the change may still come into force.
func (s *Store) SetObjects(ctx context.Context, source string, objects []config.Object, problems []mesh.Problem) (int64, error) {
	return s.change(ctx, ofObjects, func(f *fold) error {
		f.setObjects(source, objects, problems)
		return nil
	})
}

// EditObjects puts objects of a source in the place of those of the same name, and removes names. What the edit does not
// name costs nothing, and stays, as do the problems. It is refused with [ErrOtherBase] when the source never handed in the
// whole, and else returns like [Store.SetObjects].
func (s *Store) EditObjects(ctx context.Context, source string, objects []config.Object, removed []mesh.Ref) (int64, error) {
	return s.change(ctx, ofObjects, func(f *fold) error { return f.editObjects(source, objects, removed) })
}

// SetRegistry replaces the services, endpoints and workloads of a source. It returns like [Store.SetObjects]. The store
// keeps what it is given: it must not be changed any more. Parts that are the same pointer as in the call before cost
// little.
func (s *Store) SetRegistry(ctx context.Context, source string, r mesh.Registry) (int64, error) {
	return s.change(ctx, ofRegistries, s.keeping(source, func(f *fold) error { return f.setRegistry(source, &r) }))
}

// EditRegistry changes what a source said with [Store.SetRegistry], and returns like it. What the edit does not name costs
// nothing. It is refused with [ErrOtherBase], and changes nothing, when the source never said anything or when what it
// said last has another generation than the edit's base.
func (s *Store) EditRegistry(ctx context.Context, source string, edit mesh.RegistryEdit) (int64, error) {
	return s.change(ctx, ofRegistries, s.keeping(source, func(f *fold) error { return f.editRegistry(source, &edit) }))
}

func (s *Store) change(ctx context.Context, class class, apply func(*fold) error) (int64, error) {
	done := make(chan answer, 1)
	select {
	case s.changes <- change{class, apply, done}:
	case <-s.stopped:
		return 0, ErrStopped
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	select {
	case a := <-done:
		return a.revision, a.err
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	case <-s.stopped:
	}
	select {
	case a := <-done: // in the last moment
		return a.revision, a.err
	default:
		return 0, ErrStopped
	}
}

// Snapshot returns what is published now: an empty snapshot at revision 0 in the beginning.
func (s *Store) Snapshot() *mesh.Snapshot { return s.current.Load().snapshot }

// Stale returns the sources that have not reported and whose last registry counts until they do.
func (s *Store) Stale() []Stale { return s.current.Load().stale }

// Missing returns the required sources that have not reported yet and of which nothing is kept.
func (s *Store) Missing() []string { return s.current.Load().missing }

// Objects returns the objects that hold their name, sorted by kind, namespace and name, also those with errors.
func (s *Store) Objects() []Stored { return s.current.Load().stored() }

// Problems returns all that is wrong, sorted by place.
func (s *Store) Problems() []mesh.Problem { return s.current.Load().problems() }
