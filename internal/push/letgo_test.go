package push_test

import (
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/view"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// The bytes of a listener that its proxy has confirmed are not kept: neither of one that was sent, nor of one that a proxy brings. Who
// wants them after all gets the same.
func TestConfirmedListenersAreLetGo(t *testing.T) {
	t.Parallel()
	w, f := one(t, push.Config{})
	bytes := func() int { return w.Engine.Size().Bytes }
	c := newConversation(t, w, f)
	c.answer(c.say(request(xds.ClusterType)))
	before := bytes()
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
	if n := bytes() - before; n != size {
		t.Fatalf("%d bytes of listeners are kept until they are confirmed, of %d", n, size)
	}
	c.say(ack(sent[0]))
	if n := bytes() - before; n != 0 {
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
	before = bytes()
	if sent := of(back.say(first), xds.ListenerType); len(sent) != 0 || bytes() != before {
		t.Errorf("of listeners that a proxy brings %d bytes are kept, and it is sent %v", bytes()-before, sent)
	}
}

func equalResources(a, b *discoveryv3.DeltaDiscoveryResponse) bool {
	return proto.Equal(&discoveryv3.DeltaDiscoveryResponse{Resources: a.GetResources()}, &discoveryv3.DeltaDiscoveryResponse{Resources: b.GetResources()})
}
