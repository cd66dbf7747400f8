package push_test

import (
	"fmt"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// conversation is one stream's client and session, driven by the test step by step.
type conversation struct {
	t       *testing.T
	client  xds.Client
	session *xds.Session
}

func newConversation(t *testing.T, w *meshtest.FakeMesh, f *meshtest.FakeProxy) *conversation {
	t.Helper()
	client, err := w.Engine.Open(t.Context(), xds.Peer{Node: &corev3.Node{Id: f.Node.String()}})
	await(t, err)
	t.Cleanup(client.Close)
	return &conversation{t, client, xds.NewSession()}
}

// say hands a request over and returns what is sent upon it.
func (c *conversation) say(req *discoveryv3.DeltaDiscoveryRequest) []*discoveryv3.DeltaDiscoveryResponse {
	c.t.Helper()
	event, err := c.session.Receive(req)
	await(c.t, err)
	c.client.Handle(c.session, event)
	return c.next()
}

func (c *conversation) next() []*discoveryv3.DeltaDiscoveryResponse {
	responses, _ := c.client.Next(c.session)
	var written []*discoveryv3.DeltaDiscoveryResponse
	for _, r := range responses {
		written = append(written, r.Delta())
	}
	return written
}

// A proxy that does not answer is not sent an ever longer queue: when it answers it gets the newest state, once.
func TestSlowProxyGetsTheNewest(t *testing.T) {
	t.Parallel()
	w, f := one(t, push.Config{})
	c := newConversation(t, w, f)
	name := subset("")
	c.say(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(xds.ClusterType)})
	c.say(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(xds.VirtualHostType), ResourceNamesSubscribe: []string{"out/reviews:9080"}})
	sent := c.say(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(xds.EndpointsType), ResourceNamesSubscribe: []string{name}})

	const changes = 100
	for i := range changes {
		w.Edit(func(d *mesh.Draft) {
			d.SetEndpoints(reviews, &mesh.EndpointSet{Host: reviews, Endpoints: []mesh.Endpoint{{
				Address: fmt.Sprintf("127.201.1.%d", i+1), Ports: map[string]int{"http": 9080}, Health: mesh.Healthy,
			}}})
		})
		sent = append(sent, c.next()...)
	}
	if len(sent) > 10 {
		t.Errorf("%d responses lie at a proxy that answers none", len(sent))
	}
	var newest []*discoveryv3.DeltaDiscoveryResponse
	for _, r := range sent {
		if r.GetTypeUrl() == string(xds.EndpointsType) {
			newest = append(newest, c.say(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()})...)
		}
	}
	endpoints := 0
	for _, r := range newest {
		if r.GetTypeUrl() == string(xds.EndpointsType) {
			endpoints += len(r.GetResources())
		}
	}
	if endpoints != 1 {
		t.Errorf("upon its answers the proxy was sent %d endpoints, want the newest alone", endpoints)
	}
}

// A workload that turns into another one ends its proxy's stream: it comes back as what it is now.
func TestChangedScopeEndsTheStream(t *testing.T) {
	t.Parallel()
	w, f := one(t, push.Config{})
	c := newConversation(t, w, f)
	change := func(edit func(*mesh.Workload)) {
		changed := *w.Snapshot.Workload(f.Node.ID())
		edit(&changed)
		w.Edit(func(d *mesh.Draft) { d.SetWorkload(changed.ID(), &changed) })
	}
	open := func() bool {
		select {
		case _, alive := <-c.client.Wake():
			return alive
		default:
			return true
		}
	}
	change(func(w *mesh.Workload) { w.Outbound++ }) // only its own listener reads that
	if !open() {
		t.Error("another port has ended the stream")
	}
	change(func(w *mesh.Workload) { w.Labels = mesh.Labels{"version": "v2"} })
	if open() {
		t.Error("other labels have not ended the stream")
	}
}

// A change is in force when the proxy has confirmed its part of it, even while later changes are on their way.
func TestInForceWhileOthersTravel(t *testing.T) {
	t.Parallel()
	w, f := one(t, push.Config{})
	c := newConversation(t, w, f)
	c.answer(c.say(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(xds.ClusterType)}))
	c.answer(c.say(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(xds.ListenerType)}))
	c.answer(c.say(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(xds.RouteType), ResourceNamesSubscribe: []string{"out"}}))
	c.answer(c.say(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(xds.VirtualHostType), ResourceNamesSubscribe: []string{"out/reviews:9080"}}))
	c.answer(c.say(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(xds.EndpointsType), ResourceNamesSubscribe: []string{subset("")}}))

	rule := w.Edit(func(d *mesh.Draft) {
		d.SetRules(reviews, mesh.NewRuleSet(reviews, []*mesh.RouteRule{{
			Object: mesh.Ref{Kind: "RouteRule", Namespace: "default", Name: "slow"}, Destination: reviews, Precedence: 1,
			URI: &mesh.StringMatch{Kind: mesh.MatchExact, Value: "/slow"},
		}}))
	})
	sent := c.next()
	endpoints := w.Edit(func(d *mesh.Draft) {
		d.SetEndpoints(reviews, &mesh.EndpointSet{Host: reviews, Endpoints: []mesh.Endpoint{{
			Address: "127.201.0.9", Ports: map[string]int{"http": 9080}, Health: mesh.Healthy,
		}}})
	})
	later := c.next()
	if p := w.Engine.Progress(t.Context(), rule, 0); p.Confirmed != 0 {
		t.Errorf("before it is confirmed the rule is in force: %+v", p)
	}
	c.answer(sent)
	if p := w.Engine.Progress(t.Context(), rule, 0); p.Confirmed != 1 {
		t.Errorf("the rule is not in force: %+v", p)
	}
	if p := w.Engine.Progress(t.Context(), endpoints, 0); p.Confirmed != 0 {
		t.Errorf("before they are confirmed the endpoints are in force: %+v", p)
	}
	c.answer(later)
	if p := w.Engine.Progress(t.Context(), endpoints, 0); p.Confirmed != 1 {
		t.Errorf("the endpoints are not in force: %+v", p)
	}
}

// answer confirms responses and those that are sent upon it.
func (c *conversation) answer(sent []*discoveryv3.DeltaDiscoveryResponse) {
	c.t.Helper()
	for len(sent) > 0 {
		sent = append(sent[1:], c.say(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: sent[0].GetTypeUrl(), ResponseNonce: sent[0].GetNonce()})...)
	}
}
