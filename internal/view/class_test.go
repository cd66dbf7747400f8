package view_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/view"
)

const domain = "cluster.local"

// town is a random mesh with rules and policies for some callers.
type town struct {
	*rand.Rand
	snapshot *mesh.Snapshot
}

func (r town) host() mesh.Host {
	return mesh.ServiceHost(fmt.Sprint("s", r.IntN(4)), []string{"a", "b"}[r.IntN(2)], domain)
}

func (r town) labels() mesh.Labels {
	labels := mesh.Labels{}
	for range r.IntN(3) {
		labels[[]string{"app", "version"}[r.IntN(2)]] = fmt.Sprint(r.IntN(2))
	}
	return labels
}

func (r town) source() *mesh.SourceMatch {
	if r.IntN(2) == 0 {
		return nil
	}
	s := &mesh.SourceMatch{Labels: r.labels()}
	if r.IntN(2) == 0 {
		s.Host = r.host()
	}
	return s
}

func newTown(seed uint64) town {
	r := town{Rand: rand.New(rand.NewPCG(seed, 2))} //nolint:gosec // repeatable on purpose
	draft := mesh.NewSnapshot(domain).Edit()
	for range 6 {
		h := r.host()
		draft.SetService(h, &mesh.Service{Host: h, Ports: []mesh.Port{{Name: "http", Number: 80, Protocol: mesh.HTTP}, {Name: "tcp", Number: 81, Protocol: mesh.TCP}}})
	}
	for range 4 {
		h := r.host()
		var rules []*mesh.RouteRule
		for i := range r.IntN(3) {
			rule := &mesh.RouteRule{
				Object: mesh.Ref{Kind: "RouteRule", Namespace: "a", Name: fmt.Sprint("r", i)}, Destination: h, Source: r.source(),
				Routes: []mesh.WeightedRoute{{Host: r.host(), Weight: 100}},
			}
			if r.IntN(5) == 0 {
				rule.TCP = &mesh.TCPMatch{Sources: []string{"127.0.0.0/8"}}
			}
			rules = append(rules, rule)
		}
		draft.SetRules(h, mesh.NewRuleSet(h, rules))
		draft.SetPolicies(h, mesh.NewPolicySet(h, []*mesh.DestinationPolicy{{
			Object: mesh.Ref{Kind: "DestinationPolicy", Namespace: "a", Name: fmt.Sprint("p", r.IntN(9))}, Destination: h, Source: r.source(), Balancer: mesh.Random,
		}}))
	}
	r.snapshot, _ = draft.Done()
	return r
}

func (r town) caller(i int) view.Caller {
	c := view.Caller{
		Proxy: mesh.ProxyID(fmt.Sprint("p", i)), Type: mesh.Sidecar, Namespace: []string{"a", "b"}[r.IntN(2)], Account: fmt.Sprint(r.IntN(2)),
		Labels: r.labels(), Address: fmt.Sprintf("127.0.0.%d", i+1),
	}
	switch r.IntN(6) {
	case 0:
		c.Type = mesh.Ingress
	case 1:
		c.Captured = "IPv4"
	case 2:
		c.Captured = "IPv4,IPv6"
	}
	if r.IntN(2) == 0 {
		c.Serves = []view.Served{{Host: r.host(), Port: 80}}
	}
	return c
}

// Callers of one group and one class get equal views of the resource, whatever rules and policies there are: a view may be
// cut once for all of them. In many meshes they are several.
func TestClassesGetEqualViews(t *testing.T) {
	t.Parallel()
	shared := 0
	for seed := range uint64(2000) {
		r := newTown(seed)
		local := mesh.Upstream{Host: r.host(), Port: 80 + r.IntN(2)}
		ids := []view.ID{
			view.VirtualHostOf("s0:80"), view.VirtualHostOf(string(r.host()) + ":80"), view.VirtualHostOf("s1.b:81"), view.InitHost(),
			view.LocalRoutesOf(local),
			{Kind: view.KindFilter, Name: view.LocalRoutesOf(local).Name},
			{Kind: view.KindRoutes, Name: view.OutboundRoutes},
			{Kind: view.KindRoutes, Name: view.DoorRoutes},
			view.ClusterOf(mesh.Subset{Host: r.host(), Port: 80}),
			{Kind: view.KindEndpoints, Name: mesh.Subset{Host: r.host(), Port: 80}.String()},
			{Kind: view.KindSecret, Name: "a/x"},
			{Kind: view.KindListener, Name: "outbound"},
			{Kind: view.KindListener, Name: view.Inspect},
			{Kind: view.KindCluster, Name: view.Inspect},
			{Kind: view.KindCluster, Name: view.Passthrough},
			{Kind: view.KindCluster, Name: view.Inbound},
			{Kind: view.KindCluster, Name: view.Probes},
			{Kind: view.KindCluster, Name: view.SecureProbes},
		}
		type key struct {
			group view.Group
			class string
		}
		first := map[key]string{}
		for i := range 12 {
			c := r.caller(i)
			for _, id := range ids {
				group := view.GroupOf(c, id)
				classes, _ := view.ClassesOf(r.snapshot, group)
				v, _ := view.Cut(r.snapshot, c.Project(id), id)
				k, hash := key{group, classes.Of(c)}, view.Hash(v)
				if before, ok := first[k]; ok && before != hash {
					t.Fatalf("seed %d: %s has two views in group %+v and class %q; the second is for %+v: %+v", seed, id, group, k.class, c, v)
				} else if ok {
					shared++
				}
				first[k] = hash
			}
		}
	}
	if shared < 100_000 {
		t.Errorf("only %d of 264000 views are shared", shared)
	}
}

// What captured workloads have in common is that of sidecars whose traffic is captured, and of those with addresses of the same families.
func TestWhoHasWhatIsCommon(t *testing.T) {
	t.Parallel()
	id := view.ID{Kind: view.KindListener, Name: "outbound"}
	group := func(w mesh.Workload) view.Group {
		w.Name, w.Namespace = "w", "default"
		return view.GroupOf(view.CallerOf(&w), id)
	}
	common := view.Group{ID: id, Captured: "IPv4"}
	if got := group(mesh.Workload{Type: mesh.Sidecar, Capture: true, Address: "10.0.0.1"}); got != common {
		t.Errorf("that of a captured workload is %+v", got)
	}
	both := mesh.Workload{Type: mesh.Sidecar, Capture: true, Address: "10.0.0.1", Further: []string{"fd00::1"}}
	if got := group(both); got != (view.Group{ID: id, Captured: "IPv4,IPv6"}) {
		t.Errorf("that of one with addresses of both families is %+v", got)
	}
	if got := group(mesh.Workload{Type: mesh.Sidecar, Address: "10.0.0.1"}); got != (view.Group{ID: id, Proxy: "w.default"}) {
		t.Errorf("that of one that is not captured is %+v", got)
	}
	for _, kind := range []mesh.ProxyType{mesh.Ingress, mesh.Proxyless} {
		if got := group(mesh.Workload{Type: kind, Capture: true, Address: "10.0.0.1"}); got.Captured != "" {
			t.Errorf("that of %s is %+v", kind, got)
		}
	}
}
