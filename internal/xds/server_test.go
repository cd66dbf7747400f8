package xds

import (
	"context"
	"errors"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
)

// echo is a client to which every name that is asked for is a resource.
type echo struct {
	peer  Peer
	ready []Event
	wake  chan struct{}
}

func (c *echo) Handle(_ *Session, e Event) { c.ready = append(c.ready, e) }

func (c *echo) Next(s *Session) ([]*Response, time.Duration) {
	var out []*Response
	for _, e := range c.ready {
		var list []*Resource
		for _, name := range e.Subscribed {
			list = append(list, &Resource{Type: e.Type, Name: name, Version: "1", Body: []byte(c.peer.Node.GetId())})
		}
		if len(list) > 0 {
			r, _ := s.Respond(e.Type, list, nil)
			out = append(out, r)
		}
	}
	c.ready = nil
	return out, 0
}

func (c *echo) Wake() <-chan struct{} { return c.wake }
func (c *echo) Close()                {}

// serveEcho serves echoes and returns what opens connections. Peers are handed to opened, if it is not nil.
func serveEcho(t *testing.T, opened func(Peer), options ...grpc.ServerOption) (dial func() *grpc.ClientConn) {
	t.Helper()
	listener, stop := bufconn.Listen(1<<16), make(chan struct{})
	server := NewServer(func(_ context.Context, p Peer) (Client, error) {
		if opened != nil {
			opened(p)
		}
		return &echo{peer: p, wake: make(chan struct{})}, nil
	}, stop, 0, options...)
	var running sync.WaitGroup
	running.Go(func() {
		if err := server.Serve(listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(func() {
		close(stop)
		server.Stop()
		running.Wait()
	})
	return func() *grpc.ClientConn {
		conn, err := grpc.NewClient("passthrough:///lateen",
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
			grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
}

// ask opens a stream, sends one request with a name and returns the type of the answer.
func ask(t *testing.T, conn *grpc.ClientConn, method string, delta bool, typ Type) (Type, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err != nil {
		t.Fatal(err)
	}
	node := &corev3.Node{Id: "me"}
	if delta {
		var answer discoveryv3.DeltaDiscoveryResponse
		if err := stream.SendMsg(&discoveryv3.DeltaDiscoveryRequest{Node: node, TypeUrl: string(typ), ResourceNamesSubscribe: []string{"x"}}); err != nil {
			t.Fatal(err)
		}
		err = stream.RecvMsg(&answer)
		return Type(answer.GetTypeUrl()), err
	}
	var answer discoveryv3.DiscoveryResponse
	if err := stream.SendMsg(&discoveryv3.DiscoveryRequest{Node: node, TypeUrl: string(typ), ResourceNames: []string{"x"}}); err != nil {
		t.Fatal(err)
	}
	err = stream.RecvMsg(&answer)
	return Type(answer.GetTypeUrl()), err
}

// Every service answers in both forms; one for a type answers for that type, named or not, and for no other.
func TestServices(t *testing.T) {
	t.Parallel()
	var peer atomic.Pointer[Peer]
	conn := serveEcho(t, func(p Peer) { peer.Store(&p) })()
	for _, s := range []struct {
		service, stream, delta string
		only                   Type
	}{
		{"discovery.v3.AggregatedDiscoveryService", "StreamAggregatedResources", "DeltaAggregatedResources", ""},
		{"listener.v3.ListenerDiscoveryService", "StreamListeners", "DeltaListeners", ListenerType},
		{"route.v3.RouteDiscoveryService", "StreamRoutes", "DeltaRoutes", RouteType},
		{"route.v3.VirtualHostDiscoveryService", "", "DeltaVirtualHosts", VirtualHostType},
		{"cluster.v3.ClusterDiscoveryService", "StreamClusters", "DeltaClusters", ClusterType},
		{"endpoint.v3.EndpointDiscoveryService", "StreamEndpoints", "DeltaEndpoints", EndpointsType},
		{"secret.v3.SecretDiscoveryService", "StreamSecrets", "DeltaSecrets", SecretType},
		{"extension.v3.ExtensionConfigDiscoveryService", "StreamExtensionConfigs", "DeltaExtensionConfigs", FilterType},
	} {
		for _, delta := range []bool{false, true} {
			name := s.stream
			if delta {
				name = s.delta
			}
			if name == "" {
				continue
			}
			method := "/envoy.service." + s.service + "/" + name
			for _, typ := range []Type{"", ListenerType, ClusterType, "type.googleapis.com/unknown"} {
				got, err := ask(t, conn, method, delta, typ)
				want := typ
				if s.only != "" {
					want = s.only
				}
				if good := want != "" && (typ == "" || typ == want); good && (err != nil || got != want) {
					t.Errorf("%s for %q answers for %q, %v; want %q", name, typ, got, err, want)
				} else if !good && status.Code(err) != codes.InvalidArgument {
					t.Errorf("%s for %q ends with %v", name, typ, err)
				}
				if p := peer.Load(); p.Only != s.only || p.Node.GetId() != "me" {
					t.Errorf("%s opens for %q as %q", name, p.Only, p.Node.GetId())
				}
			}
		}
	}
}

// An idle stream costs two goroutines of the server: one that waits for requests, and one for everything else.
func TestIdleStreams(t *testing.T) {
	const connections, each = 63, 16
	dial := serveEcho(t, nil)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	start := runtime.NumGoroutine()
	for range connections {
		client := discoveryv3.NewAggregatedDiscoveryServiceClient(dial())
		for range each {
			stream, err := client.StreamAggregatedResources(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := stream.Send(&discoveryv3.DiscoveryRequest{TypeUrl: string(ClusterType), ResourceNames: []string{"x"}}); err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Recv(); err != nil {
				t.Fatal(err)
			}
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	const streams = connections * each
	goroutines, bytes := runtime.NumGoroutine()-start, after.HeapAlloc+after.StackInuse-before.HeapAlloc-before.StackInuse
	t.Logf("%d streams over %d connections, both ends: %d goroutines, %d kB each", streams, connections, goroutines, bytes/streams>>10)
	// A connection has up to ten at both ends together, a stream one at the client's.
	if most := streams*3 + connections*10; goroutines > most {
		t.Errorf("%d goroutines, want %d at most", goroutines, most)
	}
}
