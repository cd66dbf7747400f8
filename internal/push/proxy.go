package push

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/view"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// Proxy is one stream's proxy: what it has, what it is to have, and the order in between. It is an [xds.Client]; the
// fields of the first group belong to the engine and its lock, all others to the stream's goroutine.
type Proxy struct {
	seat     *seat
	dirty    map[*entry]struct{}
	scoped   bool  // some scope has changed
	scopesAt int64 // how far it was told of scopes
	wake     chan struct{}
	evicted  bool
	marked   int64             // revision of the last change that concerned it
	marks    []int64           // revisions that concern it and that it has neither confirmed nor refused
	settled  int64             // revision up to which it has confirmed everything
	notTaken []refusal         // what it has not taken of what it should have
	counts   map[view.Kind]int // resources by kind
	busy     bool              // something is to be sent to it, or confirmed by it
	waits    time.Time         // since when it has left the oldest of what it was sent unanswered; zero: it has answered all
	refusal  *Refusal          // its last one

	questions chan func() // for the stream's goroutine to answer
	since     time.Time
	proven    string // SPIFFE ID by which it has connected; "": without one
	scopeName string
	grown     *grown // what it becomes in its next turn; nil: nothing else
	// Written with the lock held, in the proxy's turn.
	caller    view.Caller
	callerKey string
	scope     view.Caller // the facts that it shares with the replicas of its workload
	scopeKey  string
	own       map[view.ID]struct{}

	engine *Engine
	id     mesh.ProxyID
	typ    mesh.ProxyType
	habits

	slots  map[view.ID]*slot
	behind slotsByKind // slots that may have something to send
	open   slotSet     // slots of which something may not be confirmed
	// Removals: since which revision they wait to be sent, by kind, and to be confirmed, by nonce.
	leaving map[view.Kind]int64
	left    map[int64]int64
	stuck   map[view.ID]struct{} // slots that wait for another version of a cluster that was refused
	// Routes that the proxy brought in another version than the newest: nobody knows which clusters those lead to.
	unknown  map[view.ID]struct{}
	idle     slotSet // clusters that nothing leads to
	gone     map[view.Kind][]string
	extra    map[view.ID]struct{} // virtual hosts that are too many, or names that are no hosts: answered and forgotten
	greet    map[view.Kind]bool   // to be answered even with nothing
	held     map[view.Kind]int    // slots by kind
	sore     map[view.ID]struct{} // slots of which some version was refused
	taken    int64                // revision of what was last taken from the engine
	before   int64                // the one before
	taking   bool                 // what was taken is just being noted
	back     bool                 // it has come back with what it had on an earlier stream
	begun    bool                 // it was settled once
	oldest   int64                // nonce of the oldest response that it has not answered; 0: it has answered all
	nowhere  int                  // virtual hosts that it has and that lead nowhere
	complete bool                 // it has asked for everything that its type asks for
	scopes   told
	dialled  int                                // clusters for addresses that its workload dials
	lists    map[view.Kind]map[view.ID]struct{} // of kinds of which it has asked for everything: what there is
	bridges  map[view.ID]struct{}               // slots whose newest version waits for what goes before it
	now      func() time.Time
}

var _ xds.Client = (*Proxy)(nil)

// Wake receives when there may be something to send, and is closed when the stream must end.
func (p *Proxy) Wake() <-chan struct{} { return p.wake }

// Handle takes what a request said.
func (p *Proxy) Handle(session *xds.Session, e xds.Event) {
	kind, known := kindOf[e.Type]
	if !known {
		return // a type that Lateen does not serve: Envoy goes on without it
	}
	p.engine.counters.answered(kind, e)
	var held map[string]string
	switch {
	case e.First && kind == view.KindScope:
		p.openScopes(session, e.Held)
	case e.First:
		held = e.Held.Versions()
		p.begin(kind, held)
	}
	if e.Acked != nil {
		p.acked(kind, e.Acked)
	}
	if e.Refused != nil {
		p.refused(kind, e.Refused, e.Reason)
	}
	switch {
	case kind == view.KindScope: // all are sent, whichever are asked for
	case !listed(kind):
		for _, name := range e.Unsubscribed { // first: else it seems to hold both what it lets go and what comes in its place
			p.dropped(view.ID{Kind: kind, Name: name})
		}
		for _, name := range e.Subscribed {
			id := view.ID{Kind: kind, Name: name}
			p.asked(id, held[name])
			if s, ok := p.slots[id]; ok && p.wishes(id) {
				s.wished = true
				p.engine.learn(p, s)
			}
		}
	case p.walks:
		p.walk(kind, e, held)
	case p.dials && kind == view.KindCluster:
		for _, name := range e.Subscribed {
			if id := (view.ID{Kind: kind, Name: name}); id.IsDialled() {
				p.asked(id, held[name])
			}
		}
	default: // sent whether asked for or not
	}
}

// listed tells whether a proxy may ask for everything of the kind.
func listed(kind view.Kind) bool { return kind == view.KindCluster || kind == view.KindListener }

// begin takes the first request for a kind, with what the proxy brought from an earlier stream.
func (p *Proxy) begin(kind view.Kind, held map[string]string) {
	p.back = p.back || len(held) > 0
	if kind == view.KindCluster && len(held) == 0 {
		p.engine.forgive(p) // it has started anew
	}
	if p.walks && listed(kind) {
		return // what it asks for says what it has
	}
	p.greet[kind] = len(held) == 0 && listed(kind)
	for _, name := range slices.Sorted(maps.Keys(held)) {
		id := view.ID{Kind: kind, Name: name}
		_, own := p.own[id]
		_, err := mesh.ParseSubset(name)
		switch {
		case own:
		case id.IsDialled() && kind == view.KindCluster && p.dials:
			p.asked(id, held[name])
		case kind == view.KindCluster && err == nil && p.held[kind] < mostHeld(kind):
			// Which routes lead to it is known when the proxy has asked for them again: it is kept meanwhile.
			if s := p.hold(id, held[name]); s.uses == 0 {
				p.unused(id)
			} else if s.have == "" {
				s.have, s.acked = held[name], held[name]
			}
		case kind == view.KindVirtualHost:
			p.asked(id, held[name])
		case listed(kind):
			p.gone[kind] = append(p.gone[kind], name)
		}
	}
	if kind == view.KindVirtualHost {
		p.asked(view.InitHost(), held[view.InitHost().Name])
		if len(held) == 0 {
			for _, name := range p.engine.given(p) {
				p.asked(view.VirtualHostOf(name), "")
			}
		}
	}
	for id := range p.own {
		if id.Kind == kind {
			p.hold(id, held[id.Name])
		}
	}
}

// Close ends the proxy's subscriptions.
func (p *Proxy) Close() {
	var learned []view.ID
	subscriptions := make([]view.ID, 0, len(p.slots)+len(p.lists))
	for id, s := range p.slots {
		subscriptions = append(subscriptions, id)
		if s.learned {
			learned = append(learned, id)
		}
	}
	for kind := range p.lists {
		subscriptions = append(subscriptions, view.Everything(kind))
	}
	p.engine.forget(p, subscriptions, learned)
}

// Next returns what is to be sent now. Its order makes before it breaks: clusters, their endpoints, and only then
// what leads to them; the endpoints of a service that is gone come after what led to them, and clusters that nothing leads to
// go last, after a grace.
func (p *Proxy) Next(session *xds.Session) ([]*xds.Response, time.Duration) {
	changed, grew, scoped, revision := p.engine.take(p)
	p.before, p.taken, p.taking = p.taken, revision, true
	for id, m := range changed {
		if s, ok := p.slots[id]; ok {
			p.aim(s, m)
		} else if p.lists[id.Kind] != nil && id == view.Everything(id.Kind) {
			p.relist(id, m, nil)
		}
	}
	if grew {
		p.holdOwn(session)
	}
	if scoped {
		p.leaving[view.KindScope] = cmp.Or(p.leaving[view.KindScope], p.current())
	}
	p.taking = false
	p.cross()
	if p.whole(session) {
		p.expire()
	}
	var out []*xds.Response
	for _, kind := range []view.Kind{
		view.KindCluster, view.KindEndpoints, view.KindSecret, view.KindListener, view.KindFilter, view.KindScope, view.KindRoutes,
		view.KindVirtualHost, view.KindEndpoints,
	} {
		if session.Opened(typeOf[kind]) {
			if kind == view.KindScope {
				out = append(out, p.respondScopes(session)...)
			}
			out = append(out, p.respond(session, kind)...)
		}
	}
	confirmed := int64(-1)
	if p.whole(session) {
		if at := p.confirmed(); at > 0 { // else it has not confirmed what it was sent first
			confirmed, p.begun = at, true
		}
	}
	oldest := session.Oldest()
	waits, waitsOn := p.waits, oldest == p.oldest
	if p.oldest = oldest; !waitsOn {
		waits = p.now()
	}
	if oldest == 0 {
		waits = time.Time{}
	}
	busy := session.InFlight() > 0 || !p.behind.empty() || !p.whole(session)
	p.engine.publish(p, p.refusals(), confirmed, busy, waits)
	p.answer()
	return out, p.wait(session)
}

// whole tells whether the proxy has asked for everything that its type and its listeners ask for. One that comes back says what it has
// type by type, endpoints last, and before nobody can tell whether it has the newest state.
func (p *Proxy) whole(session *xds.Session) bool {
	if p.complete {
		return true
	}
	if slices.ContainsFunc(p.needs, func(t xds.Type) bool { return !session.Opened(t) }) {
		return false
	}
	for id, s := range p.slots {
		if kind, asks := s.asksFor(); asks && !session.Opened(typeOf[kind]) {
			return false
		}
		if _, own := p.own[id]; id.Kind != view.KindCluster || own || p.walks || s.have == "" || (s.want != nil && s.want.finds) {
			continue
		}
		if _, asked := p.slots[view.ID{Kind: view.KindEndpoints, Name: id.Name}]; !asked {
			return false
		}
	}
	p.complete = true
	return true
}
