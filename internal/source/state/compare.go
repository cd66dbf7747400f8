package state

import (
	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Difference is what applying one object would change. Both texts are as they are kept, with the same version, so that
// they differ only in what the objects say and how.
type Difference struct {
	Object mesh.Ref
	Before string // "": there is no such object yet
	After  string
}

// Compare tells what writing objects with [Apply] would change, and changes nothing. Objects that would stay as they
// are have no difference, those that would be refused have a problem.
func (s *Source) Compare(objects []config.Object) ([]Difference, []mesh.Problem) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var differences []Difference
	var problems []mesh.Problem
	for i := range objects {
		o := &objects[i]
		old, exists := s.objects[o.Ref]
		if p := s.refuse(Apply, o, old, exists); p != nil {
			problems = append(problems, *p)
			continue
		}
		if exists && same(&old.Object, o) {
			continue
		}
		after, err := stamp(o, old.Version)
		if err != nil {
			problems = append(problems, o.Problem(CodeNotStored, "", "cannot be stored: %v", err))
			continue
		}
		differences = append(differences, Difference{Object: o.Ref, Before: old.Text, After: string(after)})
	}
	return differences, problems
}
