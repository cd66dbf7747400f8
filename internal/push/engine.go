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
	"sync"
	"sync/atomic"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/view"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// Config is what an Engine is made with.
type Config struct {
	Log   *slog.Logger
	Grace time.Duration // how long a proxy keeps what nothing leads to any more; 0: 10 s
	Uses  []Use         // what was learned before
	// Learned is called when there is something new to learn, with the engine locked; nil: nobody wants to know.
	Learned func()
	// Rejected is what proxies refused before; Refused is called when that changes, with the engine locked, or nil.
	Rejected []Rejected
	Refused  func()
	// Reaches has it known which proxies have what came of an object ([Engine.Reaches]).
	Reaches bool
	// Alter changes the bytes of each resource that is made: so that a test has what no object can say and a proxy
	// refuses. nil: nothing is changed.
	Alter func(*xds.Resource)
}

const (
	defaultGrace = 10 * time.Second
	// maxHosts bounds the virtual hosts that one proxy may hold. Further names are answered and forgotten.
	maxHosts = 4096
	// maxTold is of how many virtual hosts on names that lead nowhere are answered with nothing, upon which Envoy says 404: its
	// work for a virtual host grows with those that it has, and who calls so many unknown names reads no answers.
	maxTold = 256
	// quietVersion is the version of such an answer.
	quietVersion = "quiet"
	// maxWaiting bounds the names that wait for an answer since the proxy does not take the answers to others.
	maxWaiting = 2 * maxHosts
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
	waiting  atomic.Int64 // streams of proxies whose workload is not known

	mu        sync.Mutex
	snapshot  *mesh.Snapshot // nil until the first Apply
	began     time.Time      // when the last Apply did
	groups    map[view.Group]*group
	readers   map[mesh.Key]map[reader]struct{}
	made      map[madeKey]*made
	proxies   map[*Proxy]struct{}
	byID      map[mesh.ProxyID]map[*Proxy]struct{}
	progress  *progress
	learned   learned
	scopes    scopes
	rejected  rejected
	strangers map[*stranger]struct{}     // streams of proxies whose workload is not known
	absent    map[mesh.ProxyID]time.Time // running proxies that are not connected, and since when
	elsewhere map[mesh.ProxyID]bool      // those that are connected to another replica
	secured   map[mesh.Host]time.Time    // when how the ports of a host are secured changed last
	changed   chan struct{}              // closed and replaced whenever something that others wait for happens
	news      news
	reaches   reaches
}

// NewEngine returns an engine without a snapshot: proxies wait for the first [Engine.Apply].
func NewEngine(c Config) *Engine {
	if c.Grace == 0 {
		c.Grace = defaultGrace
	}
	return &Engine{
		config:    c,
		counters:  newCounters(),
		groups:    map[view.Group]*group{},
		readers:   map[mesh.Key]map[reader]struct{}{},
		made:      map[madeKey]*made{},
		proxies:   map[*Proxy]struct{}{},
		byID:      map[mesh.ProxyID]map[*Proxy]struct{}{},
		progress:  newProgress(),
		strangers: map[*stranger]struct{}{},
		scopes:    newScopes(),
		learned:   newLearned(c.Uses, c.Learned),
		rejected:  newRejected(c.Rejected, c.Refused),
		absent:    map[mesh.ProxyID]time.Time{},
		secured:   map[mesh.Host]time.Time{},
		changed:   make(chan struct{}),
		reaches:   newReaches(c.Reaches),
		news:      news{epoch: time.Now().UnixMilli()},
	}
}

// Counters returns the engine's counters.
func (e *Engine) Counters() *Counters { return &e.counters }

// Apply makes the snapshot the current one. The keys name the parts in which it differs from the one before.
func (e *Engine) Apply(s *mesh.Snapshot, keys []mesh.Key) {
	began := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.noteStances(s, keys)
	e.snapshot, e.began = s, began
	entries, groups := map[*entry]struct{}{}, map[*group]struct{}{}
	concerned := map[*Proxy]struct{}{}
	for _, k := range keys {
		for r := range e.readers[k] {
			switch r := r.(type) {
			case *entry:
				entries[r] = struct{}{}
			case *group:
				groups[r] = struct{}{}
			}
		}
		if k.Kind == mesh.KindWorkload {
			e.moveProxies(mesh.ProxyID(k.Name), concerned)
			e.miss(mesh.ProxyID(k.Name))
		}
	}
	for g := range groups {
		e.regroup(g, concerned)
	}
	var turned []*entry // scopes, which all captured workloads have alike
	for en := range entries {
		if en.group.entries[en.class] != en {
			continue // its group was divided anew
		}
		before := en.made
		if e.cut(en); sameBytes(before, en.made) {
			continue
		}
		if en.group.key.ID.Kind == view.KindScope {
			turned = append(turned, en)
		}
		for p := range en.subscribers {
			e.mark(p, en, concerned)
		}
	}
	if e.turnScopes(keys, turned) {
		for p := range e.scopes.readers {
			p.scoped = true
			p.rouse()
			concerned[p] = struct{}{}
			e.counters.Marks.Add(1)
		}
	}
	for p := range concerned {
		p.marked = s.Revision()
	}
	e.progress.add(s.Revision(), concerned)
	e.signal()
	e.news.tell()
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

// take returns the resources of the proxy that changed since it last asked, as they are now (nil: gone), whether it has grown, whether
// scopes have changed, and the revision that all that belongs to.
func (e *Engine) take(p *Proxy) (changed map[view.ID]*made, grew, scoped bool, revision int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	grew = e.grow(p)
	scoped, p.scoped = p.scoped, false
	changed = make(map[view.ID]*made, len(p.dirty))
	for en := range p.dirty {
		changed[en.group.key.ID] = en.made
		if s, ok := p.slots[en.group.key.ID]; ok {
			s.changed = en.changed
		}
	}
	clear(p.dirty)
	return changed, grew, scoped, e.snapshot.Revision()
}
