package push

import (
	"maps"
	"slices"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/view"
)

// reaches knows which objects have a say in which entries, and of which of them may have changed which proxies have confirmed them. What
// is counted is what is asked for; until then a change costs a note. The engine's lock guards it.
type reaches struct {
	on       bool // somebody asks
	by       map[mesh.Ref]map[*entry]struct{}
	dirty    map[mesh.Ref]struct{} // to be counted
	stale    map[*entry]struct{}   // whose objects are to be counted: other proxies have them
	open     map[mesh.Ref]struct{} // that some proxy had not confirmed when they were counted last
	moved    bool                  // some proxy has confirmed or refused something since
	counting bool                  // not everything was counted yet
}

func newReaches(on bool) reaches {
	return reaches{
		on: on, by: map[mesh.Ref]map[*entry]struct{}{}, dirty: map[mesh.Ref]struct{}{}, stale: map[*entry]struct{}{}, open: map[mesh.Ref]struct{}{},
	}
}

// Reach is how far what came of an object has travelled here.
type Reach struct {
	Object mesh.Ref
	mesh.Reach
}

// own notes which objects have a say in what an entry is now, and since which revision what each of them says there is so. Before: what
// the entry was, or another one that its subscribers had. The lock is held.
func (e *Engine) own(en *entry, before *made, since map[mesh.Ref]int64) {
	if !e.reaches.on || before == en.made && before != nil && en.owned != nil {
		return
	}
	r := &e.reaches
	owned := e.ownersNow(en.made, before, since)
	for ref := range en.owned {
		if _, still := owned[ref]; !still {
			r.leave(ref, en)
		}
	}
	for ref := range owned {
		if r.by[ref] == nil {
			r.by[ref] = map[*entry]struct{}{}
		}
		if _, was := r.by[ref][en]; !was {
			r.by[ref][en] = struct{}{}
			r.dirty[ref] = struct{}{}
		}
	}
	en.owned = owned
}

// ownersNow returns which objects have a say in a resource, and since when they say what they do, and notes those that say something
// else than before. The lock is held.
func (e *Engine) ownersNow(now, before *made, since map[mesh.Ref]int64) map[mesh.Ref]int64 {
	owned := map[mesh.Ref]int64{}
	if now == nil || now.view == nil {
		return owned
	}
	for _, o := range view.Owners(now.view) {
		if o.Origin != (mesh.Position{}) { // else it is a service or the like
			owned[o.Object] = since[o.Object]
		}
	}
	if len(owned) == 0 || sameBytes(before, now) {
		return owned
	}
	var was view.View
	if before != nil {
		was = before.view
	}
	for _, ref := range view.Altered(now.view, was) {
		if _, ours := owned[ref]; ours {
			owned[ref] = e.snapshot.Revision()
			e.reaches.dirty[ref] = struct{}{}
		}
	}
	return owned
}

// disown notes that an entry is gone. The lock is held.
func (e *Engine) disown(en *entry) {
	for ref := range en.owned {
		e.reaches.leave(ref, en)
	}
	en.owned = nil
	delete(e.reaches.stale, en)
}

func (r *reaches) leave(ref mesh.Ref, en *entry) {
	delete(r.by[ref], en)
	if len(r.by[ref]) == 0 {
		delete(r.by, ref)
	}
	r.dirty[ref] = struct{}{}
}

// touch notes that a proxy that counts has come to an entry or left it. The lock is held.
func (r *reaches) touch(p *Proxy, en *entry) {
	if p.settled >= 0 && len(en.owned) > 0 {
		r.stale[en] = struct{}{}
	}
}

// joins notes that a proxy counts from now on, with all that it has. It is called in the proxy's turn, with the lock held.
func (e *Engine) joins(p *Proxy) {
	if !e.reaches.on {
		return
	}
	for id := range p.slots {
		if g := e.groups[view.GroupOf(p.caller, id)]; g != nil {
			if en := g.entries[g.classes.Of(p.caller)]; en != nil {
				e.reaches.touch(p, en)
			}
		}
	}
}

// blamed notes that what proxies refuse of some objects has changed. The lock is held.
func (r *reaches) blamed(refusals []refusal) {
	for _, refused := range refusals {
		for _, o := range refused.owners {
			if r.on && o.Origin != (mesh.Position{}) {
				r.dirty[o.Object] = struct{}{}
			}
		}
	}
}

// mostVisits bounds how many subscribers are looked at while the lock is held.
const mostVisits = 20000

// Reaches counts anew where something may have changed since it was last called, and tells of which revision that is. More: not
// everything was counted yet. One that is not told of concerns nobody, or is as it was told last. There is one caller.
func (e *Engine) Reaches() (list []Reach, revision int64, more bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := &e.reaches
	if e.snapshot == nil {
		return nil, 0, false
	}
	if !r.counting { // what proxies do meanwhile counts the next time, so that it ends
		r.gather()
	}
	visits := 0
	for ref := range r.dirty {
		if visits > mostVisits {
			break
		}
		delete(r.dirty, ref)
		now, visited := e.reach(ref)
		visits += visited + 1
		if delete(r.open, ref); now.Confirmed < now.Concerned {
			r.open[ref] = struct{}{}
		}
		list = append(list, Reach{ref, now})
	}
	slices.SortFunc(list, func(a, b Reach) int { return a.Object.Compare(b.Object) })
	r.counting = len(r.dirty) > 0
	return list, e.snapshot.Revision(), r.counting
}

// gather has those counted for which proxies have come or left, or may have confirmed something. The lock is held.
func (r *reaches) gather() {
	for en := range r.stale {
		for ref := range en.owned {
			r.dirty[ref] = struct{}{}
		}
	}
	clear(r.stale)
	if r.moved {
		maps.Copy(r.dirty, r.open)
		r.moved = false
	}
}

// reach counts the proxies that have something that came of an object, and those of them that have confirmed it. The lock is held.
func (e *Engine) reach(ref mesh.Ref) (now mesh.Reach, visits int) {
	has := map[mesh.ProxyID]bool{}
	for en := range e.reaches.by[ref] {
		since := en.owned[ref]
		for p := range en.subscribers {
			visits++
			if p.settled < 0 || p.evicted {
				continue // it has not said yet what it has
			}
			confirmed, known := has[p.id]
			has[p.id] = (confirmed || !known) && p.settled >= since && !p.refuses(ref)
		}
	}
	for _, confirmed := range has {
		now.Concerned++
		if confirmed {
			now.Confirmed++
		}
	}
	return now, visits
}

// refuses tells whether the proxy has not taken something for the sake of an object. The engine's lock is held.
func (p *Proxy) refuses(ref mesh.Ref) bool {
	return slices.ContainsFunc(p.notTaken, func(r refusal) bool {
		return slices.ContainsFunc(r.owners, func(o view.Owner) bool { return o.Object == ref })
	})
}
