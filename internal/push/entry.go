package push

import (
	"slices"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/plan"
	"github.com/lateen-mesh/lateen/internal/view"
)

// group is one resource for the callers that nothing but rules and policies can tell apart. In most groups nothing does,
// and there is one entry.
type group struct {
	key     view.Group
	classes view.Classes
	reads   []mesh.Key
	entries map[string]*entry // by class
}

// entry is one resource that proxies subscribe to, for one class of callers.
type entry struct {
	group       *group
	class       string
	caller      view.Caller // any one of them: they all get the same
	reads       []mesh.Key
	made        *made              // nil: there is no such resource now
	changed     int64              // when a change made it what it is, in ns
	owned       map[mesh.Ref]int64 // objects that have a say in it, and the revision that last changed what they say there
	subscribers map[*Proxy]struct{}
}

// reader is an [*entry] or a [*group]: what depends on parts of the snapshot.
type reader interface{ read() *[]mesh.Key }

func (g *group) read() *[]mesh.Key  { return &g.reads }
func (en *entry) read() *[]mesh.Key { return &en.reads }

// subscribe makes the proxy a subscriber of the resource and returns the resource as it is now, or nil, and its name in the
// memory that all subscribers share.
func (e *Engine) subscribe(p *Proxy, id view.ID) (*made, view.ID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	g := e.groupOf(view.GroupOf(p.caller, id))
	en := e.entryOf(g, p.caller, nil)
	en.subscribers[p] = struct{}{}
	e.reaches.touch(p, en)
	return en.made, g.key.ID
}

// groupOf finds or makes a group. The lock is held.
func (e *Engine) groupOf(key view.Group) *group {
	g := e.groups[key]
	if g == nil {
		key.ID.Name = strings.Clone(key.ID.Name) // else it keeps the whole request in memory
		g = &group{key: key, entries: map[string]*entry{}}
		classes, reads := view.ClassesOf(e.snapshot, key)
		g.classes = classes
		e.index(g, reads)
		e.groups[key] = g
	}
	return g
}

// entryOf finds or makes the entry of a group for a caller, which has had another one until now, or none (nil). The lock
// is held.
func (e *Engine) entryOf(g *group, c view.Caller, before *entry) *entry {
	class := g.classes.Of(c)
	en := g.entries[class]
	if en == nil {
		en = &entry{group: g, class: class, caller: c.Project(g.key.ID), subscribers: map[*Proxy]struct{}{}}
		g.entries[class] = en
		var since map[mesh.Ref]int64
		if before != nil {
			since = before.owned
			if before.made != nil {
				before.made.uses++
				en.made = before.made // which stays if nothing new can be made
			}
		}
		e.cutSince(en, since)
	}
	return en
}

// unsubscribe ends a subscription, and what the scope has learned from it.
func (e *Engine) unsubscribe(p *Proxy, id view.ID, learned bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if learned {
		e.unlearn(p, id, time.Now())
	}
	e.remove(p, id)
}

// remove takes a proxy off the subscribers of a resource. The lock is held.
func (e *Engine) remove(p *Proxy, id view.ID) {
	g := e.groups[view.GroupOf(p.caller, id)]
	if g == nil {
		return
	}
	if en := g.entries[g.classes.Of(p.caller)]; en != nil {
		e.leaveEntry(p, en)
	}
	if len(g.entries) == 0 {
		e.index(g, nil)
		delete(e.groups, g.key)
	}
}

// leaveEntry takes a proxy off the subscribers of an entry, which goes with the last of them. The lock is held.
func (e *Engine) leaveEntry(p *Proxy, en *entry) {
	delete(en.subscribers, p)
	delete(p.dirty, en)
	e.reaches.touch(p, en)
	if len(en.subscribers) == 0 && en.group.key.ID.Kind != view.KindScope { // which are there for all
		e.drop(en)
		delete(en.group.entries, en.class)
	}
}

// drop forgets an entry. The lock is held.
func (e *Engine) drop(en *entry) {
	e.index(en, nil)
	e.disown(en)
	e.release(en.made)
}

// regroup divides the subscribers of a group anew, if what tells them apart has changed. The lock is held.
func (e *Engine) regroup(g *group, concerned map[*Proxy]struct{}) {
	classes, reads := view.ClassesOf(e.snapshot, g.key)
	e.index(g, reads)
	if classes.Equal(g.classes) {
		return
	}
	before := g.entries
	g.classes, g.entries = classes, map[string]*entry{}
	for _, old := range before {
		for p := range old.subscribers {
			en := e.entryOf(g, p.caller, old)
			en.subscribers[p] = struct{}{}
			e.reaches.touch(p, en)
			_, dirty := p.dirty[old]
			delete(p.dirty, old)
			if dirty || !sameBytes(old.made, en.made) {
				e.mark(p, en, concerned)
			}
		}
	}
	for _, old := range before {
		e.drop(old)
	}
}

// mark tells a proxy that a resource of its changed. The lock is held.
func (e *Engine) mark(p *Proxy, en *entry, concerned map[*Proxy]struct{}) {
	en.changed = e.began.UnixNano()
	p.mark(en)
	concerned[p] = struct{}{}
	e.counters.Marks.Add(1)
}

// cut cuts the entry's view anew and makes the resource, unless one is known for an equal view. The lock is held.
func (e *Engine) cut(en *entry) { e.cutSince(en, en.owned) }

// cutSince is the same for an entry in which objects say what they do since some revisions. The lock is held.
func (e *Engine) cutSince(en *entry, since map[mesh.Ref]int64) {
	id := en.group.key.ID
	e.counters.Cuts.Add(string(id.Kind), 1)
	began := time.Now()
	v, reads := view.Cut(e.snapshot, en.caller, id)
	e.index(en, reads)
	m, err := e.make(id.Kind, v)
	e.counters.built(id.Kind, m, time.Since(began))
	if err != nil {
		// Objects are checked before they get here, so this is a mistake of ours. Proxies keep what they have, and
		// requests of those that have nothing yet are told.
		e.config.Log.Error("make resource", "resource", id.String(), "err", err)
		if en.made == nil && id.Kind == view.KindVirtualHost {
			if m, err := makeResource(plan.CannotMake(id.Name)); err == nil {
				en.made = m
			}
		}
		return
	}
	before := en.made
	en.made = m
	e.own(en, before, since)
	e.release(before)
}

// index replaces the keys that lead to an entry or group. The lock is held.
func (e *Engine) index(r reader, reads []mesh.Key) {
	before := r.read()
	if slices.Equal(*before, reads) {
		return
	}
	for _, k := range *before {
		delete(e.readers[k], r)
		if len(e.readers[k]) == 0 {
			delete(e.readers, k)
		}
	}
	for _, k := range reads {
		if e.readers[k] == nil {
			e.readers[k] = map[reader]struct{}{}
		}
		e.readers[k][r] = struct{}{}
	}
	*before = reads
}
