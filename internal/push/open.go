package push

import (
	"context"
	"math"
	"net/netip"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lateen-mesh/lateen/internal/identity"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/view"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// Open finds the proxy that a peer is: the one whose workload its certificate speaks for, whatever else it says; where there
// is no certificate, the one that it says. It waits until the snapshot is there and holds the proxy's workload: a proxy
// never gets less than the whole.
func (e *Engine) Open(ctx context.Context, peer xds.Peer) (xds.Client, error) {
	n, err := mesh.ParseNode(peer.Node.GetId())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if id := peer.Identity; id != nil && id.Workload != string(n.ID()) {
		return nil, status.Errorf(codes.PermissionDenied, "the node id says %s, the certificate is that of %s", n.ID(), nameOf(id))
	}
	e.waiting.Add(1)
	defer e.waiting.Add(-1)
	for waits := false; ; {
		p, changed, err := e.admit(n, peer)
		if err != nil {
			return nil, err
		}
		if p != nil {
			e.counters.Opened.Add(string(p.typ), 1)
			e.config.Log.Info("proxy connected", "proxy", string(p.id))
			return p, nil
		}
		if !waits {
			waits = true
			defer e.strange(n, peer)()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, status.FromContextError(ctx.Err()).Err()
		}
	}
}

// nameOf names whom a certificate speaks for.
func nameOf(id *identity.Peer) string {
	if id.Workload == "" {
		return id.ID.String() + ", and of no workload"
	}
	return id.Workload + ", " + id.ID.String()
}

// prove returns an error unless the certificate is the workload's, and what the node id says of it is true.
func prove(n mesh.Node, w *mesh.Workload, id *identity.Peer, realm mesh.Realm) error {
	want := realm.IdentityOf(w.Namespace, w.Account)
	if want == "" {
		return status.Errorf(codes.PermissionDenied, "%s has no account here, its certificate says %s", w.ID(), id.ID)
	}
	if id.ID.String() != want {
		return status.Errorf(codes.PermissionDenied, "%s is %s here, its certificate says %s", w.ID(), want, id.ID)
	}
	if address := id.Address; address.IsValid() && !w.HasAddress(address) {
		return status.Errorf(codes.PermissionDenied, "%s has the address %s, its certificate says %s", w.ID(), w.Address, address)
	}
	if n.Type != w.Type {
		return status.Errorf(codes.PermissionDenied, "%s is of type %s, the node id says %s", w.ID(), w.Type, n.Type)
	}
	if a, err := netip.ParseAddr(n.Address); err != nil || !w.HasAddress(a) {
		return status.Errorf(codes.PermissionDenied, "%s has the address %s, the node id says %s", w.ID(), w.Address, n.Address)
	}
	return nil
}

// callerOf returns the facts about the proxy of a workload, which has connected with a certificate or without.
func callerOf(w *mesh.Workload, plain bool) view.Caller {
	c := view.CallerOf(w)
	c.Plain = c.Plain || plain
	return c
}

// admit makes the proxy for a node, or returns what to wait for.
func (e *Engine) admit(n mesh.Node, peer xds.Peer) (*Proxy, <-chan struct{}, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.snapshot == nil {
		return nil, e.changed, nil
	}
	w := e.snapshot.Workload(n.ID())
	proven := ""
	if w != nil && peer.Identity != nil {
		if err := prove(n, w, peer.Identity, e.snapshot.Realm()); err != nil {
			return nil, nil, err
		}
		proven = peer.Identity.ID.String()
	}
	if w == nil || w.Type != n.Type {
		return nil, e.changed, nil
	}
	caller := callerOf(w, peer.Identity == nil)
	p := &Proxy{
		dirty:     map[*entry]struct{}{},
		wake:      make(chan struct{}, 1),
		settled:   -1,
		busy:      true,
		questions: make(chan func(), maxQuestions),
		since:     time.Now(),
		proven:    proven,
		engine:    e,
		id:        n.ID(),
		typ:       n.Type,
		habits:    habitsOf(w, peer.Only),
		own:       ownOf(w),
		slots:     map[view.ID]*slot{},
		behind:    slotsByKind{},
		stuck:     map[view.ID]struct{}{},
		unknown:   map[view.ID]struct{}{},
		sore:      map[view.ID]struct{}{},
		extra:     map[view.ID]struct{}{},
		gone:      map[view.Kind][]string{},
		greet:     map[view.Kind]bool{},
		leaving:   map[view.Kind]int64{},
		left:      map[int64]int64{},
		bridges:   map[view.ID]struct{}{},
		lists:     map[view.Kind]map[view.ID]struct{}{},
		held:      map[view.Kind]int{},
		now:       time.Now,
	}
	p.setCaller(caller)
	p.seat = &seat{p}
	e.proxies[p] = struct{}{}
	if e.byID[p.id] == nil {
		e.byID[p.id] = map[*Proxy]struct{}{}
	}
	e.byID[p.id][p] = struct{}{}
	e.news.tell()
	return p, nil, nil
}

// ownOf returns the resources that the proxy of a workload has whatever it calls.
func ownOf(w *mesh.Workload) map[view.ID]struct{} {
	own := map[view.ID]struct{}{}
	for _, id := range view.Own(w) {
		own[id] = struct{}{}
	}
	return own
}

// forget ends everything that the engine knows of a proxy: its subscriptions, and of which of them its scope has learned.
func (e *Engine) forget(p *Proxy, subscriptions, learned []view.ID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, id := range subscriptions {
		e.remove(p, id)
	}
	now := time.Now()
	for _, id := range learned {
		e.unlearn(p, id, now)
	}
	delete(e.proxies, p)
	delete(e.scopes.readers, p)
	p.seat.proxy = nil
	delete(e.byID[p.id], p)
	if len(e.byID[p.id]) == 0 {
		delete(e.byID, p.id)
	}
	e.miss(p.id)
	e.news.tell()
	if e.progress.arrive(p, math.MaxInt64) {
		e.signal()
	}
	e.counters.Closed.Add(string(p.typ), 1)
	e.config.Log.Info("proxy disconnected", "proxy", string(p.id))
}

// mark tells the proxy that a resource of its changed. The engine's lock is held.
func (p *Proxy) mark(en *entry) {
	p.dirty[en] = struct{}{}
	p.rouse()
}

// rouse has the proxy's stream look what there is to send. The engine's lock is held.
func (p *Proxy) rouse() {
	if p.evicted {
		return
	}
	select {
	case p.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// end ends the proxy's stream, since it asks and does not take the answers.
func (p *Proxy) end() {
	p.engine.mu.Lock()
	defer p.engine.mu.Unlock()
	if !p.evicted {
		p.engine.config.Log.Warn("proxy asks and does not take the answers: its stream ends", "proxy", string(p.id))
	}
	p.evict()
}

// evict ends the proxy's stream. The engine's lock is held.
func (p *Proxy) evict() {
	if !p.evicted {
		p.evicted = true
		p.settled = -1 // as what it is now
		close(p.wake)
	}
}
