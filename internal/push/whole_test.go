package push_test

import (
	"slices"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// keeping answers responses as a proxy that keeps what it gets.
type keeping struct {
	*conversation
	held map[xds.Type]map[string]string // versions by name
}

// most opens all types but that of filters, which an Envoy asks for last if it had no listener for bytes at first.
func (k *keeping) most(cluster string) {
	k.t.Helper()
	k.open(xds.ClusterType)
	k.open(xds.ListenerType)
	k.open(xds.RouteType, "out")
	k.open(xds.VirtualHostType)
	k.open(xds.EndpointsType, cluster)
}

// open sends the first request for a type on a stream, with what the proxy holds of it.
func (k *keeping) open(typ xds.Type, names ...string) {
	k.t.Helper()
	k.take(k.say(&discoveryv3.DeltaDiscoveryRequest{
		TypeUrl: string(typ), ResourceNamesSubscribe: names, InitialResourceVersions: k.held[typ],
	}))
}

func (k *keeping) take(responses []*discoveryv3.DeltaDiscoveryResponse) {
	k.t.Helper()
	for _, r := range responses {
		typ := xds.Type(r.GetTypeUrl())
		if k.held[typ] == nil {
			k.held[typ] = map[string]string{}
		}
		for _, x := range r.GetResources() {
			k.held[typ][x.GetName()] = x.GetVersion()
		}
		k.take(k.say(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()}))
	}
}

// A proxy that comes back and has a local address for bytes is waited for until it has asked for what stands behind it
// again: before that nobody knows whether it has the newest.
func TestWholeWithFilters(t *testing.T) {
	t.Parallel()
	w, f := one(t, push.Config{})
	db := meshtest.NewService("db", "tcp", 3306)
	running := *w.Snapshot.Workload(f.Node.ID())
	running.Running, running.Upstreams = true, []mesh.Upstream{{Host: db.Host, Port: 3306, Listen: 4000}}
	toDB := func(version string) func(*mesh.Draft) {
		return func(d *mesh.Draft) {
			d.SetRules(db.Host, mesh.NewRuleSet(db.Host, []*mesh.RouteRule{{
				Object: mesh.Ref{Kind: "RouteRule", Namespace: "default", Name: "db"}, Destination: db.Host,
				Routes: []mesh.WeightedRoute{{Host: db.Host, Labels: mesh.Labels{"version": version}, Weight: 100}},
			}}))
		}
	}
	w.Edit(func(d *mesh.Draft) { d.SetService(db.Host, db); d.SetWorkload(running.ID(), &running) })
	w.Edit(toDB("v1"))

	const filter = "local|3306|db.default.svc.cluster.local"
	cluster := mesh.Subset{Host: db.Host, Port: 3306, Labels: mesh.Labels{"version": "v1"}}.String()
	k := &keeping{newConversation(t, w, f), map[xds.Type]map[string]string{}}
	k.most(cluster)
	k.open(xds.FilterType, filter)
	if k.held[xds.FilterType][filter] == "" {
		t.Fatalf("the proxy holds %v", k.held)
	}
	k.client.Close()

	revision := w.Edit(toDB("v2"))
	k.conversation = newConversation(t, w, f)
	k.most(cluster)
	if p := w.Engine.Progress(t.Context(), revision, 20*time.Millisecond); !slices.Equal(p.Waiting, []mesh.ProxyID{running.ID()}) {
		t.Errorf("before the proxy has asked for its filter %v are waited for, want it: %+v", p.Waiting, p)
	}
	k.open(xds.FilterType, filter)
}
