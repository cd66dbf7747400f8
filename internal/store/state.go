package store

import (
	"fmt"
	"slices"
	"sync"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/handover"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// state is what a store shows at one moment. It is immutable; what costs as much as the mesh holds is worked out when
// somebody asks for it.
type state struct {
	snapshot *mesh.Snapshot
	missing  []string
	stale    []Stale
	objects  *shelf[mesh.Ref, claim]
	told     *shelf[subject, []mesh.Problem]
	courses  *shelf[mesh.Host, *handover.Course]

	claims func() []claim        // sorted by ref
	direct func() []mesh.Problem // all but those of the review
	review func() []mesh.Problem
}

// state returns what is to be shown after the last change. Of the state before it takes over what did not change.
func (f *fold) state(before *state) *state {
	objects, told := f.claims.show(), f.problems.show() // all that the functions hold on to: they may outlive the snapshot
	s := &state{snapshot: f.snapshot, missing: f.missing(), stale: f.standIns(), objects: objects, told: told, courses: f.stances.courses.show()}
	if before != nil && before.objects == objects {
		s.claims = before.claims
	} else {
		s.claims = sync.OnceValue(func() []claim { return sortedClaims(objects) })
	}
	if before != nil && before.told == told {
		s.direct = before.direct
	} else {
		s.direct = sync.OnceValue(func() []mesh.Problem { return sortedProblems(told) })
	}
	s.review = sync.OnceValue(func() []mesh.Problem {
		if len(s.missing) > 0 {
			return nil // the snapshot does not hold everything yet
		}
		return review(s.snapshot, s.claims())
	})
	return s
}

func sortedClaims(objects *shelf[mesh.Ref, claim]) []claim {
	claims := make([]claim, 0, objects.len())
	for _, c := range objects.all() {
		claims = append(claims, c)
	}
	slices.SortFunc(claims, func(a, b claim) int { return a.ref.Compare(b.ref) })
	return claims
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
	claims := s.claims()
	all := make([]Stored, 0, len(claims))
	for _, c := range claims {
		all = append(all, Stored{Object: *c.holder().object, Source: c.holder().source})
	}
	return all
}

func (s *state) problems() []mesh.Problem {
	all := slices.Concat(s.direct(), s.review())
	mesh.SortProblems(all)
	return all
}
