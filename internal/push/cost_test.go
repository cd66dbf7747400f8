package push_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// caller returns the workload number i and its proxy, which calls the hosts.
func caller(i int, hosts ...string) (*mesh.Workload, *meshtest.FakeProxy) {
	name := fmt.Sprintf("caller-%03d", i)
	w := &mesh.Workload{
		Name: name, Namespace: meshtest.Namespace, Type: mesh.Sidecar, Account: "default",
		Labels: mesh.Labels{"app": "caller", "number": fmt.Sprint(i)}, Address: "127.0.0.1", Outbound: 15001,
	}
	return w, meshtest.NewFakeProxy(mesh.Node{
		Type: mesh.Sidecar, Address: w.Address, Name: name, Namespace: w.Namespace, Domain: meshtest.Domain,
	}, hosts...)
}

const (
	services = 300
	proxies  = 100
	// Proxy i calls the services i, i+1 and i+2: each of the services 2 to 99 is called by three proxies.
	calls = 3
)

func hostNumber(i int) mesh.Host { return meshtest.HostOf(fmt.Sprintf("svc-%03d", i)) }

// callers fills the mesh with services and with connected proxies that have everything they asked for.
func callers(t *testing.T, w *meshtest.FakeMesh) []*meshtest.FakeProxy {
	t.Helper()
	registry := meshtest.Bulk(services)
	var fakes []*meshtest.FakeProxy
	for i := range proxies {
		var hosts []string
		for j := range calls {
			hosts = append(hosts, fmt.Sprintf("svc-%03d:9080", i+j))
		}
		workload, fake := caller(i, hosts...)
		registry.Workloads = append(registry.Workloads, workload)
		fakes = append(fakes, fake)
	}
	w.Edit(func(d *mesh.Draft) { meshtest.Put(d, registry) })
	for i, f := range fakes {
		w.Connect(f)
		for j := range calls {
			if err := f.Await(t.Context(), xds.VirtualHostType, fmt.Sprintf("out/svc-%03d:9080", i+j)); err != nil {
				t.Fatal(err)
			}
		}
		f.Got()
	}
	return fakes
}

// A changed rule re-cuts the views that read it, and only their subscribers are sent anything.
func TestOneRuleCostsWhatReadsIt(t *testing.T) {
	w := meshtest.NewFakeMesh(t, push.Config{})
	fakes := callers(t, w)
	host := hostNumber(42) // called by the proxies 40, 41 and 42
	rule := func(version string) func(*mesh.Draft) {
		return func(d *mesh.Draft) {
			d.SetRules(host, mesh.NewRuleSet(host, []*mesh.RouteRule{{
				Object: mesh.Ref{Kind: "RouteRule", Namespace: "default", Name: "one"}, Destination: host,
				Routes: []mesh.WeightedRoute{{Host: host, Labels: mesh.Labels{"version": version}, Weight: 100}},
			}}))
		}
	}
	w.Confirmed(w.Edit(rule("v1"))) // was absent: absences lead to their readers too
	for _, f := range fakes {
		f.Got()
	}
	before := work(w)

	if concerned := w.Confirmed(w.Edit(rule("v2"))); concerned != calls {
		t.Errorf("the change concerns %d proxies, want %d", concerned, calls)
	}

	// The three callers' labels differ, but no rule asks for them: one view of the virtual host, one of the cluster for the
	// new subset and one of its endpoints, cut once for all of them.
	const cuts = 3
	if got := work(w).cuts - before.cuts; got != cuts {
		t.Errorf("%d views were cut, want %d", got, cuts)
	}
	// Each caller is sent the cluster, its endpoints and the virtual host.
	if got := work(w).sends - before.sends; got != 3*calls {
		t.Errorf("%d resources were sent, want %d", got, 3*calls)
	}
	for i, f := range fakes {
		var names []string
		for _, g := range f.Got() {
			names = append(names, g.Name)
		}
		subset := mesh.Subset{Host: host, Port: 9080, Labels: mesh.Labels{"version": "v2"}}.String()
		var want []string
		if i >= 40 && i <= 42 {
			want = []string{subset, subset, "out/svc-042:9080"}
		}
		if !slices.Equal(names, want) {
			t.Errorf("proxy %d was sent %q, want %q", i, names, want)
		}
	}
}

// A changed endpoint re-cuts its cluster's endpoints once, and is sent to those who have that cluster.
func TestOneEndpointCostsItsCluster(t *testing.T) {
	w := meshtest.NewFakeMesh(t, push.Config{})
	fakes := callers(t, w)
	host := hostNumber(7)
	before := work(w)

	concerned := w.Confirmed(w.Edit(func(d *mesh.Draft) {
		d.SetEndpoints(host, &mesh.EndpointSet{Host: host, Endpoints: []mesh.Endpoint{{
			Address: "127.201.0.1", Ports: map[string]int{"http": 9080}, Health: mesh.Healthy,
		}}})
	}))

	after := work(w)
	if cuts := after.cuts - before.cuts; cuts != 1 {
		t.Errorf("%d views were cut, want 1", cuts)
	}
	if made := after.makes - before.makes; made != 1 {
		t.Errorf("%d resources were made, want 1", made)
	}
	if sends := after.sends - before.sends; sends != calls || concerned != calls {
		t.Errorf("%d resources were sent to %d proxies, want %d to as many", sends, concerned, calls)
	}
	for i, f := range fakes {
		got := f.Got()
		if i >= 5 && i <= 7 {
			if len(got) != 1 || got[0].Type != xds.EndpointsType {
				t.Errorf("proxy %d was sent %v, want the endpoints alone", i, got)
			}
		} else if len(got) != 0 {
			t.Errorf("proxy %d was sent %v, want nothing", i, got)
		}
	}
}

// A change that no proxy's configuration reads costs nothing at all.
func TestUnusedChangeCostsNothing(t *testing.T) {
	w := meshtest.NewFakeMesh(t, push.Config{})
	callers(t, w)
	before := work(w)
	unused := hostNumber(250)
	if n := w.Confirmed(w.Edit(func(d *mesh.Draft) { d.SetEndpoints(unused, nil) })); n != 0 {
		t.Errorf("the change concerns %d proxies, want none", n)
	}
	if after := work(w); after != before {
		t.Errorf("work went from %+v to %+v", before, after)
	}
}

// A rule that only moves to another line is cut anew, and nobody is sent anything: equal bytes, equal version.
func TestSameBytesAreNotSent(t *testing.T) {
	w := meshtest.NewFakeMesh(t, push.Config{})
	callers(t, w)
	host := hostNumber(3)
	at := func(line int) func(*mesh.Draft) {
		return func(d *mesh.Draft) {
			d.SetRules(host, mesh.NewRuleSet(host, []*mesh.RouteRule{{
				Object: mesh.Ref{Kind: "RouteRule", Namespace: "default", Name: "one"}, Destination: host,
				Origin: mesh.Position{File: "rules.yaml", Line: line},
			}}))
		}
	}
	w.Confirmed(w.Edit(at(1)))
	before := work(w)
	if n := w.Confirmed(w.Edit(at(9))); n != 0 {
		t.Errorf("the change concerns %d proxies, want none", n)
	}
	after := work(w)
	if after.cuts-before.cuts != 1 || after.sends != before.sends {
		t.Errorf("work went from %+v to %+v: want one cut and nothing sent", before, after)
	}
}

// counted is the state of an engine's counters.
type counted struct{ cuts, makes, sends int64 }

func work(w *meshtest.FakeMesh) counted {
	c := w.Engine.Counters()
	return counted{c.Cuts.Load(), c.Makes.Load(), c.Sends.Load()}
}

// A rule for some callers divides those who share a view, and costs one cut for each side; only they are sent anything for
// whom it changes something. When it goes they are one again.
func TestSourceRuleDividesCallers(t *testing.T) {
	t.Parallel()
	w := meshtest.NewFakeMesh(t, push.Config{})
	registry := meshtest.Bulk(3)
	var fakes []*meshtest.FakeProxy
	for i := range 10 {
		workload, fake := caller(i, "svc-001:9080")
		registry.Workloads, fakes = append(registry.Workloads, workload), append(fakes, fake)
	}
	w.Edit(func(d *mesh.Draft) { meshtest.Put(d, registry) })
	for _, f := range fakes {
		w.Connect(f)
		if err := f.Await(t.Context(), xds.VirtualHostType, "out/svc-001:9080"); err != nil {
			t.Fatal(err)
		}
	}
	host := hostNumber(1)
	rule := func(set bool) int64 {
		return w.Edit(func(d *mesh.Draft) {
			if !set {
				d.SetRules(host, nil)
				return
			}
			d.SetRules(host, mesh.NewRuleSet(host, []*mesh.RouteRule{{
				Object: mesh.Ref{Kind: "RouteRule", Namespace: "default", Name: "one"}, Destination: host,
				Source: &mesh.SourceMatch{Labels: mesh.Labels{"number": "4"}}, Timeout: new(mesh.Duration),
			}}))
		})
	}
	for _, set := range []bool{true, false} {
		before := work(w)
		if n := w.Confirmed(rule(set)); n != 1 {
			t.Errorf("the rule concerns %d proxies, want 1", n)
		}
		after := work(w)
		want := int64(1)
		if set {
			want = 2
		}
		if cuts := after.cuts - before.cuts; cuts != want || after.sends-before.sends != 1 {
			t.Errorf("with the rule %v: %d cuts and %d resources sent, want %d and 1", set, cuts, after.sends-before.sends, want)
		}
	}
	got := fakes[4].Got()
	if last := got[len(got)-1]; last.Name != "out/svc-001:9080" {
		t.Errorf("the proxy was sent %v last, want its virtual host", last)
	}
}
