package store

import (
	"cmp"
	"slices"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Stored is an object and the source that it came from.
type Stored struct {
	config.Object
	Source string
}

// entry is one object of one source, with what it means. It is immutable.
type entry struct {
	source   string
	object   *config.Object
	meaning  config.Meaning
	problems []mesh.Problem
}

// claim holds all objects of one name. The first one holds the name; the others are problems.
type claim struct {
	ref     mesh.Ref
	entries []*entry // the holder first
}

// holder returns the entry that holds the name, or nil.
func (c claim) holder() *entry {
	if len(c.entries) == 0 {
		return nil
	}
	return c.entries[0]
}

// place is where an object of a source stands. One that stands where it stood, with the same text, means the same.
type place struct {
	ref    mesh.Ref
	origin mesh.Position
}

func (e *entry) place() place { return place{e.object.Ref, e.object.Origin} }

// setObjects replaces the objects of a source. Only those that are new, moved or changed are read.
func (f *fold) setObjects(source string, objects []config.Object, problems []mesh.Problem) {
	f.reported[source] = true
	f.told[source] = slices.Clone(problems)
	known := map[place][]*entry{}
	gone := map[*entry]bool{}
	for _, e := range f.objects[source] {
		at := e.place()
		known[at], gone[e] = append(known[at], e), true
	}
	entries := make([]*entry, 0, len(objects))
	var added []*entry
	for i := range objects {
		o := objects[i]
		same := func(e *entry) bool {
			return gone[e] && e.object.Text == o.Text && e.object.APIVersion == o.APIVersion && e.object.LaidOutLike(&o)
		}
		e := &entry{source: source, object: &o}
		if at := known[e.place()]; slices.ContainsFunc(at, same) {
			e = at[slices.IndexFunc(at, same)]
			delete(gone, e)
		} else {
			e.meaning, e.problems = f.kinds.Read(&o)
			added = append(added, e)
		}
		entries = append(entries, e)
	}
	f.objects[source] = entries
	f.reclaim(gone, added)
}

// reclaim takes names from entries that are gone and gives names to new ones.
func (f *fold) reclaim(gone map[*entry]bool, added []*entry) {
	touched := map[mesh.Ref][]*entry{} // what is new under each name
	for e := range gone {
		touched[e.object.Ref] = nil
	}
	for _, e := range added {
		touched[e.object.Ref] = append(touched[e.object.Ref], e)
	}
	if len(touched) == 0 {
		return
	}
	claims := make([]claim, 0, len(f.claims)+len(touched))
	for _, c := range f.claims {
		more, ok := touched[c.ref]
		if !ok {
			claims = append(claims, c)
			continue
		}
		delete(touched, c.ref)
		stay := slices.DeleteFunc(slices.Clone(c.entries), func(e *entry) bool { return gone[e] })
		next := f.newClaim(c.ref, append(stay, more...))
		f.pass(c.holder(), next.holder())
		if next.holder() != nil {
			claims = append(claims, next)
		}
	}
	for ref, entries := range touched {
		next := f.newClaim(ref, entries)
		f.pass(nil, next.holder())
		claims = append(claims, next)
	}
	slices.SortFunc(claims, func(a, b claim) int { return a.ref.Compare(b.ref) })
	f.claims = claims
}

func (f *fold) newClaim(ref mesh.Ref, entries []*entry) claim {
	slices.SortStableFunc(entries, func(a, b *entry) int {
		p, q := a.object.Origin, b.object.Origin
		return cmp.Or(
			f.compareSources(a.source, b.source),
			cmp.Compare(p.File, q.File), cmp.Compare(p.Line, q.Line), cmp.Compare(p.Column, q.Column),
		)
	})
	return claim{ref, entries}
}

// pass notes that a name passes from one entry to another, each of which may be nil.
func (f *fold) pass(from, to *entry) {
	if from == to {
		return
	}
	if from != nil {
		for _, k := range parts(&from.meaning) {
			f.stale[k] = true
			if delete(f.index[k], from); len(f.index[k]) == 0 {
				delete(f.index, k)
			}
		}
	}
	if to != nil {
		for _, k := range parts(&to.meaning) {
			f.stale[k] = true
			if f.index[k] == nil {
				f.index[k] = map[*entry]bool{}
			}
			f.index[k][to] = true
		}
	}
}
