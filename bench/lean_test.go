package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/lateen-mesh/lateen/internal/view"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// member is a proxy of a mesh.
type member struct {
	node     string   // what it says that it is
	captured bool     // it is that of a captured workload
	calls    []target // from the beginning
}

// target is what a proxy asks for when its workload calls a port of a host for the first time.
type target struct {
	typ  xds.Type
	name string // of the virtual host or, of a captured workload, the routes
	host string // by its full name
	// scope is the scope that a captured workload's proxy needs before it knows what to ask for; "": it is not captured.
	scope string
}

// spelled is a host as a workload that is not captured spells it, port included.
func spelled(spelling string) target {
	host, _, _ := strings.Cut(spelling, ":")
	return target{typ: xds.VirtualHostType, name: view.VirtualHostOf(spelling).Name, host: host}
}

// lean is a proxy of which a thousand fit on one processor. Like [meshtest.FakeProxy] it asks in Envoy's order over a
// connection of its own and confirms everything; it reads names and versions only. What it holds outlives its stream.
type lean struct {
	fleet *fleet
	member
	creds credentials.TransportCredentials // nil: it has no identity

	mu     sync.Mutex
	wants  map[string]target // by the name of what it asks for
	asked  map[string]bool   // routes that it has asked for, since the scope was there
	held   map[xds.Type]map[*name]string
	opened map[xds.Type]bool
	said   bool // who it is, on this stream
	stream grpc.ClientStream
	empty  int // of those that it wants, how many it does not hold

	stop  context.CancelFunc // nil: it does not run
	ended chan error
}

func newLean(f *fleet, m member) *lean {
	p := &lean{fleet: f, member: m}
	p.forget(m.calls)
	return p
}

// come has the proxy connect.
func (p *lean) come(ctx context.Context) {
	ctx, p.stop = context.WithCancel(ctx)
	p.ended = make(chan error, 1)
	go func() { p.ended <- p.run(ctx) }()
}

// leave ends the proxy's stream and waits for that. What it holds stays.
func (p *lean) leave() error {
	if p.stop == nil {
		return nil
	}
	p.stop()
	p.stop = nil
	return <-p.ended
}

// forget makes a proxy that has left a new one, which wants what it is given.
func (p *lean) forget(calls []target) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held, p.opened, p.asked, p.wants = map[xds.Type]map[*name]string{}, map[xds.Type]bool{}, map[string]bool{}, map[string]target{}
	for _, t := range calls {
		p.wants[t.name] = t
	}
	p.empty = len(p.wants)
}

// run keeps a stream until ctx ends, and comes back as fast as Envoy does.
func (p *lean) run(ctx context.Context) error {
	target, creds := "unix:"+p.fleet.server.socket(), insecure.NewCredentials()
	if p.creds != nil {
		target, creds = p.fleet.server.secure, p.creds
	}
	conn, err := grpc.NewClient(target,
		grpc.WithTransportCredentials(creds),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: time.Second, // as the bootstrap says
		}),
		grpc.WithInitialWindowSize(16<<20), grpc.WithInitialConnWindowSize(24<<20), // as Envoy
		grpc.WithReadBufferSize(4<<10), grpc.WithWriteBufferSize(4<<10),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(leanCodec{}), grpc.MaxCallRecvMsgSize(64<<20), grpc.WaitForReady(true)),
		grpc.WithDisableServiceConfig(),
	)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	for {
		err := p.talk(ctx, conn)
		if ctx.Err() != nil {
			return nil
		}
		if mistake := (*mistake)(nil); errors.As(err, &mistake) {
			return fmt.Errorf("proxy %s: %w", p.node, err)
		}
		select {
		case <-time.After(time.Duration(rand.Int64N(int64(100 * time.Millisecond)))):
		case <-ctx.Done():
			return nil
		}
	}
}

// mistake is an error that a new stream would not mend.
type mistake struct{ what string }

func (m *mistake) Error() string { return m.what }

// talk opens a stream and answers until it ends.
func (p *lean) talk(ctx context.Context, conn *grpc.ClientConn) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true},
		discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResources_FullMethodName)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.stream, p.said = stream, false
	err = p.reopen()
	p.mu.Unlock()
	for err == nil {
		r := &response{names: &p.fleet.names}
		if err = stream.RecvMsg(r); err == nil {
			err = p.take(r, time.Now())
		}
	}
	p.mu.Lock()
	p.stream = nil
	p.mu.Unlock()
	return err
}

// reopen asks for clusters, and on a later stream for everything that was asked for on the one before, and for what follows from
// what the proxy holds: the stream before may have ended when it had taken a response and not asked for more yet. An Envoy asks for
// that as soon as it is there, whatever becomes of the stream.
func (p *lean) reopen() error {
	before := p.opened
	p.opened = map[xds.Type]bool{}
	if err := p.open(xds.ClusterType, nil); err != nil {
		return err
	}
	for _, next := range p.sequence() {
		if !before[next.typ] && !next.follows {
			continue
		}
		if err := p.open(next.typ, next.asked); err != nil {
			return err
		}
	}
	return nil
}

// step is a type that the proxy asks for, by these names, and whether that follows from what it holds.
type step struct {
	typ     xds.Type
	asked   []string
	follows bool
}

// sequence returns what the proxy asks for after clusters, in this order.
func (p *lean) sequence() []step {
	follow := func(t, after xds.Type, asked []string) step { return step{t, asked, len(p.held[after]) > 0} }
	all := []step{follow(xds.ListenerType, xds.ClusterType, nil)}
	if p.captured {
		p.callable()
		all = append(all, follow(xds.ScopeType, xds.ListenerType, nil), step{xds.RouteType, p.routes(), len(p.asked) > 0})
	} else {
		all = append(all, follow(xds.RouteType, xds.ListenerType, p.routes()),
			follow(xds.VirtualHostType, xds.RouteType, slices.Collect(maps.Keys(p.wants))))
	}
	clusters := p.clusters()
	return append(all, step{xds.EndpointsType, clusters, len(clusters) > 0})
}

// routes returns the routes that the proxy asks for.
func (p *lean) routes() []string {
	if p.captured {
		return slices.Collect(maps.Keys(p.asked))
	}
	return []string{view.OutboundRoutes}
}

// open sends the first request for a type, with what the proxy still holds of it.
func (p *lean) open(t xds.Type, asked []string) error {
	p.opened[t] = true
	versions := make(map[string]string, len(p.held[t]))
	for n, version := range p.held[t] {
		versions[n.text] = version
	}
	return p.send(&discoveryv3.DeltaDiscoveryRequest{
		TypeUrl: string(t), ResourceNamesSubscribe: asked, InitialResourceVersions: versions,
	})
}

func (p *lean) send(request *discoveryv3.DeltaDiscoveryRequest) error {
	if !p.said {
		request.Node, p.said = &corev3.Node{Id: p.node}, true
	}
	return p.stream.SendMsg(request)
}

// ask asks for something more, as when the workload calls a name or address for the first time.
func (p *lean) ask(t target) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.wants[t.name]; known {
		return nil
	}
	p.wants[t.name] = t
	p.empty++
	var err error
	switch {
	case p.stream == nil: // it will be asked for
	case p.captured:
		err = p.call()
	case p.opened[t.typ]:
		err = p.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(t.typ), ResourceNamesSubscribe: []string{t.name}})
	}
	if errors.Is(err, io.EOF) { // the stream has just ended: it will be asked for on the next one
		return nil
	}
	return err
}

// call asks for the routes of what a captured workload calls, as far as the proxy has the scopes and has not asked.
func (p *lean) call() error {
	if !p.opened[xds.ScopeType] {
		return nil
	}
	fresh := p.callable()
	switch {
	case len(fresh) == 0:
		return nil
	case !p.opened[xds.RouteType]:
		return p.open(xds.RouteType, p.routes())
	}
	return p.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(xds.RouteType), ResourceNamesSubscribe: fresh})
}

// callable returns the routes that the proxy has not asked for and can ask for now, which it does.
func (p *lean) callable() []string {
	var fresh []string
	for _, t := range p.wants {
		if _, there := p.held[xds.ScopeType][p.fleet.names.of([]byte(t.scope))]; there && !p.asked[t.name] {
			fresh, p.asked[t.name] = append(fresh, t.name), true
		}
	}
	return fresh
}

// clusters returns the clusters whose endpoints the proxy asks for.
func (p *lean) clusters() []string {
	var list []string
	for n := range p.held[xds.ClusterType] {
		if n.subset {
			list = append(list, n.text)
		}
	}
	return list
}

// take stores a response, answers it, and asks for what follows from it. The answer to a response goes first.
func (p *lean) take(r *response, at time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	fresh, lost := p.store(r, at)
	if err := p.inOrder(r); err != nil {
		return err
	}
	err := p.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(r.typ), ResponseNonce: r.nonce})
	if err != nil {
		return err
	}
	switch r.typ {
	case xds.ClusterType:
		return p.follow(fresh, lost)
	case xds.ListenerType:
		switch {
		case p.captured && !p.opened[xds.ScopeType]:
			return p.open(xds.ScopeType, nil)
		case !p.captured && !p.opened[xds.RouteType]:
			return p.open(xds.RouteType, p.routes())
		}
	case xds.ScopeType:
		return p.call()
	case xds.RouteType:
		if !p.captured && !p.opened[xds.VirtualHostType] {
			return p.open(xds.VirtualHostType, slices.Collect(maps.Keys(p.wants)))
		}
	}
	return nil
}

// inOrder wants routes of a captured workload to come after a cluster that they can lead to, with its endpoints.
func (p *lean) inOrder(r *response) error {
	if !p.captured || r.typ != xds.RouteType {
		return nil
	}
	for _, c := range r.resources {
		t, wanted := p.wants[c.name.text]
		if !wanted {
			return &mistake{"it was sent " + c.name.text + " and has not asked"}
		}
		ready := false
		for n := range p.held[xds.ClusterType] {
			if _, found := p.held[xds.EndpointsType][n]; found && strings.HasSuffix(n.text, "|"+t.host) {
				ready = true
			}
		}
		if !ready {
			return &mistake{c.name.text + " came before a cluster with endpoints"}
		}
	}
	return nil
}

// store notes what a response brings, and returns the names that are new and those that are gone.
func (p *lean) store(r *response, at time.Time) (fresh, lost []*name) {
	held := p.held[r.typ]
	if held == nil {
		held = make(map[*name]string, len(r.resources))
		p.held[r.typ] = held
	}
	p.fleet.count(r)
	for _, c := range r.resources {
		before, known := held[c.name]
		if !known {
			fresh = append(fresh, c.name)
			if t, wanted := p.wants[c.name.text]; wanted && t.typ == r.typ {
				p.empty--
				p.fleet.filled(p.empty, at)
			}
		}
		if before != c.version {
			p.fleet.arrived(r.typ, c.name, at)
		}
		held[c.name] = c.version
	}
	for _, n := range r.removed {
		if _, known := held[n]; known {
			delete(held, n)
			lost = append(lost, n)
		}
	}
	return fresh, lost
}

// follow asks for the endpoints of new clusters, and for listeners once the first clusters are there.
func (p *lean) follow(fresh, lost []*name) error {
	request := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(xds.EndpointsType)}
	for _, n := range fresh {
		if n.subset {
			request.ResourceNamesSubscribe = append(request.ResourceNamesSubscribe, n.text)
		}
	}
	for _, n := range lost {
		if n.subset {
			request.ResourceNamesUnsubscribe = append(request.ResourceNamesUnsubscribe, n.text)
			delete(p.held[xds.EndpointsType], n)
		}
	}
	switch {
	case !p.opened[xds.EndpointsType]:
		if asked := p.clusters(); len(asked) > 0 {
			if err := p.open(xds.EndpointsType, asked); err != nil {
				return err
			}
		}
	case len(request.ResourceNamesSubscribe)+len(request.ResourceNamesUnsubscribe) > 0:
		if err := p.send(request); err != nil {
			return err
		}
	}
	if !p.opened[xds.ListenerType] {
		return p.open(xds.ListenerType, nil)
	}
	return nil
}

// whole tells whether the proxy holds what it has asked for, and the endpoints of every cluster.
func (p *lean) whole() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.empty != 0 {
		return fmt.Errorf("proxy %s lacks %d of the %d that it calls", p.node, p.empty, len(p.wants))
	}
	subsets := map[string]bool{}
	for n := range p.held[xds.ClusterType] {
		if !n.subset {
			continue
		}
		if _, ok := p.held[xds.EndpointsType][n]; !ok {
			return fmt.Errorf("proxy %s lacks the endpoints of %s", p.node, n.text)
		}
		subsets[n.text[strings.LastIndexByte(n.text, '|')+1:]] = true
	}
	for _, t := range p.wants {
		if !subsets[t.host] {
			return fmt.Errorf("proxy %s lacks a cluster for %s", p.node, t.host)
		}
	}
	return nil
}
