// Package push decides what each proxy is sent, and in which order.
//
// The [Engine] holds the current snapshot and every resource that some proxy subscribes to. A resource is made by
// cutting a view, and made once for all proxies with the same view. A reverse index leads from the parts of the
// snapshot that a cut looked for, found or not, to the resources; a subscription index from the resources to the
// proxies. So the cost of a change is that of the views that read it and of their subscribers, whatever else the mesh
// holds; [Counters] prove it.
//
// A [Proxy] is one connected proxy. It takes the newest state whenever its stream has room, makes before it breaks
// (cluster, endpoints, their confirmation, then what leads there), and drops what nothing leads to after a grace.
package push

import (
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/plan"
	"github.com/lateen-mesh/lateen/internal/view"
)

// Config is what an Engine is made with.
type Config struct {
	Log   *slog.Logger
	Grace time.Duration // how long a proxy keeps what nothing leads to any more; 0: 10 s
	Uses  []Use         // what was learned before
}

const (
	defaultGrace = 10 * time.Second
	// maxHosts bounds the virtual hosts that one proxy may hold. Further names are answered and forgotten.
	maxHosts = 4096
	// spareEndpoints is how many more endpoints than clusters a proxy may ask for, as when clusters are just removed.
	spareEndpoints = 256
	// unheldVersion is the version of answers that nobody keeps, by which they are known when a proxy brings them back.
	unheldVersion = "unheld"
	// keptRevisions bounds for how many past revisions their progress can be asked.
	keptRevisions = 1024
)

// Engine holds the current snapshot and the resources that proxies subscribe to. Its methods may be called from any goroutine.
type Engine struct {
	config   Config
	counters Counters

	mu       sync.Mutex
	snapshot *mesh.Snapshot // nil until the first Apply
	entries  map[entryKey]*entry
	readers  map[mesh.Key]map[*entry]struct{}
	made     map[madeKey]*made
	proxies  map[*Proxy]struct{}
	byID     map[mesh.ProxyID]map[*Proxy]struct{}
	progress *progress
	learned  learned
	absent   map[mesh.ProxyID]time.Time // running proxies that are not connected, and since when
	changed  chan struct{}              // closed and replaced whenever something that others wait for happens
}

// Counters count the work of an Engine since it was made.
type Counters struct {
	Cuts  atomic.Int64 // views cut
	Makes atomic.Int64 // resources made from a view that was not known
	Sends atomic.Int64 // resources put into responses
	Bytes atomic.Int64 // of those resources
	Marks atomic.Int64 // proxies told that a resource of theirs changed
}

// entryKey names a resource for all proxies that agree in the facts which its view may read.
type entryKey struct {
	caller string
	id     view.ID
}

// entry is one resource that proxies subscribe to.
type entry struct {
	key         entryKey
	caller      view.Caller
	reads       []mesh.Key
	made        *made // nil: there is no such resource now
	subscribers map[*Proxy]struct{}
}

// NewEngine returns an engine without a snapshot: proxies wait for the first [Engine.Apply].
func NewEngine(c Config) *Engine {
	if c.Grace == 0 {
		c.Grace = defaultGrace
	}
	return &Engine{
		config:   c,
		entries:  map[entryKey]*entry{},
		readers:  map[mesh.Key]map[*entry]struct{}{},
		made:     map[madeKey]*made{},
		proxies:  map[*Proxy]struct{}{},
		byID:     map[mesh.ProxyID]map[*Proxy]struct{}{},
		progress: newProgress(),
		learned:  newLearned(c.Uses),
		absent:   map[mesh.ProxyID]time.Time{},
		changed:  make(chan struct{}),
	}
}

// Counters returns the engine's counters.
func (e *Engine) Counters() *Counters { return &e.counters }

// Apply makes the snapshot the current one. The keys name the parts in which it differs from the one before.
func (e *Engine) Apply(s *mesh.Snapshot, keys []mesh.Key) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.snapshot = s
	affected := map[*entry]struct{}{}
	for _, k := range keys {
		for en := range e.readers[k] {
			affected[en] = struct{}{}
		}
		if k.Kind == mesh.KindWorkload {
			e.moveProxies(mesh.ProxyID(k.Name))
			e.miss(mesh.ProxyID(k.Name))
		}
	}
	concerned := map[*Proxy]struct{}{}
	for en := range affected {
		before := en.made
		e.cut(en)
		if en.made == before || (en.made != nil && before != nil && en.made.resource.Version == before.resource.Version) {
			continue
		}
		for p := range en.subscribers {
			p.mark(en)
			concerned[p] = struct{}{}
			e.counters.Marks.Add(1)
		}
	}
	for p := range concerned {
		p.marked = s.Revision()
	}
	e.progress.add(s.Revision(), concerned)
	e.signal()
}

// moveProxies ends the streams of proxies whose workload is another one now: they come back as what they are.
func (e *Engine) moveProxies(id mesh.ProxyID) {
	w := e.snapshot.Workload(id)
	for p := range e.byID[id] {
		if w == nil || view.CallerOf(w).Key() != p.callerKey || !maps.Equal(p.own, ownOf(w)) {
			p.evict()
		}
	}
}

// miss notes whether a proxy that runs is not connected, or has not taken its configuration yet. The lock is held.
func (e *Engine) miss(id mesh.ProxyID) {
	w := e.snapshot.Workload(id)
	for p := range e.byID[id] {
		if p.settled >= 0 {
			w = nil
		}
	}
	_, missed := e.absent[id]
	switch {
	case w == nil || !w.Running:
		delete(e.absent, id)
	case !missed:
		e.absent[id] = time.Now()
	}
}

// signal wakes everybody who waits for a change. The lock is held.
func (e *Engine) signal() {
	close(e.changed)
	e.changed = make(chan struct{})
}

// subscribe makes the proxy a subscriber of the resource and returns the resource as it is now, or nil.
func (e *Engine) subscribe(p *Proxy, id view.ID) *made {
	e.mu.Lock()
	defer e.mu.Unlock()
	en := e.entry(p.caller, id)
	en.subscribers[p] = struct{}{}
	return en.made
}

// entry finds or makes the entry for a resource. The lock is held.
func (e *Engine) entry(c view.Caller, id view.ID) *entry {
	c = c.Project(id)
	key := entryKey{c.Key(), id}
	en, ok := e.entries[key]
	if !ok {
		en = &entry{key: key, caller: c, subscribers: map[*Proxy]struct{}{}}
		e.entries[key] = en
		e.cut(en)
	}
	return en
}

// unsubscribe ends a subscription.
func (e *Engine) unsubscribe(p *Proxy, id view.ID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if en, ok := e.entries[entryKey{p.caller.Project(id).Key(), id}]; ok {
		delete(en.subscribers, p)
		delete(p.dirty, en)
		e.dropUnused(en)
	}
}

// dropUnused forgets an entry that nobody subscribes to. The lock is held.
func (e *Engine) dropUnused(en *entry) {
	if len(en.subscribers) > 0 {
		return
	}
	e.index(en, nil)
	e.release(en.made)
	delete(e.entries, en.key)
}

// cut cuts the entry's view anew and makes the resource, unless one is known for an equal view. The lock is held.
func (e *Engine) cut(en *entry) {
	e.counters.Cuts.Add(1)
	v, reads := view.Cut(e.snapshot, en.caller, en.key.id)
	e.index(en, reads)
	m, err := e.make(v)
	if err != nil {
		// Objects are checked before they get here, so this is a mistake of ours. Proxies keep what they have, and
		// requests of those that have nothing yet are told.
		e.config.Log.Error("make resource", "resource", en.key.id.String(), "err", err)
		if en.made == nil && en.key.id.Kind == view.KindVirtualHost {
			if m, err := makeResource(plan.CannotMake(en.key.id.Name)); err == nil {
				en.made = m
			}
		}
		return
	}
	e.release(en.made)
	en.made = m
}

// index replaces the keys that lead to the entry. The lock is held.
func (e *Engine) index(en *entry, reads []mesh.Key) {
	if slices.Equal(en.reads, reads) {
		return
	}
	for _, k := range en.reads {
		delete(e.readers[k], en)
		if len(e.readers[k]) == 0 {
			delete(e.readers, k)
		}
	}
	for _, k := range reads {
		if e.readers[k] == nil {
			e.readers[k] = map[*entry]struct{}{}
		}
		e.readers[k][en] = struct{}{}
	}
	en.reads = reads
}

// take returns the resources of the proxy that changed since it last asked, as they are now (nil: gone), and the
// revision that they belong to.
func (e *Engine) take(p *Proxy) (map[view.ID]*made, int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	changed := make(map[view.ID]*made, len(p.dirty))
	for en := range p.dirty {
		changed[en.key.id] = en.made
	}
	clear(p.dirty)
	return changed, e.snapshot.Revision()
}
