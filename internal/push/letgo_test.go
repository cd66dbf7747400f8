package push_test

import (
	"bytes"
	"fmt"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/view"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// The bytes of a listener that its proxy has confirmed are not kept: neither of one that was sent, nor of one that a proxy brings. Who
// wants them after all gets the same.
func TestConfirmedListenersAreLetGo(t *testing.T) {
	t.Parallel()
	w, f := one(t, push.Config{})
	kept := func() int { return w.Engine.Size().Bytes }
	c := newConversation(t, w, f)
	c.answer(c.say(request(xds.ClusterType)))
	before := kept()
	sent := of(c.say(request(xds.ListenerType)), xds.ListenerType)
	if len(sent) != 1 || len(sent[0].GetResources()) == 0 {
		t.Fatalf("sent are %v", sent)
	}
	size := 0
	held := map[string]string{}
	for _, r := range sent[0].GetResources() {
		size += len(r.GetResource().GetValue())
		held[r.GetName()] = r.GetVersion()
	}
	if n := kept() - before; n != size {
		t.Fatalf("%d bytes of listeners are kept until they are confirmed, of %d", n, size)
	}
	c.say(ack(sent[0]))
	if n := kept() - before; n != 0 {
		t.Errorf("%d bytes of confirmed listeners are kept", n)
	}

	anew := newConversation(t, w, f) // the stream before is not known to be lost
	anew.answer(anew.say(request(xds.ClusterType)))
	again := of(anew.say(request(xds.ListenerType)), xds.ListenerType)
	if len(again) != 1 || !equalResources(again[0], sent[0]) {
		t.Errorf("a proxy that has started anew is sent\n%v\nnot\n%v", again, sent[0])
	}
	for _, s := range holds(t, w, f, anew) {
		if text, err := s.Text(); s.Resource.Kind == view.KindListener && (err != nil || text == "") {
			t.Errorf("%s as text: %q, %v", s.Resource, text, err)
		}
	}
	c.client.Close()
	anew.client.Close()

	back := newConversation(t, w, f)
	first := request(xds.ListenerType)
	first.InitialResourceVersions = held
	before = kept()
	if sent := of(back.say(first), xds.ListenerType); len(sent) != 0 || kept() != before {
		t.Errorf("of listeners that a proxy brings %d bytes are kept, and it is sent %v", kept()-before, sent)
	}
}

// Listeners in which nothing of a workload stands but what others have too are one resource for all of them. Its bytes are there as long as
// others may want them: they are not made anew for each proxy.
func TestListenersThatAreAlikeAreShared(t *testing.T) {
	t.Parallel()
	w := scopedMesh(t, push.Config{}, 3, 4)
	var bodies [][][]byte
	for i := range 4 {
		c := newConversation(t, w, &meshtest.FakeProxy{Node: mesh.Node{
			Type: mesh.Sidecar, Address: capturedAddress(i), Name: fmt.Sprintf("caller-%03d", i), Namespace: "default", Domain: "cluster.local",
		}})
		c.answer(c.say(request(xds.ClusterType)))
		sent := of(c.say(request(xds.ListenerType)), xds.ListenerType)
		var got [][]byte
		for _, res := range sent {
			for _, r := range res.GetResources() {
				got = append(got, r.GetResource().GetValue())
			}
			c.say(ack(res))
		}
		bodies = append(bodies, got)
	}
	if made := w.Engine.Counters().Makes.Of(string(view.KindListener)); len(bodies[0]) != 2 || made != 2 {
		t.Fatalf("%d listeners were made for 4 proxies of %d each, want 2 of 2", made, len(bodies[0]))
	}
	// Each proxy has a listener for what comes in. Two others, one of which there is not, and four clusters are cut for all.
	counts := w.Engine.Counters()
	if listeners, clusters := counts.Cuts.Of(string(view.KindListener)), counts.Cuts.Of(string(view.KindCluster)); listeners != 4+2 || clusters != 4 {
		t.Errorf("%d listeners and %d clusters were cut, want %d and %d: those that all have once", listeners, clusters, 4+2, 4)
	}
	for i, got := range bodies {
		for k := range got {
			if !bytes.Equal(got[k], bodies[0][k]) {
				t.Errorf("proxy %d has another listener than the first", i)
			}
			if i > 1 && &got[k][0] != &bodies[1][k][0] {
				t.Errorf("for proxy %d the bytes of a listener that others have were made anew", i)
			}
		}
	}
}

func equalResources(a, b *discoveryv3.DeltaDiscoveryResponse) bool {
	return proto.Equal(&discoveryv3.DeltaDiscoveryResponse{Resources: a.GetResources()}, &discoveryv3.DeltaDiscoveryResponse{Resources: b.GetResources()})
}
