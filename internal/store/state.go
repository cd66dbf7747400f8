package store

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// state is what a store shows at one moment. It is immutable.
type state struct {
	snapshot *mesh.Snapshot
	missing  []string
	claims   []claim
	direct   []mesh.Problem // all but those of the review
	review   func() []mesh.Problem
}

// state returns what is to be shown after the last change.
func (f *fold) state() *state {
	s := &state{snapshot: f.snapshot, missing: f.missing(), claims: f.claims}
	for _, source := range slices.Sorted(maps.Keys(f.told)) {
		s.direct = append(s.direct, f.told[source]...)
	}
	for _, c := range f.claims {
		for i, e := range c.entries {
			s.direct = append(s.direct, e.problems...)
			if i > 0 {
				s.direct = append(s.direct, e.loses(c.holder()))
			}
		}
	}
	s.direct = append(s.direct, f.clashes...)
	s.direct = append(s.direct, conflicts(f.claims)...)
	mesh.SortProblems(s.direct)
	s.review = sync.OnceValue(func() []mesh.Problem {
		if len(s.missing) > 0 {
			return nil // the snapshot does not hold everything yet
		}
		return review(s.snapshot, s.claims)
	})
	return s
}

// loses says that the entry's name is held by another one.
func (e *entry) loses(holder *entry) mesh.Problem {
	p := e.object.Problem(config.CodeDuplicateObject, "metadata.name", "the name is taken by %s", whereabouts(holder))
	p.Hint = "the first one counts; give this one another name or remove it"
	return p
}

// whereabouts says where an entry stands.
func whereabouts(e *entry) string {
	if at := e.object.Origin.String(); at != "" {
		return "the object at " + at
	}
	return fmt.Sprintf("an object of source %q", e.source)
}

func (s *state) stored() []Stored {
	all := make([]Stored, 0, len(s.claims))
	for _, c := range s.claims {
		all = append(all, Stored{Object: *c.holder().object, Source: c.holder().source})
	}
	return all
}

func (s *state) problems() []mesh.Problem {
	all := slices.Concat(s.direct, s.review())
	mesh.SortProblems(all)
	return all
}

// since returns the direct problems that were not there before.
func (s *state) since(before *state) []mesh.Problem {
	known := make(map[mesh.Problem]bool, len(before.direct))
	for _, p := range before.direct {
		known[p] = true
	}
	var fresh []mesh.Problem
	for _, p := range s.direct {
		if !known[p] {
			fresh = append(fresh, p)
		}
	}
	return fresh
}
