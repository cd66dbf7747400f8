package push

import (
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/plan"
	"github.com/lateen-mesh/lateen/internal/view"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// However rules and policies for some callers come and go, every caller has the resource of its own facts, each entry is held by those who
// subscribe to it, and nothing is left when they have gone.
func TestGroupsAreWhatTheySay(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		random := rand.New(rand.NewPCG(seed, 7))
		e := NewEngine(Config{Log: slog.New(slog.DiscardHandler)})
		snapshot := mesh.NewSnapshot("cluster.local")
		edit := func(change func(*mesh.Draft)) {
			draft := snapshot.Edit()
			change(draft)
			var keys []mesh.Key
			snapshot, keys = draft.Done()
			e.Apply(snapshot, keys)
		}
		const callers = 6
		edit(func(d *mesh.Draft) {
			for i := range modelHosts {
				d.SetService(modelHost(i), modelService(i, mesh.HTTP))
			}
			for i := range callers {
				w := &mesh.Workload{
					Name: fmt.Sprint("c", i), Namespace: "default", Type: mesh.Sidecar, Address: fmt.Sprintf("127.0.0.%d", i+1), Outbound: 15001,
					Labels:    mesh.Labels{"app": fmt.Sprint("a", i%3), "version": fmt.Sprint("v", i%2)},
					Upstreams: []mesh.Upstream{{Host: modelHost(1), Port: 81, Listen: 4001}},
				}
				d.SetWorkload(w.ID(), w)
			}
		})
		var proxies []*Proxy
		for i := range callers {
			c, err := e.Open(t.Context(), xds.Peer{Node: &corev3.Node{Id: fmt.Sprintf("sidecar~127.0.0.%d~c%d.default~default.svc.cluster.local", i+1, i)}})
			if err != nil {
				t.Fatal(err)
			}
			proxies = append(proxies, c.(*Proxy))
		}
		ids := []view.ID{{Kind: view.KindFilter, Name: "local|81|" + string(modelHost(1))}}
		for i := range modelHosts {
			ids = append(ids, view.VirtualHostOf(fmt.Sprintf("s%d:80", i)), view.ID{Kind: view.KindRoutes, Name: "local|80|" + string(modelHost(i))})
		}
		have := make([]map[view.ID]string, callers)
		for i := range have {
			have[i] = map[view.ID]string{}
		}
		version := func(m *made) string {
			if m == nil {
				return ""
			}
			return m.resource.Version
		}
		for range 60 {
			i := random.IntN(callers)
			p, id := proxies[i], ids[random.IntN(len(ids))]
			switch n := random.IntN(10); {
			case n < 3:
				if _, ok := have[i][id]; !ok {
					m, _ := e.subscribe(p, id)
					have[i][id] = version(m)
				}
			case n == 3:
				if _, ok := have[i][id]; ok {
					e.unsubscribe(p, id, false)
					delete(have[i], id)
				}
			default:
				h := modelHost(random.IntN(modelHosts))
				source := func() *mesh.SourceMatch {
					switch random.IntN(3) {
					case 0:
						return nil
					case 1:
						return &mesh.SourceMatch{Labels: mesh.Labels{"app": fmt.Sprint("a", random.IntN(3))}}
					}
					return &mesh.SourceMatch{Labels: mesh.Labels{"version": fmt.Sprint("v", random.IntN(2))}}
				}
				edit(func(d *mesh.Draft) {
					switch random.IntN(4) {
					case 0:
						d.SetRules(h, nil)
					case 1:
						d.SetPolicies(h, mesh.NewPolicySet(h, []*mesh.DestinationPolicy{{Object: mesh.Ref{Kind: "DestinationPolicy", Namespace: "default", Name: "p"}, Destination: h, Source: source()}}))
					case 2:
						d.SetPolicies(h, nil)
					default:
						rule := &mesh.RouteRule{Object: mesh.Ref{Name: "x"}, Destination: h, Source: source(), Routes: []mesh.WeightedRoute{
							{Host: h, Labels: mesh.Labels{"version": fmt.Sprint("v", random.IntN(3))}, Weight: 50}, {Host: modelHost(random.IntN(modelHosts)), Weight: 50},
						}}
						if random.IntN(3) == 0 {
							rule.TCP = &mesh.TCPMatch{Sources: []string{fmt.Sprintf("127.0.0.%d/32", 1+random.IntN(callers))}}
						}
						d.SetRules(h, mesh.NewRuleSet(h, []*mesh.RouteRule{rule}))
					}
				})
			}
			for i, p := range proxies {
				if random.IntN(2) == 0 {
					continue
				}
				changed, _, _, _ := e.take(p)
				for id, m := range changed {
					if _, ok := have[i][id]; !ok {
						t.Fatalf("seed %d: %s is told of %s, to which it does not subscribe", seed, p.id, id)
					}
					have[i][id] = version(m)
				}
				for id, got := range have[i] {
					v, _ := view.Cut(snapshot, p.caller.Project(id), id)
					want := ""
					if v != nil {
						m, err := makeResource(plan.Of(v))
						if err != nil {
							t.Fatal(err)
						}
						want = version(m)
					}
					if got != want {
						t.Fatalf("seed %d: %s has %s in version %s, want %s", seed, p.id, id, got, want)
					}
				}
			}
			uses := map[*made]int{}
			for key, g := range e.groups {
				for class, en := range g.entries {
					if en.class != class || en.group != g || len(en.subscribers) == 0 || g.key != key {
						t.Fatalf("seed %d: entry %q of %v is not well", seed, class, key)
					}
					for p := range en.subscribers {
						if g.classes.Of(p.caller) != class {
							t.Fatalf("seed %d: %s is in class %q of %v", seed, p.id, class, key)
						}
					}
					uses[en.made]++
				}
			}
			delete(uses, nil)
			if len(uses) != len(e.made) {
				t.Fatalf("seed %d: %d resources are held, %d known", seed, len(uses), len(e.made))
			}
			for m, n := range uses {
				if m.uses != n {
					t.Fatalf("seed %d: %s is held by %d, counted as %d", seed, m.resource.Name, n, m.uses)
				}
			}
		}
		for i, p := range proxies {
			for id := range maps.Clone(have[i]) {
				e.unsubscribe(p, id, false)
			}
		}
		if len(e.groups)+len(e.made)+len(e.readers) > 0 {
			t.Fatalf("seed %d: %d groups, %d resources and %d readers are left", seed, len(e.groups), len(e.made), len(e.readers))
		}
	}
}
