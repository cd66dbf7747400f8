package kube

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Objects returns the objects that were handed over, with their resourceVersion, sorted. It may be called from any goroutine.
func (s *Source) Objects() []config.Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	return sortedObjects(s.objects.taken)
}

func sortedObjects(all map[mesh.Ref]config.Object) []config.Object {
	return slices.SortedFunc(maps.Values(all), func(a, b config.Object) int { return a.Compare(b.Ref) })
}

// tellObjects hands over objects, and what changes of them, until ctx ends.
func (s *Source) tellObjects(ctx context.Context) {
	patience := time.NewTimer(s.config.Patience)
	defer patience.Stop()
	pause := firstPause
	for {
		select {
		case <-ctx.Done():
			return
		case <-patience.C:
			s.mu.Lock()
			s.objects.waited = true
			s.mu.Unlock()
		case <-s.objectsAwake:
		}
		if err := s.handObjects(ctx); err != nil && ctx.Err() == nil {
			s.config.Log.Warn("objects could not be handed over", "err", err)
			doze(ctx, &pause)
			wake(s.objectsAwake)
		} else {
			pause = firstPause
		}
	}
}

// handing is what is handed over at once.
type handing struct {
	whole    bool // it is everything
	objects  []config.Object
	removed  []mesh.Ref
	numbered []config.Object // that have another resourceVersion and say the same
	problems []mesh.Problem  // all, with everything
}

// handObjects hands over what is new. After an error everything is.
func (s *Source) handObjects(ctx context.Context) error {
	s.mu.Lock()
	if !s.complete(true) && (!s.objects.waited || !s.objects.kept.loaded) {
		s.mu.Unlock()
		return nil
	}
	h := s.nextHanding(time.Now())
	s.mu.Unlock()
	var err error
	switch {
	case h.whole:
		_, err = s.config.Sink.SetObjects(ctx, ObjectsName, h.objects, h.problems)
	case len(h.objects)+len(h.removed) > 0:
		_, err = s.config.Sink.EditObjects(ctx, ObjectsName, h.objects, h.removed)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.objects.whole = true
		return fmt.Errorf("hand over objects: %w", err)
	}
	s.objects.take(h)
	if h.whole || len(h.objects)+len(h.removed) > 0 {
		s.keep()
	}
	return nil
}

// nextHanding returns what is new. The lock is held.
func (s *Source) nextHanding(now time.Time) handing {
	o := s.objects
	var h handing
	if o.doubt || o.whole {
		h.problems = s.allProblems(now)
		h.whole = o.whole || !slices.Equal(h.problems, o.told)
	}
	touched := o.touched
	o.touched, o.doubt, o.whole = map[mesh.Ref]bool{}, false, false
	if h.whole {
		all := map[mesh.Ref]config.Object{}
		for ref := range o.rows {
			touched[ref] = true
		}
		for ref := range o.kept.objects {
			touched[ref] = true
		}
		for ref := range touched {
			if object, ok := s.counts(ref); ok {
				all[ref] = object
			}
		}
		h.objects = sortedObjects(all)
		return h
	}
	for _, ref := range slices.SortedFunc(maps.Keys(touched), mesh.Ref.Compare) {
		object, ok := s.counts(ref)
		before, had := o.taken[ref]
		switch {
		case ok && had && before.Text == object.Text:
			h.numbered = append(h.numbered, object)
		case ok:
			h.objects = append(h.objects, object)
		case had:
			h.removed = append(h.removed, ref)
		}
	}
	return h
}

// counts returns the object of a name: as it was read, else as it was kept while nobody could read it. The lock is held.
func (s *Source) counts(ref mesh.Ref) (config.Object, bool) {
	if o := s.objects.rows[ref]; o != nil {
		return o.Object, o.good
	}
	o, ok := s.objects.kept.objects[ref]
	return o, ok && s.standsIn(ref)
}

// standsIn tells whether a kept object counts: its kind has not been read since the start. The lock is held.
func (s *Source) standsIn(ref mesh.Ref) bool {
	return slices.ContainsFunc(s.states, func(st *state) bool { return st.covers(ref) && !st.known && st.phase != absent })
}

// covers tells whether an object is one of those that a state is about.
func (st *state) covers(ref mesh.Ref) bool {
	return st.kind.object == ref.Kind && (st.namespace == "" || st.namespace == ref.Namespace)
}

// allProblems tells what is wrong with reading the cluster, and with objects in what all have in common. The lock is held.
func (s *Source) allProblems(now time.Time) []mesh.Problem {
	all := append(s.problems(now), s.objects.kept.problems...)
	for ref := range s.objects.kept.objects {
		if s.standsIn(ref) {
			all = append(all, s.objects.kept.stale())
			break
		}
	}
	for _, ref := range slices.SortedFunc(maps.Keys(s.objects.bad), mesh.Ref.Compare) {
		all = append(all, s.objects.rows[ref].problems...)
	}
	return all
}

// take notes what the sink has.
func (o *objects) take(h handing) {
	if h.whole {
		o.taken, o.told = map[mesh.Ref]config.Object{}, h.problems
	}
	for _, ref := range h.removed {
		delete(o.taken, ref)
	}
	for _, list := range [][]config.Object{h.objects, h.numbered} {
		for i := range list {
			o.taken[list[i].Ref] = list[i]
		}
	}
}
