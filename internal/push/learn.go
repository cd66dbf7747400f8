package push

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/view"
)

// Bounds of what is learned.
const (
	maxLearned = 256                // names of a scope: the longest unused one makes room
	maxScopes  = 4096               // scopes: likewise
	keptUnused = 7 * 24 * time.Hour // after which a new proxy is not given a name any more
)

// Use is what the proxies of a scope have asked for: their next replica is given it at once. A name stays as long as a
// proxy lives that asked for it by itself, and for a week after; a proxy that was given a name says nothing by having it.
type Use struct {
	Scope view.Caller `json:"scope"`
	Names []UsedName  `json:"names"` // sorted by name
}

// UsedName is one host as callers spell it, "reviews:9080".
type UsedName struct {
	Name  string    `json:"name"`
	Asked time.Time `json:"asked"` // when a proxy asked for it last, or had asked and was still there
}

// learned holds what the scopes use. The engine's lock guards it.
type learned struct {
	scopes map[string]*scopeUse
	tell   func() // called when there is something new to be kept; nil: nobody wants to know
}

type scopeUse struct {
	scope view.Caller
	names map[string]*usedName
	alive int // names that proxies use which are still there
}

type usedName struct {
	asked time.Time // when last, but for those who live
	live  int       // proxies that asked for it and are still there
}

// newLearned takes up what was kept.
func newLearned(kept []Use, tell func()) learned {
	l := learned{map[string]*scopeUse{}, tell}
	for _, u := range kept[:min(len(kept), maxScopes)] {
		s := &scopeUse{scope: u.Scope, names: map[string]*usedName{}}
		for _, n := range u.Names[:min(len(u.Names), maxLearned)] {
			if view.VirtualHostOf(n.Name).Nameable() {
				s.names[n.Name] = &usedName{asked: n.Asked}
			}
		}
		l.scopes[u.Scope.Key()] = s
	}
	return l
}

// last returns when the name was in use last.
func (n *usedName) last(now time.Time) time.Time {
	if n.live > 0 {
		return now
	}
	return n.asked
}

// last returns when anything of the scope was in use last.
func (s *scopeUse) last(now time.Time) time.Time {
	var last time.Time
	for _, n := range s.names {
		if at := n.last(now); at.After(last) {
			last = at
		}
	}
	return last
}

// scopeOf returns what the scope of a proxy uses, or nil when there are too many scopes that are in use.
func (l *learned) scopeOf(p *Proxy, now time.Time) *scopeUse {
	s := l.scopes[p.scopeKey]
	if s != nil {
		return s
	}
	if len(l.scopes) >= maxScopes {
		oldest := slices.MinFunc(slices.Collect(maps.Keys(l.scopes)), func(a, b string) int {
			return l.scopes[a].last(now).Compare(l.scopes[b].last(now))
		})
		if l.scopes[oldest].alive > 0 {
			return nil
		}
		delete(l.scopes, oldest)
	}
	s = &scopeUse{scope: p.scope, names: map[string]*usedName{}}
	l.scopes[p.scopeKey] = s
	return s
}

// ask notes that a proxy asked for a name, and tells whether that counts: a scope that is full of names which living
// proxies use takes no more.
func (l *learned) ask(p *Proxy, name string, now time.Time) bool {
	s := l.scopeOf(p, now)
	if s == nil {
		return false
	}
	n := s.names[name]
	if n == nil {
		if len(s.names) >= maxLearned && (s.alive >= maxLearned || !s.makeRoom(now)) {
			return false
		}
		n = &usedName{}
		s.names[name] = n
		defer l.changed()
	}
	if n.live == 0 {
		s.alive++
	}
	n.asked = now
	n.live++
	return true
}

func (l *learned) changed() {
	if l.tell != nil {
		l.tell()
	}
}

// makeRoom forgets the name that is unused for the longest time, if there is one.
func (s *scopeUse) makeRoom(now time.Time) bool {
	oldest := slices.MinFunc(slices.Collect(maps.Keys(s.names)), func(a, b string) int {
		return cmp.Or(s.names[a].last(now).Compare(s.names[b].last(now)), cmp.Compare(a, b))
	})
	if s.names[oldest].live > 0 {
		return false
	}
	delete(s.names, oldest)
	return true
}

// leave notes that a proxy that asked for a name is gone.
func (l *learned) leave(p *Proxy, name string, now time.Time) {
	s := l.scopes[p.scopeKey]
	if s == nil || s.names[name] == nil || s.names[name].live == 0 {
		return
	}
	n := s.names[name]
	n.live--
	n.asked = now
	if n.live == 0 {
		s.alive--
	}
	l.changed()
}

// of returns the names that a new proxy of the scope is given, sorted.
func (l *learned) of(scope string, now time.Time) []string {
	s := l.scopes[scope]
	if s == nil {
		return nil
	}
	var names []string
	for name, n := range s.names {
		if now.Sub(n.last(now)) < keptUnused {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Uses returns what is learned, sorted, for people and to be kept over a restart.
func (e *Engine) Uses() []Use {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	uses := []Use{}
	for _, key := range slices.Sorted(maps.Keys(e.learned.scopes)) {
		s := e.learned.scopes[key]
		u := Use{Scope: s.scope}
		for _, name := range slices.Sorted(maps.Keys(s.names)) {
			if at := s.names[name].last(now); now.Sub(at) < keptUnused {
				u.Names = append(u.Names, UsedName{name, at})
			}
		}
		if len(u.Names) > 0 {
			uses = append(uses, u)
		}
	}
	return uses
}

// given returns the names that the proxy is given before it asks: those that its scope uses and those that its workload
// pins, but for those that it forbids.
func (e *Engine) given(p *Proxy) []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.givenTo(p.scopeKey, p.id)
}

// NextIsGiven returns the hosts that the next replica of a proxy's workload is given before it asks, sorted.
func (e *Engine) NextIsGiven(proxy mesh.ProxyID) []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.snapshot == nil || e.snapshot.Workload(proxy) == nil {
		return nil
	}
	return e.givenTo(scopeOf(view.CallerOf(e.snapshot.Workload(proxy))).Key(), proxy)
}

// scopeOf returns the facts that a caller shares with the replicas of its workload.
func scopeOf(c view.Caller) view.Caller { return c.Project(view.InitHost()) }

// givenTo is given for a scope, and the workload of one of its proxies. The lock is held.
func (e *Engine) givenTo(scope string, proxy mesh.ProxyID) []string {
	names := e.learned.of(scope, time.Now())
	if w := e.snapshot.Workload(proxy); w != nil {
		names = slices.DeleteFunc(names, w.Uses.Forbids)
		names = append(names, w.Uses.Pin...)
		slices.Sort(names)
		names = slices.Compact(names)
	}
	return names
}

// learn notes that a proxy asked for a host by itself. Only hosts that there are count: who asks for random names teaches
// nothing.
func (e *Engine) learn(p *Proxy, s *slot) {
	if s.want == nil || s.learned {
		return
	}
	name, ok := spelled(s.id)
	if v, isHost := s.want.view.(view.VirtualHost); !ok || (isHost && v.Protocol == "") {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if w := e.snapshot.Workload(p.id); w == nil || w.Uses.Forbids(name) {
		return
	}
	if h, port, captured := view.CapturedHost(s.id); captured {
		svc := e.snapshot.Service(h)
		if svc == nil {
			return
		}
		if _, known := svc.Port(port); !known {
			return
		}
	}
	s.learned = e.learned.ask(p, name, time.Now())
}

// spelled returns the host with its port of which routes are learned: as it is spelled, under capture by its full name.
func spelled(id view.ID) (string, bool) {
	if h, port, ok := view.CapturedHost(id); ok {
		return fmt.Sprintf("%s:%d", h, port), true
	}
	return view.HostOf(id)
}

// wishes tells whether the proxy asks for such a resource since its workload calls, and not since it was told to.
func (p *Proxy) wishes(id view.ID) bool {
	h, port, captured := view.CapturedHost(id)
	if !captured {
		return id.Kind == view.KindVirtualHost
	}
	return !slices.ContainsFunc(p.engine.scopesCalled(p, fmt.Sprintf("%s:%d", h, port)), func(scope view.ID) bool {
		_, pressed := p.scopes.pressed[scope.Name]
		return pressed
	})
}

// unlearn notes that the proxy is gone, or does not want the host any more. The lock is held.
func (e *Engine) unlearn(p *Proxy, id view.ID, now time.Time) {
	name, _ := spelled(id)
	e.learned.leave(p, name, now)
}
