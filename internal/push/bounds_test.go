package push_test

import (
	"fmt"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/view"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// Who asks for ever more secrets that there are not holds no more of the control plane's memory than a bound.
func TestFloodOfSecrets(t *testing.T) {
	t.Parallel()
	w, f := one(t, push.Config{})
	c := settled(t, w, f)
	const rounds, each = 20, 2000
	for i := range rounds {
		var names []string
		for j := range each {
			names = append(names, fmt.Sprintf("default/secret-%d-%d", i, j))
		}
		c.say(request(xds.SecretType, names...))
	}
	for _, p := range w.Engine.Connected() {
		t.Logf("holds %v", p.Holds)
		if n := p.Holds[view.KindSecret]; n >= rounds*each {
			t.Errorf("a sidecar, which has no use for any, holds all %d secrets that it has asked for: there is no bound", n)
		}
	}
}

// A proxy that says that it holds any number of clusters makes as many for the control plane as a proxy may have.
func TestFloodOfHeldClusters(t *testing.T) {
	t.Parallel()
	w, f := one(t, push.Config{})
	c := newConversation(t, w, f)
	const names = 30_000
	first := request(xds.ClusterType)
	first.InitialResourceVersions = map[string]string{}
	for i := range names {
		first.InitialResourceVersions[mesh.Subset{Host: mesh.Host(fmt.Sprintf("n%d.default.svc.cluster.local", i)), Port: 80}.String()] = "x"
	}
	c.say(first)
	for _, r := range []*discoveryv3.DeltaDiscoveryRequest{
		request(xds.ListenerType), request(xds.RouteType, "out"), request(xds.VirtualHostType), request(xds.EndpointsType),
	} {
		c.say(r)
	}
	if n := w.Engine.Counters().Cuts.Load(); n > 20_000 {
		t.Errorf("one request had %d views cut", n)
	}
}

// Who says in one request that it needs the endpoints of many clusters no longer, which have just been removed, and those of a new one, is
// given the new ones: it holds no more than it may.
func TestEndpointsInExchange(t *testing.T) {
	t.Parallel()
	w, f := one(t, push.Config{Grace: time.Millisecond})
	c := newConversation(t, w, f)
	const many = 300
	var hosts, clusters []string
	w.Edit(func(d *mesh.Draft) {
		for i := range many {
			s := meshtest.NewService(fmt.Sprintf("s%d", i), "http", 80)
			d.SetService(s.Host, s)
			hosts = append(hosts, fmt.Sprintf("out/s%d:80", i))
			clusters = append(clusters, mesh.Subset{Host: s.Host, Port: 80}.String())
		}
	})
	removed := 0
	answer := func(sent []*discoveryv3.DeltaDiscoveryResponse) {
		for ; len(sent) > 0; sent = sent[1:] {
			if sent[0].GetTypeUrl() == string(xds.ClusterType) {
				removed += len(sent[0].GetRemovedResources())
			}
			sent = append(sent, c.say(ack(sent[0]))...)
		}
	}
	answer(c.say(request(xds.ClusterType)))
	answer(c.say(request(xds.ListenerType)))
	answer(c.say(request(xds.RouteType, "out")))
	answer(c.say(request(xds.VirtualHostType, hosts...)))
	answer(c.say(request(xds.EndpointsType, clusters...)))
	answer(c.say(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(xds.VirtualHostType), ResourceNamesUnsubscribe: hosts}))
	for end := time.Now().Add(meshtest.Patience); removed < many; {
		if answer(c.next()); time.Now().After(end) {
			t.Fatalf("%d of %d clusters are removed", removed, many)
		}
	}
	answer(c.say(request(xds.VirtualHostType, "out/reviews:9080")))
	exchange := request(xds.EndpointsType, subset(""))
	exchange.ResourceNamesUnsubscribe = clusters
	if sent := of(c.say(exchange), xds.EndpointsType); len(sent) != 1 || len(sent[0].GetResources()) != 1 {
		t.Errorf("sent %v, want the endpoints of reviews", sent)
	}
}
