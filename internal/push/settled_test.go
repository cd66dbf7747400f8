package push_test

import (
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statusv3 "google.golang.org/genproto/googleapis/rpc/status"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/xds"
)

func request(typ xds.Type, names ...string) *discoveryv3.DeltaDiscoveryRequest {
	return &discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(typ), ResourceNamesSubscribe: names}
}

// settled is a conversation whose proxy has taken everything.
func settled(t *testing.T, w *meshtest.FakeMesh, f *meshtest.FakeProxy) *conversation {
	t.Helper()
	c := newConversation(t, w, f)
	c.answer(c.say(request(xds.ClusterType)))
	c.answer(c.say(request(xds.ListenerType)))
	c.answer(c.say(request(xds.RouteType, "out")))
	c.answer(c.say(request(xds.VirtualHostType, "out/reviews:9080")))
	c.answer(c.say(request(xds.EndpointsType, subset(""))))
	return c
}

func of(sent []*discoveryv3.DeltaDiscoveryResponse, typ xds.Type) (some []*discoveryv3.DeltaDiscoveryResponse) {
	for _, r := range sent {
		if r.GetTypeUrl() == string(typ) {
			some = append(some, r)
		}
	}
	return some
}

func ack(r *discoveryv3.DeltaDiscoveryResponse) *discoveryv3.DeltaDiscoveryRequest {
	return &discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()}
}

func nack(r *discoveryv3.DeltaDiscoveryResponse, reason string) *discoveryv3.DeltaDiscoveryRequest {
	q := ack(r)
	q.ErrorDetail = &statusv3.Status{Message: reason}
	return q
}

// holds asks the conversation what its proxy is to have.
func holds(t *testing.T, w *meshtest.FakeMesh, f *meshtest.FakeProxy, c *conversation) []push.Sent {
	t.Helper()
	type answer struct {
		sent []push.Sent
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		sent, err := w.Engine.Sent(t.Context(), f.Node.ID())
		answers <- answer{sent, err}
	}()
	for {
		select {
		case a := <-answers:
			await(t, a.err)
			return a.sent
		case <-c.client.Wake():
			c.next()
		}
	}
}

// A route that was sent and not confirmed is not in force because a later version of it waits for a cluster that was refused.
func TestUnconfirmedRouteBehindABlockedOne(t *testing.T) {
	t.Parallel()
	w, f := one(t, push.Config{})
	c := settled(t, w, f)
	first := w.Edit(func(d *mesh.Draft) {
		d.SetRules(reviews, mesh.NewRuleSet(reviews, []*mesh.RouteRule{{
			Object: mesh.Ref{Kind: "RouteRule", Namespace: "default", Name: "slow"}, Destination: reviews, Precedence: 1,
			URI: &mesh.StringMatch{Kind: mesh.MatchExact, Value: "/slow"},
		}}))
	})
	route := of(c.next(), xds.VirtualHostType)
	if len(route) != 1 {
		t.Fatalf("%d routes were sent", len(route))
	}
	w.Edit(toVersion("v2"))
	clusters := of(c.next(), xds.ClusterType)
	if len(clusters) != 1 {
		t.Fatalf("%d clusters were sent", len(clusters))
	}
	if p := w.Engine.Progress(t.Context(), first, 0); p.Confirmed != 0 {
		t.Fatalf("before the refusal: %+v", p)
	}
	c.say(nack(clusters[0], "bad cluster"))
	if p := w.Engine.Progress(t.Context(), first, 0); p.Confirmed != 0 {
		t.Errorf("the proxy has not answered the first route, and it is said to be in force: %+v", p)
	}
}
