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

// problems are what is wrong with each of the objects, and that all but the first lose.
func (c claim) problems() []mesh.Problem {
	var problems []mesh.Problem
	for i, e := range c.entries {
		problems = append(problems, e.problems...)
		if i > 0 {
			problems = append(problems, e.loses(c.holder()))
		}
	}
	return problems
}

// place is where an object of a source stands. One that stands where it stood, with the same text, means the same.
type place struct {
	ref    mesh.Ref
	origin mesh.Position
}

func (e *entry) place() place { return place{e.object.Ref, e.object.Origin} }

// says tells whether the entry is what a source says with this object: the same text, laid out alike, at the same place.
func (e *entry) says(o *config.Object) bool {
	return e.object.Ref == o.Ref && e.object.Origin == o.Origin && e.object.Text == o.Text && e.object.APIVersion == o.APIVersion &&
		(e.object.Root == o.Root || e.object.LaidOutLike(o))
}

// setObjects replaces the objects of a source. Only those that are new, moved or changed are read, and only those between
// the first and the last that are not as they were are looked for.
func (f *fold) setObjects(source string, objects []config.Object, problems []mesh.Problem) {
	f.reported[source] = true
	f.tell(subject{about: aboutSource, name: source}, slices.Clone(problems))
	all := f.objects[source]
	from := 0
	for from < min(len(all), len(objects)) && all[from].says(&objects[from]) {
		from++
	}
	same := 0 // at the end
	for same < min(len(all), len(objects))-from && all[len(all)-1-same].says(&objects[len(objects)-1-same]) {
		same++
	}
	before, after := all[from:len(all)-same], objects[from:len(objects)-same]
	entries, gone, added := f.match(source, before, after)
	f.objects[source] = slices.Replace(all, from, len(all)-same, entries...)
	f.reclaim(gone, added)
}

// editObjects puts objects of a source in the place of those of the same name, and removes names. Nothing else is looked
// at.
func (f *fold) editObjects(source string, objects []config.Object, removed []mesh.Ref) error {
	if !f.reported[source] {
		return ErrOtherBase
	}
	named := make(map[mesh.Ref]bool, len(objects)+len(removed))
	for i := range objects {
		named[objects[i].Ref] = true
	}
	for _, ref := range removed {
		named[ref] = true
	}
	var before []*entry
	for ref := range named {
		c, _ := f.claims.get(ref)
		for _, e := range c.entries {
			if e.source == source {
				before = append(before, e)
			}
		}
	}
	_, gone, added := f.match(source, before, objects)
	f.objects[source] = append(without(f.objects[source], gone), added...)
	f.reclaim(gone, added)
	return nil
}

// without removes entries from a list. Of few entries each is searched for: that is a look at pointers.
func without(all []*entry, gone map[*entry]bool) []*entry {
	const few = 8
	if len(gone) > few {
		return slices.DeleteFunc(all, func(e *entry) bool { return gone[e] })
	}
	for e := range gone {
		if i := slices.Index(all, e); i >= 0 {
			all = slices.Delete(all, i, i+1)
		}
	}
	return all
}

// match finds an entry for each object: one of those before that says it, else a new one.
func (f *fold) match(source string, before []*entry, objects []config.Object) (entries []*entry, gone map[*entry]bool, added []*entry) {
	f.counters.Looked.Add(int64(max(len(before), len(objects))))
	known := make(map[place][]*entry, len(before))
	gone = make(map[*entry]bool, len(before))
	for _, e := range before {
		at := e.place()
		known[at], gone[e] = append(known[at], e), true
	}
	entries = make([]*entry, 0, len(objects))
	for i := range objects {
		o := objects[i]
		e := &entry{source: source, object: &o}
		at := known[e.place()]
		if i := slices.IndexFunc(at, func(e *entry) bool { return gone[e] && e.says(&o) }); i >= 0 {
			e = at[i]
			delete(gone, e)
		} else {
			e.meaning, e.problems = f.kinds.ReadIn(&o, f.settings)
			added = append(added, e)
		}
		entries = append(entries, e)
	}
	return entries, gone, added
}

// recount reads anew the objects that count or not by what the settings say of Ingress objects, when that has changed.
func (f *fold) recount() {
	before := f.settings
	f.settings = cmp.Or(f.settingsOf(), &mesh.DefaultSettings)
	if f.settings.Ingress.TakesAsBefore(&before.Ingress) {
		return
	}
	gone, added := map[*entry]bool{}, []*entry(nil)
	for source, all := range f.objects {
		for i, e := range all {
			kind := f.kinds.Find(e.object.APIVersion, e.object.Kind)
			if kind == nil || kind.Counts == nil || kind.Counts(e.object, before) == kind.Counts(e.object, f.settings) {
				continue
			}
			now := &entry{source: source, object: e.object}
			now.meaning, now.problems = f.kinds.ReadIn(e.object, f.settings)
			all[i] = now
			gone[e], added = true, append(added, now)
		}
	}
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
	for ref, more := range touched {
		c, _ := f.claims.get(ref)
		stay := slices.DeleteFunc(slices.Clone(c.entries), func(e *entry) bool { return gone[e] })
		next := f.newClaim(ref, append(stay, more...))
		f.pass(c.holder(), next.holder())
		f.claims.put(ref, next, next.holder() != nil)
		f.tell(subject{aboutObject, ref.Kind, ref.Namespace, ref.Name}, next.problems())
	}
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
			f.stale[k], f.doubtful[k] = true, true
			if delete(f.index[k], from); len(f.index[k]) == 0 {
				delete(f.index, k)
			}
		}
	}
	if to != nil {
		for _, k := range parts(&to.meaning) {
			f.stale[k], f.doubtful[k] = true, true
			if f.index[k] == nil {
				f.index[k] = map[*entry]bool{}
			}
			f.index[k][to] = true
		}
	}
}
