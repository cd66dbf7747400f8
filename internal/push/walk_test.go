package push_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// walker is a client in the state-of-the-world form that goes from listeners to routes, clusters and endpoints by their
// names, as gRPC does, driven by the test step by step.
type walker struct {
	t       *testing.T
	client  xds.Client
	peer    xds.Peer
	session *xds.Session
	asks    map[xds.Type][]string
	nonce   map[xds.Type]string
	held    map[xds.Type]map[string]proto.Message
	log     []string // what came, in order

	everything bool            // it asks for all there is, and no further
	first      map[string]bool // routes of which some version had all that it leads to
}

var walked = []xds.Type{xds.ListenerType, xds.RouteType, xds.ClusterType, xds.EndpointsType}

// newWalker connects a workload without a proxy.
func newWalker(t *testing.T, w *meshtest.FakeMesh) *walker {
	t.Helper()
	workload := &mesh.Workload{
		Name: "walker", Namespace: meshtest.Namespace, Type: mesh.Proxyless, Address: "127.0.0.9", Labels: mesh.Labels{"app": "walker"},
	}
	w.Edit(func(d *mesh.Draft) { d.SetWorkload(workload.ID(), workload) })
	node := mesh.Node{Type: mesh.Proxyless, Address: workload.Address, Name: workload.Name, Namespace: workload.Namespace, Domain: meshtest.Domain}
	return openWalker(t, w, xds.Peer{Node: &corev3.Node{Id: node.String()}})
}

func openWalker(t *testing.T, w *meshtest.FakeMesh, peer xds.Peer) *walker {
	t.Helper()
	client, err := w.Engine.Open(t.Context(), peer)
	await(t, err)
	t.Cleanup(client.Close)
	c := &walker{
		t: t, client: client, session: xds.NewWorldSession(), asks: map[xds.Type][]string{}, nonce: map[xds.Type]string{},
		held: map[xds.Type]map[string]proto.Message{}, first: map[string]bool{}, peer: peer,
	}
	for _, typ := range walked {
		c.held[typ] = map[string]proto.Message{}
	}
	return c
}

// ask says which names of a type the client wants, which also means that it has taken the last response.
func (c *walker) ask(typ xds.Type, names ...string) {
	c.t.Helper()
	for _, name := range c.asks[typ] {
		if !slices.Contains(names, name) {
			delete(c.held[typ], name)
			delete(c.first, name)
		}
	}
	c.asks[typ] = names
	event, err := c.session.ReceiveWorld(&discoveryv3.DiscoveryRequest{TypeUrl: string(typ), ResourceNames: names, ResponseNonce: c.nonce[typ]})
	await(c.t, err)
	c.client.Handle(c.session, event)
}

// settle takes and answers everything until nothing comes any more, and returns what came.
func (c *walker) settle() string {
	c.t.Helper()
	c.log = nil
	for range 50 {
		responses, _ := c.client.Next(c.session)
		if len(responses) == 0 {
			return strings.Join(c.log, ", ")
		}
		for _, r := range responses {
			c.take(r.World())
		}
	}
	c.t.Fatalf("it does not settle: %q", c.log)
	return ""
}

func (c *walker) take(r *discoveryv3.DiscoveryResponse) {
	c.t.Helper()
	typ, now := xds.Type(r.GetTypeUrl()), map[string]proto.Message{}
	for _, body := range r.GetResources() {
		message, err := body.UnmarshalNew()
		await(c.t, err)
		name := nameOf(message)
		if !c.everything && !slices.Contains(c.asks[typ], name) {
			continue // it came too late
		}
		if !proto.Equal(c.held[typ][name], message) {
			c.log = append(c.log, string(typ[strings.LastIndexByte(string(typ), '.')+1:])+" "+name)
		}
		now[name] = message
	}
	if typ != xds.ListenerType && typ != xds.ClusterType {
		maps.Copy(c.held[typ], now)
		now = c.held[typ]
	}
	c.held[typ], c.nonce[typ] = now, r.GetNonce()
	c.ask(typ, c.asks[typ]...)
	for i, next := range walked[1:] {
		if c.everything {
			break
		}
		names := c.behind(walked[i])
		if old := c.asks[next]; !slices.Equal(names, old) {
			c.ask(next, names...)
		}
	}
}

func nameOf(m proto.Message) string {
	if e, ok := m.(*endpointv3.ClusterLoadAssignment); ok {
		return e.GetClusterName()
	}
	return m.(interface{ GetName() string }).GetName()
}

// behind returns the names to which what the client holds of a type leads, sorted.
func (c *walker) behind(typ xds.Type) []string {
	names := map[string]bool{}
	for _, m := range c.held[typ] {
		switch m := m.(type) {
		case *listenerv3.Listener:
			var hcm hcmv3.HttpConnectionManager
			await(c.t, m.GetApiListener().GetApiListener().UnmarshalTo(&hcm))
			if name := hcm.GetRds().GetRouteConfigName(); name != "" {
				names[name] = true
			}
		case *routev3.RouteConfiguration:
			for _, r := range m.GetVirtualHosts()[0].GetRoutes() {
				if name := r.GetRoute().GetCluster(); name != "" {
					names[name] = true
				}
				for _, share := range r.GetRoute().GetWeightedClusters().GetClusters() {
					names[share.GetName()] = true
				}
			}
		case *clusterv3.Cluster:
			names[m.GetName()] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

const callReviews = "call|9080|reviews.default.svc.cluster.local"

// A client without a proxy asks for one thing after the other by its name and gets each at once; a name that nobody knows
// is answered too, and leads on when the host is there.
func TestWalk(t *testing.T) {
	t.Parallel()
	w, _ := one(t, push.Config{})
	c := newWalker(t, w)
	c.ask(xds.ListenerType, "reviews:9080", "nobody:9080")
	expectText(t, "the walk", c.settle(), "Listener nobody:9080, Listener reviews:9080, RouteConfiguration "+callReviews+
		", Cluster "+subset("")+", ClusterLoadAssignment "+subset(""))
	expectText(t, "one endpoint less", func() string {
		w.Edit(func(d *mesh.Draft) { d.SetEndpoints(reviews, nil) })
		return c.settle()
	}(), "ClusterLoadAssignment "+subset(""))
	w.Edit(func(d *mesh.Draft) {
		d.SetService(meshtest.HostOf("nobody"), meshtest.NewService("nobody", "grpc", 9080))
	})
	if got := c.settle(); !strings.HasPrefix(got, "Listener nobody:9080, RouteConfiguration call|9080|nobody") {
		t.Errorf("the host is there: %s", got)
	}
	c.ask(xds.ListenerType, "nobody:9080")
	c.settle()
	w.Edit(toVersion("v1"))
	w.Edit(func(d *mesh.Draft) { d.SetService(reviews, nil) })
	if got := c.settle(); strings.Contains(got, "Listener") {
		t.Errorf("what is no longer asked for is sent: %s", got)
	}
}

func expectText(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got\n  %s\nwant\n  %s", what, got, want)
	}
}

// New clusters and their endpoints are with the client before routes lead there; routes to clusters that it has go at once.
func TestWalkHasClustersBeforeRoutes(t *testing.T) {
	t.Parallel()
	w, _ := one(t, push.Config{})
	c := newWalker(t, w)
	c.ask(xds.ListenerType, "reviews:9080")
	c.settle()
	revision := w.Edit(toVersion("v1"))
	expectText(t, "a new subset", c.settle(), "RouteConfiguration "+callReviews+", Cluster "+subset("v1")+
		", ClusterLoadAssignment "+subset("v1")+", RouteConfiguration "+callReviews)
	if n := w.Confirmed(revision); n != 1 {
		t.Errorf("the change concerns %d, want the client", n)
	}
	w.Edit(toVersion("v2"))
	responses, _ := c.client.Next(c.session)
	if len(responses) != 1 {
		t.Fatalf("%d responses", len(responses))
	}
	var first routev3.RouteConfiguration
	await(t, responses[0].World().GetResources()[0].UnmarshalTo(&first))
	routes := first.GetVirtualHosts()[0].GetRoutes()
	if last := routes[len(routes)-1]; routes[0].GetRoute().GetCluster() != subset("v1") ||
		last.GetRoute().GetWeightedClusters().GetClusters()[0].GetName() != subset("v2") ||
		last.GetMatch().GetRuntimeFraction() == nil || last.GetMatch().GetRuntimeFraction().GetDefaultValue().GetNumerator() != 0 {
		t.Errorf("before the cluster is there: %v", routes)
	}
	w.Edit(toVersion("v1")) // and back, while it is on its way
	c.take(responses[0].World())
	if got := c.settle(); strings.Count(got, "RouteConfiguration") != 1 || c.behind(xds.RouteType)[0] != subset("v1") {
		t.Errorf("back again: %s", got)
	}
}

// A client that asks for everything gets every port that speaks HTTP, by its full name, and what calls may lead to; its set
// follows the mesh.
func TestWalkEverything(t *testing.T) {
	t.Parallel()
	w, _ := one(t, push.Config{})
	w.Edit(func(d *mesh.Draft) { d.SetService(meshtest.HostOf("db"), meshtest.NewService("db", "mysql", 3306)) })
	c := newWalker(t, w)
	c.everything = true
	c.ask(xds.ListenerType)
	c.ask(xds.ClusterType)
	listeners := func() string {
		c.settle()
		return strings.Join(slices.Sorted(maps.Keys(c.held[xds.ListenerType])), " ")
	}
	expectText(t, "listeners", listeners(), "reviews.default.svc.cluster.local:9080")
	w.Edit(toVersion("v1"))
	w.Edit(func(d *mesh.Draft) { d.SetService(meshtest.HostOf("more"), meshtest.NewService("more", "grpc", 80)) })
	expectText(t, "one more", listeners(), "more.default.svc.cluster.local:80 reviews.default.svc.cluster.local:9080")
	expectText(t, "clusters", strings.Join(slices.Sorted(maps.Keys(c.held[xds.ClusterType])), " "),
		"outbound|80||more.default.svc.cluster.local "+subset("v1")+" "+subset(""))
	cuts := w.Engine.Counters().Cuts.Load()
	w.Edit(func(d *mesh.Draft) { d.SetService(reviews, nil) })
	expectText(t, "one less", listeners(), "more.default.svc.cluster.local:80")
	if n := w.Engine.Counters().Cuts.Load() - cuts; n == 0 || n > 10 {
		t.Errorf("%d cuts for one service", n)
	}
}

// A rule may lead outside, where a client without a proxy finds no endpoints: calls fail there, and nothing that it would
// refuse is sent.
func TestWalkOutside(t *testing.T) {
	t.Parallel()
	w, _ := one(t, push.Config{})
	c := newWalker(t, w)
	w.Edit(func(d *mesh.Draft) {
		d.SetEgress("example.test", &mesh.EgressRule{Destination: "example.test", Ports: []mesh.Port{{Number: 9080, Protocol: mesh.HTTP}}})
		d.SetRules(reviews, mesh.NewRuleSet(reviews, []*mesh.RouteRule{{
			Object: mesh.Ref{Kind: "RouteRule", Namespace: "default", Name: "out"}, Destination: reviews,
			Routes: []mesh.WeightedRoute{{Host: "example.test", Weight: 100}},
		}}))
	})
	c.ask(xds.ListenerType, "reviews:9080")
	c.settle()
	name := mesh.Subset{Host: "example.test", Port: 9080}.String()
	cluster, _ := c.held[xds.ClusterType][name].(*clusterv3.Cluster)
	endpoints, _ := c.held[xds.EndpointsType][name].(*endpointv3.ClusterLoadAssignment)
	if cluster.GetType() != clusterv3.Cluster_EDS || endpoints == nil || len(endpoints.GetEndpoints()) > 0 {
		t.Errorf("outside: cluster %v, endpoints %v", cluster, endpoints)
	}
}

// A client may ask for any number of names; those beyond a bound are not kept.
func TestWalkIsBounded(t *testing.T) {
	t.Parallel()
	w, _ := one(t, push.Config{})
	c := newWalker(t, w)
	names := make([]string, 40_000)
	for i := range names {
		names[i] = fmt.Sprintf("no-%d:80", i)
	}
	c.ask(xds.ListenerType, names...)
	responses, _ := c.client.Next(c.session)
	if n := len(responses[0].Resources); n < 1000 || n > 5_000 {
		t.Errorf("%d of %d names are kept", n, len(names))
	}
}

// The stream for one type of a proxy gives it what it asks for of that type: its own and what calls may lead to.
func TestStreamForOneType(t *testing.T) {
	t.Parallel()
	w, f := one(t, push.Config{})
	peer := xds.Peer{Node: &corev3.Node{Id: f.Node.String()}, Only: xds.ClusterType}
	c := openWalker(t, w, peer)
	c.ask(xds.ClusterType)
	responses, _ := c.client.Next(c.session)
	var names []string
	for _, r := range responses[0].Resources {
		names = append(names, r.Name)
	}
	expectText(t, "clusters", strings.Join(names, " "), "inner "+subset(""))
	if p := w.Engine.Connected(); len(p) != 1 || p[0].Settled >= 0 {
		t.Errorf("before it has confirmed: %+v", p)
	}
	c.nonce[xds.ClusterType] = responses[0].Nonce
	c.ask(xds.ClusterType)
	c.settle()
	if p := w.Engine.Connected(); p[0].Settled != w.Snapshot.Revision() {
		t.Errorf("after it has confirmed: %+v", p)
	}
	peer.Only = xds.EndpointsType
	c = openWalker(t, w, peer)
	c.ask(xds.EndpointsType, subset("v1"), subset("v2"))
	expectText(t, "endpoints", c.settle(), "ClusterLoadAssignment "+subset("v1")+", ClusterLoadAssignment "+subset("v2"))
}

// No response is larger than its bound, however much there is to be sent.
func TestResponsesAreBounded(t *testing.T) {
	t.Parallel()
	w, f := one(t, push.Config{})
	const hosts, each = 30, 700
	var names []string
	w.Edit(func(d *mesh.Draft) {
		for i := range hosts {
			host := hostNumber(i)
			set := &mesh.EndpointSet{Host: host}
			for n := range each {
				set.Endpoints = append(set.Endpoints, mesh.Endpoint{
					Address: fmt.Sprintf("10.%d.%d.%d", i, n/250, n%250), Ports: map[string]int{"http": 80},
					Workload: fmt.Sprintf("workload-with-a-name-%d", n), Health: mesh.Healthy,
				})
			}
			d.SetService(host, meshtest.NewService(fmt.Sprintf("svc-%03d", i), "http", 9080))
			d.SetEndpoints(host, set)
			names = append(names, mesh.Subset{Host: host, Port: 9080}.String())
		}
	})
	c := openWalker(t, w, xds.Peer{Node: &corev3.Node{Id: f.Node.String()}, Only: xds.EndpointsType})
	c.session = xds.NewSession()
	event, err := c.session.Receive(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(xds.EndpointsType), ResourceNamesSubscribe: names})
	await(t, err)
	c.client.Handle(c.session, event)
	responses, _ := c.client.Next(c.session)
	sent := 0
	for _, r := range responses {
		size := proto.Size(r.Delta())
		if sent += len(r.Resources); size > xds.MaxBodies+1<<16 {
			t.Errorf("a response has %d bytes", size)
		}
	}
	if sent != hosts || len(responses) < 2 {
		t.Errorf("%d of %d endpoints came in %d responses", sent, hosts, len(responses))
	}
}
