package push_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// What proxies refuse is a problem of the object whose change brought it, and of no other, as long as they refuse it.
func TestRefusalIsAProblemOfItsObject(t *testing.T) {
	t.Parallel()
	w := meshtest.NewFakeMesh(t, push.Config{})
	registry := meshtest.Bulk(3)
	var refuse atomic.Bool
	var fakes []*meshtest.FakeProxy
	for i := range 3 {
		workload, fake := caller(i, "svc-001:9080")
		fake.Refuse = func(_ xds.Type, name string) string {
			if refuse.Load() && name == "out/svc-001:9080" {
				return "Invalid\nregex"
			}
			return ""
		}
		registry.Workloads, fakes = append(registry.Workloads, workload), append(fakes, fake)
	}
	w.Edit(func(d *mesh.Draft) { meshtest.Put(d, registry) })
	for _, f := range fakes {
		w.Connect(f)
		await(t, f.Await(t.Context(), xds.VirtualHostType, "out/svc-001:9080"))
	}
	w.Confirmed(w.Edit(rulesFor("a", "b")))
	if p := w.Engine.Problems(); len(p) != 0 {
		t.Fatalf("problems are %v, want none", p)
	}

	refuse.Store(true)
	if p := w.Engine.Progress(t.Context(), w.Edit(rulesFor("a", "c")), meshtest.Patience); len(p.Refusals) != 3 {
		t.Fatalf("progress is %+v, want three refusals", p)
	}
	problems := w.Engine.Problems()
	if len(problems) != 1 {
		t.Fatalf("problems are %v, want one", problems)
	}
	for _, want := range []string{
		"rules.yaml:20: error: RouteRule default/rule-1: 3 proxies, caller-000.default among them, refuse",
		"virtual-host out/svc-001:9080: Invalid regex [refused-by-proxy]",
	} {
		if got := problems[0].String(); !strings.Contains(got, want) {
			t.Errorf("the problem is %q, want %q in it", got, want)
		}
	}

	refuse.Store(false)
	w.Confirmed(w.Edit(rulesFor("a", "d")))
	if p := w.Engine.Problems(); len(p) != 0 {
		t.Errorf("problems are %v, want none when the object is mended", p)
	}
}

// rulesFor returns an edit that gives a service a rule for each path.
func rulesFor(paths ...string) func(*mesh.Draft) {
	host := hostNumber(1)
	var list []*mesh.RouteRule
	for i, path := range paths {
		list = append(list, &mesh.RouteRule{
			Object: mesh.Ref{Kind: "RouteRule", Namespace: "default", Name: fmt.Sprint("rule-", i)}, Destination: host,
			Origin: mesh.Position{File: "rules.yaml", Line: 10 * (i + 1)},
			URI:    &mesh.StringMatch{Kind: mesh.MatchPrefix, Value: "/" + path},
		})
	}
	return func(d *mesh.Draft) { d.SetRules(host, mesh.NewRuleSet(host, list)) }
}

// What no object has a say in is a matter of the workload whose proxy refuses it, also where others have the same.
func TestRefusalIsAProblemOfTheWorkload(t *testing.T) {
	t.Parallel()
	w := scopedMesh(t, push.Config{}, 1, 2)
	for i := range 2 {
		c := newConversation(t, w, &meshtest.FakeProxy{Node: mesh.Node{
			Type: mesh.Sidecar, Address: capturedAddress(i), Name: fmt.Sprintf("caller-%03d", i), Namespace: "default", Domain: "cluster.local",
		}})
		c.answer(c.say(request(xds.ClusterType)))
		listeners := of(c.say(request(xds.ListenerType)), xds.ListenerType)
		if i == 1 {
			c.say(nack(listeners[0], "error adding listener 'outbound': no"))
		} else {
			c.answer(listeners)
		}
	}
	problems := w.Engine.Problems()
	if len(problems) == 0 {
		t.Fatal("nobody is told that a listener was refused")
	}
	for _, p := range problems {
		if want := (mesh.Ref{Kind: "Workload", Namespace: "default", Name: "caller-001"}); p.Object != want {
			t.Errorf("it is a problem of %v, want %v: %s", p.Object, want, p)
		}
	}
}
