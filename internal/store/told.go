package store

import (
	"cmp"
	"maps"
	"slices"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// subject is what some problems are about, so that a change tells anew only what it touches.
type subject struct {
	about     about
	kind      string // of an object, or of a part of the snapshot
	namespace string // of an object
	name      string // of an object or a part; of a source
}

// about is in which order problems are told that have the same place.
type about int

const (
	aboutSource   about = iota // what a source met when it read objects, or what its registry is made from
	aboutObject                // all objects of one name
	aboutRegistry              // what registries say about one part
	aboutPart                  // objects that say something about the same part
)

func (s subject) compare(o subject) int {
	return cmp.Or(
		cmp.Compare(s.about, o.about), cmp.Compare(s.kind, o.kind), cmp.Compare(s.namespace, o.namespace), cmp.Compare(s.name, o.name),
	)
}

// tell replaces the problems of a subject. The store keeps them.
func (f *fold) tell(s subject, problems []mesh.Problem) {
	before, _ := f.problems.get(s)
	if slices.Equal(before, problems) {
		return
	}
	known := make(map[mesh.Problem]bool, len(before))
	for _, p := range before {
		known[p] = true
	}
	for _, p := range problems {
		if !known[p] {
			f.fresh = append(f.fresh, p)
		}
	}
	f.problems.put(s, problems, len(problems) > 0)
}

// passOn replaces the problems that come with a registry. Whoever hands them in has said them already, so they are not
// fresh.
func (f *fold) passOn(source string, problems []mesh.Problem) {
	s := subject{about: aboutSource, kind: "registry", name: source}
	if before, _ := f.problems.get(s); !slices.Equal(before, problems) {
		f.problems.put(s, problems, len(problems) > 0)
	}
}

// tellDoubtful tells anew what is wrong with the parts that were touched.
func (f *fold) tellDoubtful() {
	for k := range f.doubtful {
		switch k.Kind {
		case mesh.KindService, mesh.KindEndpoints, mesh.KindWorkload:
			f.tell(subject{about: aboutRegistry, kind: string(k.Kind), name: k.Name}, f.registryProblems(k))
		case mesh.KindEgress, mesh.KindPolicies:
			f.tell(subject{about: aboutPart, kind: string(k.Kind), name: k.Name}, conflicts(k, f.speaking(k)))
		}
	}
	f.doubtful = map[mesh.Key]bool{}
}

// takeFresh returns the problems that were not there before, sorted, and forgets them.
func (f *fold) takeFresh() []mesh.Problem {
	fresh := f.fresh
	f.fresh = nil
	mesh.SortProblems(fresh)
	return fresh
}

// sortedProblems returns all problems of a shelf, by place.
func sortedProblems(s *shelf[subject, []mesh.Problem]) []mesh.Problem {
	bySubject := maps.Collect(s.all())
	var all []mesh.Problem
	for _, about := range slices.SortedFunc(maps.Keys(bySubject), subject.compare) {
		all = append(all, bySubject[about]...)
	}
	mesh.SortProblems(all)
	return all
}
