package meshtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statusv3 "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/view"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// FakeProxy speaks delta xDS over a real stream in the order in which Envoy does, confirms what it gets, and carries
// no traffic: for tests that need a hundred proxies.
type FakeProxy struct {
	Node     mesh.Node
	Metadata *structpb.Struct                     // what it says of itself beside its ID; set before [FakeProxy.Run]
	Refuse   func(t xds.Type, name string) string // a reason to refuse a resource, or ""; set before [FakeProxy.Run]

	mu       sync.Mutex
	held     map[xds.Type]map[string]*discoveryv3.Resource
	got      []Got
	hosts    map[string]bool
	opened   map[xds.Type]bool
	stream   discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	changed  chan struct{}
	nodeSent bool
}

// Got is one resource or removal that a proxy was sent, in order.
type Got struct {
	Type    xds.Type
	Name    string
	Version string // "": removed
}

// NewFakeProxy returns a proxy that is not connected. It will ask for the hosts as soon as it may.
func NewFakeProxy(node mesh.Node, hosts ...string) *FakeProxy {
	f := &FakeProxy{
		Node: node, held: map[xds.Type]map[string]*discoveryv3.Resource{}, hosts: map[string]bool{},
		opened: map[xds.Type]bool{}, changed: make(chan struct{}),
	}
	for _, h := range hosts {
		f.hosts[h] = true
	}
	return f
}

// Run connects, and answers until the stream ends. What the proxy holds survives, so that Run may be called again.
func (f *FakeProxy) Run(ctx context.Context, conn grpc.ClientConnInterface) error {
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		return fmt.Errorf("open stream: %w", err)
	}
	f.mu.Lock()
	f.stream, f.nodeSent = stream, false
	err = f.reopen()
	f.mu.Unlock()
	for err == nil {
		var res *discoveryv3.DeltaDiscoveryResponse
		if res, err = stream.Recv(); err == nil {
			err = f.take(res)
		}
	}
	for errors.Is(err, io.EOF) { // of a request: the stream has ended, and the last that is received says why
		if _, last := stream.Recv(); last != nil {
			return last
		}
	}
	return err
}

// reopen asks for clusters, and on a later stream for everything that was asked for on the one before.
func (f *FakeProxy) reopen() error {
	before := f.opened
	f.opened = map[xds.Type]bool{}
	if err := f.open(xds.ClusterType, nil); err != nil {
		return err
	}
	for _, t := range []xds.Type{xds.ListenerType, xds.RouteType, xds.VirtualHostType, xds.EndpointsType} {
		if !before[t] {
			continue
		}
		var names []string
		if t != xds.ListenerType {
			names = slices.Sorted(maps.Keys(f.held[t]))
		}
		if err := f.open(t, names); err != nil {
			return err
		}
	}
	return nil
}

// Ask asks for the virtual host of a host, spelled with its port.
func (f *FakeProxy) Ask(host string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hosts[host] = true
	if !f.opened[xds.VirtualHostType] {
		return nil
	}
	return f.send(&discoveryv3.DeltaDiscoveryRequest{
		TypeUrl: string(xds.VirtualHostType), ResourceNamesSubscribe: []string{view.VirtualHostOf(host).Name},
	})
}

// Got returns everything that the proxy was sent since the last call.
func (f *FakeProxy) Got() []Got {
	f.mu.Lock()
	defer f.mu.Unlock()
	got := f.got
	f.got = nil
	return got
}

// Held returns the names that the proxy holds of a type, sorted.
func (f *FakeProxy) Held(t xds.Type) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.held[t]))
}

// Resource returns a resource as the proxy holds it, or nil.
func (f *FakeProxy) Resource(t xds.Type, name string) *discoveryv3.Resource {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.held[t][name]
}

// Await waits until the proxy holds the resource.
func (f *FakeProxy) Await(ctx context.Context, t xds.Type, name string) error {
	return f.await(ctx, name, func() bool { _, ok := f.held[t][name]; return ok })
}

func (f *FakeProxy) await(ctx context.Context, what string, is func() bool) error {
	for {
		f.mu.Lock()
		ok, changed := is(), f.changed
		f.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("proxy %s: wait for %s: %w", f.Node.ID(), what, ctx.Err())
		}
	}
}

// take stores a response, answers it, and asks for what follows from it. The answer to a response goes first.
func (f *FakeProxy) take(res *discoveryv3.DeltaDiscoveryResponse) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := xds.Type(res.GetTypeUrl())
	answer := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: res.GetTypeUrl(), ResponseNonce: res.GetNonce()}
	if reason := f.refusal(t, res); reason != "" {
		answer.ErrorDetail = &statusv3.Status{Code: int32(codes.Internal), Message: reason}
		return f.send(answer)
	}
	before := maps.Clone(f.held[t])
	f.store(t, res)
	if err := f.send(answer); err != nil {
		return err
	}
	close(f.changed)
	f.changed = make(chan struct{})
	switch t {
	case xds.ClusterType:
		return f.followClusters(before)
	case xds.ListenerType:
		if !f.opened[xds.RouteType] {
			return f.open(xds.RouteType, []string{routesOf(f.Node.Type)})
		}
	case xds.RouteType:
		if f.Node.Type == mesh.Sidecar && !f.opened[xds.VirtualHostType] {
			var names []string
			for _, h := range slices.Sorted(maps.Keys(f.hosts)) {
				names = append(names, view.VirtualHostOf(h).Name)
			}
			return f.open(xds.VirtualHostType, names)
		}
	}
	return nil
}

func routesOf(t mesh.ProxyType) string {
	if t == mesh.Ingress {
		return view.DoorRoutes
	}
	return view.OutboundRoutes
}

func (f *FakeProxy) refusal(t xds.Type, res *discoveryv3.DeltaDiscoveryResponse) string {
	if f.Refuse == nil {
		return ""
	}
	for _, r := range res.GetResources() {
		if reason := f.Refuse(t, r.GetName()); reason != "" {
			return reason
		}
	}
	return ""
}

func (f *FakeProxy) store(t xds.Type, res *discoveryv3.DeltaDiscoveryResponse) {
	if f.held[t] == nil {
		f.held[t] = map[string]*discoveryv3.Resource{}
	}
	for _, r := range res.GetResources() {
		f.held[t][r.GetName()] = r
		f.got = append(f.got, Got{t, r.GetName(), r.GetVersion()})
	}
	for _, name := range res.GetRemovedResources() {
		delete(f.held[t], name)
		f.got = append(f.got, Got{t, name, ""})
	}
}

// followClusters asks for the endpoints of new clusters, and for listeners once the first clusters are there.
func (f *FakeProxy) followClusters(before map[string]*discoveryv3.Resource) error {
	var more, less []string
	for name, r := range f.held[xds.ClusterType] {
		var c clusterv3.Cluster
		if err := r.GetResource().UnmarshalTo(&c); err != nil {
			return fmt.Errorf("cluster %s: %w", name, err)
		}
		if _, old := before[name]; !old && c.GetType() == clusterv3.Cluster_EDS {
			more = append(more, name)
		}
	}
	for name := range before {
		if _, still := f.held[xds.ClusterType][name]; !still {
			less = append(less, name)
			delete(f.held[xds.EndpointsType], name)
		}
	}
	slices.Sort(more)
	if !f.opened[xds.EndpointsType] {
		more = slices.Sorted(maps.Keys(f.edsClusters()))
		if len(more) > 0 {
			if err := f.open(xds.EndpointsType, more); err != nil {
				return err
			}
		}
	} else if len(more)+len(less) > 0 {
		if err := f.send(&discoveryv3.DeltaDiscoveryRequest{
			TypeUrl: string(xds.EndpointsType), ResourceNamesSubscribe: more, ResourceNamesUnsubscribe: less,
		}); err != nil {
			return err
		}
	}
	if !f.opened[xds.ListenerType] {
		return f.open(xds.ListenerType, nil)
	}
	return nil
}

func (f *FakeProxy) edsClusters() map[string]bool {
	names := map[string]bool{}
	for name := range f.held[xds.ClusterType] {
		if _, err := mesh.ParseSubset(name); err == nil {
			names[name] = true
		}
	}
	return names
}

// open sends the first request for a type, with what the proxy still holds of it.
func (f *FakeProxy) open(t xds.Type, names []string) error {
	f.opened[t] = true
	versions := map[string]string{}
	for name, r := range f.held[t] {
		versions[name] = r.GetVersion()
	}
	return f.send(&discoveryv3.DeltaDiscoveryRequest{
		TypeUrl: string(t), ResourceNamesSubscribe: names, InitialResourceVersions: versions,
	})
}

func (f *FakeProxy) send(req *discoveryv3.DeltaDiscoveryRequest) error {
	if !f.nodeSent {
		req.Node, f.nodeSent = &corev3.Node{Id: f.Node.String(), Metadata: f.Metadata}, true
	}
	return f.stream.Send(req)
}

// AwaitGone waits until the proxy no longer holds the resource.
func (f *FakeProxy) AwaitGone(ctx context.Context, t xds.Type, name string) error {
	return f.await(ctx, "loss of "+name, func() bool { _, ok := f.held[t][name]; return !ok })
}
