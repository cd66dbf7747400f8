package push_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// ruleInFile returns a rule that stands in a file and adds a header to all requests for a host.
func ruleInFile(name string, host mesh.Host, header string) *mesh.RouteRule {
	return &mesh.RouteRule{
		Object: mesh.Ref{Kind: "RouteRule", Namespace: "default", Name: name}, Origin: mesh.Position{File: "f", Line: 1}, Destination: host,
		URI: &mesh.StringMatch{Kind: mesh.MatchExact, Value: "/" + name}, Append: []mesh.Header{{Name: "x", Value: header}},
	}
}

// reaches returns what is told of objects, "one 1/2" each.
func reaches(w *meshtest.FakeMesh) string {
	var told []string
	for more := true; more; {
		var list []push.Reach
		list, _, more = w.Engine.Reaches()
		for _, r := range list {
			told = append(told, fmt.Sprintf("%s %d/%d", r.Object.Name, r.Confirmed, r.Concerned))
		}
	}
	slices.Sort(told)
	return strings.Join(told, ", ")
}

// Of each object it is known which proxies have what came of it and have confirmed the newest of that; that another object of the
// same resource changes is no news of it.
func TestReachOfAnObject(t *testing.T) {
	t.Parallel()
	w, f := one(t, push.Config{Reaches: true})
	c := settled(t, w, f)
	expect := func(when, want string) {
		t.Helper()
		if got := reaches(w); got != want {
			t.Errorf("%s: %q, want %q", when, got, want)
		}
	}
	set := func(rules ...*mesh.RouteRule) {
		w.Edit(func(d *mesh.Draft) { d.SetRules(reviews, mesh.NewRuleSet(reviews, rules)) })
	}
	expect("without objects", "")
	set(ruleInFile("a", reviews, "1"), ruleInFile("b", reviews, "1"))
	expect("before they are sent", "a 0/1, b 0/1")
	sent := c.next()
	expect("before they are confirmed", "")
	c.answer(sent)
	expect("when they are confirmed", "a 1/1, b 1/1")
	set(ruleInFile("a", reviews, "2"), ruleInFile("b", reviews, "1"))
	expect("when one of them has changed", "a 0/1")
	c.say(nack(of(c.next(), xds.VirtualHostType)[0], "I do not like it"))
	expect("when that is refused", "a 0/1")
	set(ruleInFile("a", reviews, "3"), ruleInFile("b", reviews, "1"))
	c.answer(c.next())
	expect("when it is mended", "a 1/1")
	moved := ruleInFile("a", reviews, "3")
	moved.Origin.Line = 7
	set(moved, ruleInFile("b", reviews, "1"))
	expect("when it has only moved in its file", "")
	set(ruleInFile("b", reviews, "1"))
	c.answer(c.next())
	expect("when one is deleted", "a 0/0")
	c.client.Close()
	expect("when the proxy is gone", "b 0/0")
}

// Those proxies count that have something of the object, and it costs nothing to ask where nothing has changed.
func TestReachCountsThoseConcerned(t *testing.T) {
	w := meshtest.NewFakeMesh(t, push.Config{Reaches: true})
	callers(t, w)
	host := hostNumber(42) // called by the proxies 40, 41 and 42
	w.Confirmed(w.Edit(func(d *mesh.Draft) {
		d.SetRules(host, mesh.NewRuleSet(host, []*mesh.RouteRule{ruleInFile("one", host, "1")}))
	}))
	if got := reaches(w); got != "one 3/3" {
		t.Errorf("at first: %q", got)
	}
	other := hostNumber(43)
	w.Confirmed(w.Edit(func(d *mesh.Draft) {
		d.SetEndpoints(host, &mesh.EndpointSet{Host: host})
		d.SetRules(other, mesh.NewRuleSet(other, []*mesh.RouteRule{ruleInFile("two", other, "1")}))
	}))
	if got := reaches(w); got != "two 3/3" {
		t.Errorf("after other changes: %q", got)
	}
	workload, more := caller(proxies, "svc-042:9080")
	w.Edit(func(d *mesh.Draft) { d.SetWorkload(workload.ID(), workload) })
	w.Connect(more)
	if err := more.Await(t.Context(), xds.VirtualHostType, "out/svc-042:9080"); err != nil {
		t.Fatal(err)
	}
	w.Confirmed(w.Edit(func(d *mesh.Draft) {
		d.SetRules(host, mesh.NewRuleSet(host, []*mesh.RouteRule{ruleInFile("one", host, "2")}))
	}))
	if got := reaches(w); got != "one 4/4" {
		t.Errorf("with one more proxy: %q", got)
	}
}
