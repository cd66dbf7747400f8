package store

import "github.com/lateen-mesh/lateen/internal/mesh"

// Stamp stands for all that a store shows: while it is equal to the one before, nothing has changed. The zero value stands for
// nothing.
type Stamp struct {
	snapshot *mesh.Snapshot
	objects  *shelf[mesh.Ref, claim]
	told     *shelf[subject, []mesh.Problem]
}

// Stamp returns the one of now.
func (s *Store) Stamp() Stamp {
	now := s.current.Load()
	return Stamp{now.snapshot, now.objects, now.told}
}

// Revision returns that of the snapshot.
func (s Stamp) Revision() int64 { return s.snapshot.Revision() }

// SameObjects tells whether the objects are the same.
func (s Stamp) SameObjects(o Stamp) bool { return s.objects == o.objects }

// Said returns the text of the object that a source has handed in under a name, whether it holds the name or not.
func (s *Store) Said(source string, ref mesh.Ref) (text string, there bool) {
	c, _ := s.current.Load().objects.get(ref)
	for _, e := range c.entries {
		if e.source == source {
			return e.object.Text, true
		}
	}
	return "", false
}
