// Package store folds what the sources say into one [mesh.Snapshot] after another.
//
// Sources hand in their whole state: objects with [Store.SetObjects], services and workloads with [Store.SetRegistry].
// One goroutine, [Store.Run], owns everything; it translates the objects that are new, makes the next snapshot, in which
// unchanged parts keep their pointer, and publishes it with the keys of the parts that differ. A change that arrives
// while the goroutine is idle is published at once; those that arrive while it is busy become one snapshot.
//
// Nothing is published before every required source has reported. Sources rank in the order of [Config.Sources]: where
// two say something about the same thing, the first one counts, and the other is told.
//
// An object with an error means nothing and harms nothing else; [Store.Problems] tells all that is wrong. What depends
// on several objects, such as a rule for a host that no source knows or one that is never reached, is looked up when
// somebody asks. Only an object that is not applied because of another one is told at once.
package store

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Config is what a Store is made with.
type Config struct {
	Kinds  config.Kinds
	Domain string // DNS suffix of services, "cluster.local"
	// Sources are the names of those that must report, once each, before anything is published. A source that is not
	// among them may report as well; it ranks after them, by name.
	Sources []string
	// Publish is called for the first snapshot, even when it is empty, and for each one that differs from the one
	// before, in order and never at the same time. Changes wait for it.
	Publish func(*mesh.Snapshot, []mesh.Key)
	Log     *slog.Logger
}

// ErrStopped is returned for changes to a store whose Run has ended.
var ErrStopped = errors.New("the store has stopped")

// Store holds what all sources say. Its methods may be called from any goroutine.
type Store struct {
	publish func(*mesh.Snapshot, []mesh.Key)
	log     *slog.Logger
	fold    *fold
	changes chan change
	stopped chan struct{}
	current atomic.Pointer[state]
}

// change is a new state of one source. Its maker waits for the revision.
type change struct {
	apply func(*fold)
	done  chan<- int64 // has room for one
}

// New returns a store that knows nothing. Changes wait until it runs.
func New(c Config) *Store {
	s := &Store{
		publish: c.Publish, log: c.Log, fold: newFold(c),
		changes: make(chan change), stopped: make(chan struct{}),
	}
	s.current.Store(s.fold.state())
	return s
}

// Run takes changes until ctx ends, and returns why it ended. It is called once.
func (s *Store) Run(ctx context.Context) error {
	defer close(s.stopped)
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case c := <-s.changes:
			s.take(c)
		}
	}
}

// take applies a change and those that wait behind it, publishes what comes out and answers them all.
func (s *Store) take(first change) {
	batch := []change{first}
	first.apply(s.fold)
	for waiting := true; waiting; {
		select {
		case c := <-s.changes:
			c.apply(s.fold)
			batch = append(batch, c)
		default:
			waiting = false
		}
	}
	keys, fresh := s.fold.next()
	next := s.fold.state()
	before := s.current.Swap(next)
	for _, p := range next.since(before) {
		s.log.Warn("problem", "object", p.Object.String(), "problem", p.String())
	}
	if fresh {
		s.log.Debug("new snapshot", "revision", next.snapshot.Revision(), "keys", len(keys))
		s.publish(next.snapshot, keys)
	}
	for _, c := range batch {
		c.done <- next.snapshot.Revision()
	}
}

// SetObjects replaces the objects of a source, and the problems that were met when they were read. It returns once the
// change is published, with the revision that holds it; or, while other sources are still missing, at once with
// revision 0. When ctx ends first, the change may still come into force.
func (s *Store) SetObjects(ctx context.Context, source string, objects []config.Object, problems []mesh.Problem) (int64, error) {
	return s.change(ctx, func(f *fold) { f.setObjects(source, objects, problems) })
}

// SetRegistry replaces the services, endpoints and workloads of a source. It returns like [Store.SetObjects]. The store
// keeps what it is given: it must not be changed any more. Parts that are the same pointer as in the call before cost
// nothing.
func (s *Store) SetRegistry(ctx context.Context, source string, r mesh.Registry) (int64, error) {
	return s.change(ctx, func(f *fold) { f.setRegistry(source, r) })
}

func (s *Store) change(ctx context.Context, apply func(*fold)) (int64, error) {
	done := make(chan int64, 1)
	select {
	case s.changes <- change{apply, done}:
	case <-s.stopped:
		return 0, ErrStopped
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	select {
	case revision := <-done:
		return revision, nil
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// Snapshot returns what is published now: an empty snapshot at revision 0 in the beginning.
func (s *Store) Snapshot() *mesh.Snapshot { return s.current.Load().snapshot }

// Missing returns the required sources that have not reported yet.
func (s *Store) Missing() []string { return s.current.Load().missing }

// Objects returns the objects that hold their name, sorted by kind, namespace and name, also those with errors.
func (s *Store) Objects() []Stored { return s.current.Load().stored() }

// Problems returns all that is wrong, sorted by place.
func (s *Store) Problems() []mesh.Problem { return s.current.Load().problems() }
