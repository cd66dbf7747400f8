package push

import (
	"maps"
	"slices"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/view"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// grown is what a proxy is from its next turn on: its workload serves more than before.
type grown struct {
	caller view.Caller
	own    map[view.ID]struct{}
}

// moveProxies has proxies know that their workload is another one now. One that only serves more takes that on its stream; the streams
// of all others end, and they come back as what they are. The lock is held.
func (e *Engine) moveProxies(id mesh.ProxyID, concerned map[*Proxy]struct{}) {
	w := e.snapshot.Workload(id)
	if w == nil {
		for resource := range e.rejected.by[id] {
			e.rejected.remove(id, resource)
		}
	}
	for p := range e.byID[id] {
		if w == nil {
			p.evict()
			continue
		}
		now := grown{callerOf(w, p.caller.Plain), ownOf(w)}
		same := now.caller.Key() == p.callerKey && maps.Equal(now.own, p.own)
		switch {
		case same:
			p.grown = nil
		case p.growsTo(now):
			p.grown = &now
			p.rouse()
			concerned[p] = struct{}{}
			e.counters.Marks.Add(1)
		default:
			p.evict()
		}
	}
}

// growsTo tells whether a proxy only serves more than before.
func (p *Proxy) growsTo(now grown) bool {
	facts := now.caller
	facts.Serves = p.caller.Serves
	if p.walks || facts.Key() != p.callerKey {
		return false
	}
	for id := range p.own {
		if _, kept := now.own[id]; !kept {
			return false
		}
	}
	return !slices.ContainsFunc(p.caller.Serves, func(s view.Served) bool { return !slices.Contains(now.caller.Serves, s) })
}

// grow makes a proxy what it has grown to: among callers, and among those whose next replica learns from it. The lock is held, and it
// is the proxy's turn. It tells whether it has grown.
func (e *Engine) grow(p *Proxy) bool {
	if p.grown == nil {
		return false
	}
	now, before, at := *p.grown, p.caller, time.Now()
	p.grown = nil
	for id, s := range p.slots {
		if s.learned {
			e.unlearn(p, id, at)
		}
	}
	p.own = now.own
	p.setCaller(now.caller)
	for id, s := range p.slots {
		if s.learned {
			name, _ := spelled(id)
			s.learned = e.learned.ask(p, name, at)
		}
		e.reclass(p, id, before)
	}
	return true
}

// reclass makes a proxy that was another caller before a subscriber of what callers like it get. The lock is held.
func (e *Engine) reclass(p *Proxy, id view.ID, before view.Caller) {
	g := e.groups[view.GroupOf(p.caller, id)]
	if g == nil {
		return
	}
	was := g.entries[g.classes.Of(before)]
	if was == nil || g.classes.Of(p.caller) == was.class {
		return
	}
	en := e.entryOf(g, p.caller, was)
	en.subscribers[p] = struct{}{}
	e.reaches.touch(p, en)
	_, dirty := p.dirty[was]
	if dirty || !sameBytes(was.made, en.made) {
		p.dirty[en] = struct{}{}
		en.changed = e.began.UnixNano()
	}
	e.leaveEntry(p, was)
}

// setCaller notes the facts about a proxy.
func (p *Proxy) setCaller(c view.Caller) {
	p.caller, p.callerKey = c, c.Key()
	p.scope = scopeOf(c)
	p.scopeKey = p.scope.Key()
	p.scopeName = p.scopeKey[:scopeSize]
}

// holdOwn makes the proxy a subscriber of those of its own resources that have come since it asked for their kinds.
func (p *Proxy) holdOwn(session *xds.Session) {
	for id := range p.own {
		if _, held := p.slots[id]; !held && session.Opened(typeOf[id.Kind]) {
			p.hold(id, "")
		}
	}
}
