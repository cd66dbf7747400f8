package push_test

import (
	"log/slog"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// What a proxy refuses is known to the next control plane too, with whose change it was, and not sent to it again; one that
// starts anew is sent it.
func TestRefusalIsRememberedOverARestart(t *testing.T) {
	t.Parallel()
	w, f := one(t, push.Config{})
	c := settled(t, w, f)
	good := map[string]string{}
	for _, s := range holds(t, w, f, c) {
		if s.Type == xds.ClusterType {
			good[s.Resource.Name] = s.Confirmed
		}
	}
	w.Edit(func(d *mesh.Draft) { d.SetService(reviews, meshtest.NewService("reviews", "http2", 9080)) })
	sent := of(c.next(), xds.ClusterType)
	c.say(nack(sent[0], "bad"))
	kept := w.Engine.Rejected()
	if len(kept) != 1 || kept[0].Resource.Name != subset("") || kept[0].Reason != "bad" || len(kept[0].Owners) == 0 {
		t.Fatalf("%+v is kept, want the cluster with the proxy's words and its owners", kept)
	}

	for _, back := range []bool{true, false} {
		engine := push.NewEngine(push.Config{Log: slog.New(slog.DiscardHandler), Rejected: kept})
		engine.Apply(w.Snapshot, nil)
		client, err := engine.Open(t.Context(), xds.Peer{Node: &corev3.Node{Id: f.Node.String()}})
		await(t, err)
		next := &conversation{t, client, xds.NewSession()}
		first := request(xds.ClusterType)
		if back {
			first.InitialResourceVersions = good
		}
		got := false
		for _, r := range []*discoveryv3.DeltaDiscoveryRequest{
			first, request(xds.ListenerType), request(xds.RouteType, "out"), request(xds.VirtualHostType, "out/reviews:9080"),
		} {
			for todo := next.say(r); len(todo) > 0; todo = todo[1:] {
				for _, x := range todo[0].GetResources() {
					got = got || (x.GetName() == subset("") && todo[0].GetTypeUrl() == string(xds.ClusterType))
				}
				todo = append(todo, next.say(ack(todo[0]))...)
			}
		}
		if got == back {
			t.Errorf("to a proxy that has come back: %v, the refused cluster was sent: %v", back, got)
		}
		client.Close()
	}
}
