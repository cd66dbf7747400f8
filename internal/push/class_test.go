package push_test

import (
	"fmt"
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// What cannot be made leaves proxies what they have, also where it is for some callers only.
func TestWhatCannotBeMadeChangesNothing(t *testing.T) {
	t.Parallel()
	for name, source := range map[string]*mesh.SourceMatch{"everybody": nil, "some": {Labels: mesh.Labels{"app": "other"}}} {
		w, f := one(t, push.Config{})
		c := settled(t, w, f)
		from := func(network string, source *mesh.SourceMatch) func(*mesh.Draft) {
			return func(d *mesh.Draft) {
				d.SetRules(reviews, mesh.NewRuleSet(reviews, []*mesh.RouteRule{
					{
						Object: mesh.Ref{Kind: "RouteRule", Namespace: "default", Name: "a"}, Destination: reviews, Precedence: 1, Source: source,
						URI: &mesh.StringMatch{Kind: mesh.MatchExact, Value: "/slow"},
					},
					{
						Object: mesh.Ref{Kind: "RouteRule", Namespace: "default", Name: "b"}, Destination: reviews,
						TCP: &mesh.TCPMatch{Sources: []string{network}},
					},
				}))
			}
		}
		w.Edit(from("127.0.0.0/8", nil))
		c.answer(c.next())
		w.Edit(from("no network", source))
		if sent := of(c.next(), xds.VirtualHostType); len(sent) > 0 {
			t.Errorf("a rule for %s that cannot be made has this sent: %.600s", name, sent[0])
		}
	}
}

// The virtual hosts of replicas are cut once, also where a rule asks for addresses: those steer bytes, and no view of a virtual host
// reads the caller's.
func TestReplicasShareVirtualHosts(t *testing.T) {
	t.Parallel()
	const n = 20
	w, fakes := replicas(t, push.Config{}, n, mesh.Uses{})
	w.Edit(func(d *mesh.Draft) {
		for i, f := range fakes {
			workload := *w.Snapshot.Workload(f.Node.ID())
			workload.Address = fmt.Sprintf("127.0.0.%d", i+1)
			d.SetWorkload(workload.ID(), &workload)
		}
	})
	for _, f := range fakes {
		w.Connect(f)
		await(t, f.Await(t.Context(), xds.VirtualHostType, "out/_init"))
		await(t, f.Ask("svc-003:9080"))
	}
	for _, f := range fakes {
		await(t, f.Await(t.Context(), xds.VirtualHostType, "out/svc-003:9080"))
	}
	host := hostNumber(3)
	set := func(tcp *mesh.TCPMatch, uri string) {
		w.Confirmed(w.Edit(func(d *mesh.Draft) {
			d.SetRules(host, mesh.NewRuleSet(host, []*mesh.RouteRule{
				{
					Object: mesh.Ref{Kind: "RouteRule", Namespace: "default", Name: "a"}, Destination: host, Precedence: 1,
					URI: &mesh.StringMatch{Kind: mesh.MatchExact, Value: uri},
				},
				{Object: mesh.Ref{Kind: "RouteRule", Namespace: "default", Name: "b"}, Destination: host, TCP: tcp},
			}))
		}))
	}
	for name, tcp := range map[string]*mesh.TCPMatch{"without addresses": nil, "with addresses": {Sources: []string{"127.0.0.0/8"}}} {
		set(tcp, "/one")
		before := w.Engine.Counters().Cuts.Load()
		set(tcp, "/two")
		if cuts := w.Engine.Counters().Cuts.Load() - before; cuts > 2 {
			t.Errorf("%s a rule had %d views cut for %d replicas that are alike", name, cuts, n)
		}
	}
}
