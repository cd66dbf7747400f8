// Package peers has the replicas of a control plane ask each other, so that what one reports and decides is about the whole mesh.
//
// What comes in: who the others are ([Members]), a way to connect to them, and what is known here. What goes out: how hosts are
// secured at each of them, for the steps of a handover ([Peers.Ask]); which proxies are connected to another one, told to whom
// they would be missed by; and any page of another one's reading API ([Peers.Gather], [Peers.Get]). Both sides of a connection
// show that they are the control plane. Questions, answers and waiting are bounded.
//
// A replica counts as long as it is a member. One that counts and cannot be asked is silent: whoever asks is told its name, and
// a handover waits for it.
package peers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/internal/handover"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Bounds.
const (
	askBound   = 3 * time.Second // of one question
	pollEvery  = time.Second     // for who is connected
	maxAnswer  = 64 << 20        // bytes
	maxAsked   = 16 << 20
	pingAfter  = 5 * time.Second // on a connection without traffic
	pingBound  = 3 * time.Second
	maxHeaders = 64 << 10
	idleBound  = time.Minute // of a connection of another one; there is none that asks less often
)

// Engine knows the proxies that are connected here.
type Engine interface {
	// Here returns those of some that are.
	Here(ids []mesh.ProxyID) []mesh.ProxyID
	// Settled returns all.
	Settled() []mesh.ProxyID
	// SetElsewhere tells which are connected to another replica.
	SetElsewhere(ids map[mesh.ProxyID]bool)
}

// Config is what Peers are made with.
type Config struct {
	Replica string // name of this one
	Members Members
	// Dial connects to another replica, and returns when both have shown who they are.
	Dial   func(ctx context.Context, address string) (net.Conn, error)
	Engine Engine
	// Report says how hosts are secured here.
	Report func(hosts []mesh.Host) map[mesh.Host]handover.Report
	// Reaches knows how far objects are here; nil: nobody counts.
	Reaches Reaches
	// Reading is the reading part of the API of this replica.
	Reading http.Handler
	Log     *slog.Logger
}

// Peers are the other replicas. Its methods may be called from any goroutine.
type Peers struct {
	c      Config
	client *http.Client

	mu      sync.Mutex
	states  map[string]*state // by name
	moved   map[mesh.Ref]bool // objects of which something else was said
	unheard []string          // members that say nothing of objects; nil: nobody knows yet who they are
	all     bool              // others do than before: there may be something else to say of every object
}

// state is what is known of another replica.
type state struct {
	replica Replica
	version string // of the list of its proxies
	proxies []mesh.ProxyID
	silent  string // why it could not be asked last; "": it could
	told    bool   // that it is silent

	reached ReachQuestion      // how far it was asked
	reaches map[mesh.Ref]Reach // what it said; nil: it was not asked yet, or is silent
}

// New returns the peers of a replica. It starts nothing.
func New(c Config) *Peers {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true) // of what the connection carries: it is one of TLS
	return &Peers{c: c, states: map[string]*state{}, moved: map[mesh.Ref]bool{}, client: &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Protocols: &protocols, MaxResponseHeaderBytes: maxHeaders, DisableCompression: true,
			HTTP2: &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingBound},
			DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
				return c.Dial(ctx, address)
			},
		},
	}}
}

// Run keeps up with who is connected where until ctx ends.
func (p *Peers) Run(ctx context.Context) error {
	defer p.client.CloseIdleConnections()
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		p.poll(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// errNotKnown is why nobody can be asked before the members are known.
var errNotKnown = errors.New("it is not known yet which other replicas there are")

// members returns those that count.
func (p *Peers) members() ([]Replica, error) {
	list, known := p.c.Members.Replicas()
	if !known {
		return nil, errNotKnown
	}
	return list, nil
}

// poll asks all members which proxies are connected to them.
func (p *Peers) poll(ctx context.Context) {
	list, err := p.members()
	if err != nil {
		return
	}
	var asking sync.WaitGroup
	for _, r := range list {
		asking.Go(func() { p.look(ctx, r) })
	}
	asking.Wait()
	p.c.Engine.SetElsewhere(p.elsewhere(list))
}

// look asks one member, and notes what it says.
func (p *Peers) look(ctx context.Context, r Replica) {
	p.mu.Lock()
	before, s := "", p.states[r.Name]
	if s != nil && s.replica != r { // another one by the name
		p.loseReaches(s)
		p.all, s = true, nil
		delete(p.states, r.Name)
	}
	if s != nil {
		before = s.version
	}
	question := asksConnected{Known: before, Reaches: p.reachQuestion(s)}
	p.mu.Unlock()
	var answer connected
	err := p.call(ctx, r, pathConnected, question, &answer)
	p.mu.Lock()
	defer p.mu.Unlock()
	if s == nil {
		s = &state{replica: r}
		p.states[r.Name] = s
	}
	if err == nil && answer.Version != before {
		s.version, s.proxies = answer.Version, answer.Proxies
	}
	if err == nil {
		p.takeReaches(s, answer.Reaches)
	}
	p.note(ctx, s, err)
}

// note notes whether a member could be asked, and tells when that changes. What a silent one said last of its proxies is not
// believed any longer. The lock is held.
func (p *Peers) note(ctx context.Context, s *state, err error) {
	if ctx.Err() != nil {
		return
	}
	s.silent = ""
	if err != nil {
		s.silent = err.Error()
		s.version, s.proxies = "", nil
		p.loseReaches(s)
	}
	if silent := err != nil; silent != s.told {
		s.told = silent
		if silent {
			p.c.Log.Warn("another replica of the control plane cannot be asked: what is reported here leaves out its proxies, and handovers wait for it", "replica", s.replica.Name, "address", s.replica.Address, "err", err)
		} else {
			p.c.Log.Info("another replica of the control plane can be asked again", "replica", s.replica.Name)
		}
	}
}

// elsewhere forgets who is no member, and returns the proxies of the others.
func (p *Peers) elsewhere(list []Replica) map[mesh.ProxyID]bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.states, func(_ string, s *state) bool {
		gone := !slices.Contains(list, s.replica)
		if gone {
			p.all = p.all || s.reaches != nil // it may have been waited for with what it did not know
			p.loseReaches(s)
		}
		return gone
	})
	p.noteUnheard(list)
	ids := map[mesh.ProxyID]bool{}
	for _, s := range p.states {
		for _, id := range s.proxies {
			ids[id] = true
		}
	}
	return ids
}

// Owner returns the replica to which a proxy was connected last, as far as is known.
func (p *Peers) Owner(id mesh.ProxyID) (Replica, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.states {
		if slices.Contains(s.proxies, id) {
			return s.replica, true
		}
	}
	return Replica{}, false
}

// Seen is what people are told of another replica.
type Seen struct {
	Replica
	Proxies int    // connected to it
	Silent  string // why it cannot be asked; "": it can
}

// Seen lists the other replicas, sorted by name.
func (p *Peers) Seen() []Seen {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []Seen
	for _, name := range slices.Sorted(maps.Keys(p.states)) {
		s := p.states[name]
		list = append(list, Seen{s.replica, len(s.proxies), s.silent})
	}
	return list
}

// Ask implements [handover.Others].
func (p *Peers) Ask(ctx context.Context, hosts []mesh.Host, missing []mesh.ProxyID) []handover.Answer {
	list, err := p.members()
	if err != nil {
		return []handover.Answer{{Replica: "?", Silent: err.Error()}}
	}
	answers := make([]handover.Answer, len(list))
	var asking sync.WaitGroup
	for i, r := range list {
		asking.Go(func() {
			err := p.call(ctx, r, pathHandover, asksHandover{hosts, missing}, &answers[i])
			if err == nil && answers[i].Replica != r.Name {
				err = fmt.Errorf("at its address is the replica %q", answers[i].Replica)
			}
			if err != nil {
				answers[i] = handover.Answer{Silent: err.Error()}
			}
			answers[i].Replica = r.Name
		})
	}
	asking.Wait()
	return answers
}
