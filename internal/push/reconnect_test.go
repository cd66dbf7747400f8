package push_test

import (
	"fmt"
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/view"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// A cluster that was refused is made what it was before, also for a proxy that came back with it.
func TestRestoreAfterReconnection(t *testing.T) {
	t.Parallel()
	for name, back := range map[string]bool{"on its first stream": false, "that came back": true} {
		w, f := one(t, push.Config{})
		c := newConversation(t, w, f)
		held := map[xds.Type]map[string]string{}
		names := map[xds.Type][]string{
			xds.RouteType: {"out"}, xds.VirtualHostType: {"out/reviews:9080"}, xds.EndpointsType: {subset("")},
		}
		order := []xds.Type{xds.ClusterType, xds.ListenerType, xds.RouteType, xds.VirtualHostType, xds.EndpointsType}
		open := func() {
			for _, typ := range order {
				first := request(typ, names[typ]...)
				first.InitialResourceVersions = held[typ]
				for sent := c.say(first); len(sent) > 0; {
					r := sent[0]
					for _, x := range r.GetResources() {
						of := xds.Type(r.GetTypeUrl())
						if held[of] == nil {
							held[of] = map[string]string{}
						}
						held[of][x.GetName()] = x.GetVersion()
					}
					sent = append(sent[1:], c.say(ack(r))...)
				}
			}
		}
		open()
		good := held[xds.ClusterType][subset("")]
		if back {
			c.client.Close()
			c = newConversation(t, w, f)
			open()
		}
		w.Edit(func(d *mesh.Draft) { d.SetService(reviews, meshtest.NewService("reviews", "http2", 9080)) })
		sent := of(c.next(), xds.ClusterType)
		if len(sent) != 1 || sent[0].GetResources()[0].GetVersion() == good {
			t.Fatalf("a proxy %s: %v", name, sent)
		}
		again := of(c.say(nack(sent[0], "bad")), xds.ClusterType)
		if len(again) != 1 || len(again[0].GetResources()) != 1 || again[0].GetResources()[0].GetVersion() != good {
			t.Errorf("a proxy %s refuses a cluster, and is sent %v, want the version before, %s", name, again, good)
		}
	}
}

// A proxy that has refused a cluster and comes back is not left with it a second time.
func TestRefusedBeforeReconnection(t *testing.T) {
	t.Parallel()
	w, f := one(t, push.Config{})
	c := settled(t, w, f)
	var good string
	for _, s := range holds(t, w, f, c) {
		if s.Resource.Kind == view.KindCluster && s.Resource.Name == subset("") {
			good = s.Confirmed
		}
	}
	w.Edit(func(d *mesh.Draft) { d.SetService(reviews, meshtest.NewService("reviews", "http2", 9080)) })
	sent := of(c.next(), xds.ClusterType)
	bad := sent[0].GetResources()[0].GetVersion()
	c.answer(c.say(nack(sent[0], "bad")))
	c.client.Close()

	c = newConversation(t, w, f)
	first := request(xds.ClusterType)
	first.InitialResourceVersions = map[string]string{subset(""): good}
	again := false
	last := good
	for todo := of(c.say(first), xds.ClusterType); len(todo) > 0; {
		r := todo[0]
		todo = todo[1:]
		answer := ack(r)
		for _, x := range r.GetResources() {
			if x.GetName() == subset("") {
				if last = x.GetVersion(); last == bad {
					again, answer = true, nack(r, "bad")
				}
			}
		}
		todo = append(todo, of(c.say(answer), xds.ClusterType)...)
	}
	if again && last != good {
		t.Error("what it refused before was sent again, and not what it had before upon its second refusal")
	}
}

// Only the object whose change is refused has a problem, also when the proxy that refuses it has come back.
func TestBlameAfterReconnection(t *testing.T) {
	t.Parallel()
	w, f := one(t, push.Config{})
	rules := func(second string) func(*mesh.Draft) {
		return func(d *mesh.Draft) {
			var list []*mesh.RouteRule
			for i, uri := range []string{"/a", second} {
				list = append(list, &mesh.RouteRule{
					Object: mesh.Ref{Kind: "RouteRule", Namespace: "default", Name: fmt.Sprint("rule-", i)}, Destination: reviews, Precedence: 2 - i,
					Origin: mesh.Position{File: "rules.yaml", Line: 10 * (i + 1), Column: 1}, URI: &mesh.StringMatch{Kind: mesh.MatchExact, Value: uri},
				})
			}
			d.SetRules(reviews, mesh.NewRuleSet(reviews, list))
		}
	}
	w.Edit(rules("/b"))
	c := settled(t, w, f)
	held := map[xds.Type]map[string]string{}
	for _, s := range holds(t, w, f, c) {
		if held[s.Type] == nil {
			held[s.Type] = map[string]string{}
		}
		held[s.Type][s.Resource.Name] = s.Confirmed
	}
	w.Edit(rules("/c"))
	c.answer(c.say(nack(of(c.next(), xds.VirtualHostType)[0], "bad")))
	if p := w.Engine.Problems(); len(p) != 1 {
		t.Fatalf("before: %v", p)
	}
	c.client.Close()
	c = newConversation(t, w, f)
	for _, typ := range []xds.Type{xds.ClusterType, xds.ListenerType, xds.RouteType, xds.VirtualHostType, xds.EndpointsType} {
		first := request(typ)
		first.InitialResourceVersions = held[typ]
		for name := range held[typ] {
			if typ != xds.ClusterType && typ != xds.ListenerType {
				first.ResourceNamesSubscribe = append(first.ResourceNamesSubscribe, name)
			}
		}
		for todo := c.say(first); len(todo) > 0; {
			r := todo[0]
			answer := ack(r)
			if r.GetTypeUrl() == string(xds.VirtualHostType) {
				answer = nack(r, "bad")
			}
			todo = append(todo[1:], c.say(answer)...)
		}
	}
	if p := w.Engine.Problems(); len(p) != 1 {
		t.Errorf("after it came back %d objects have a problem, want one: %v", len(p), p)
	}
}
