package push

import (
	"fmt"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// A client that asks and never answers leaves a bounded list of names to be answered.
func TestNamesOfAClientThatNeverAnswers(t *testing.T) {
	t.Parallel()
	for _, typ := range []xds.Type{xds.EndpointsType, xds.VirtualHostType} {
		m := newModel(t, 0, false)
		say := func(r *discoveryv3.DeltaDiscoveryRequest) {
			event, err := m.session.Receive(r)
			if err != nil {
				t.Fatal(err)
			}
			m.proxy.Handle(m.session, event)
			m.proxy.Next(m.session)
		}
		const rounds, each = 60, 500
		for i := range rounds {
			var names []string
			for j := range each {
				name := fmt.Sprintf("nonsense-%d-%d", i, j)
				names = append(names, name)
			}
			say(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(typ), ResourceNamesSubscribe: names})
		}
		kind := kindOf[typ]
		waiting := len(m.proxy.gone[kind])
		for id := range m.proxy.extra {
			if id.Kind == kind {
				waiting++
			}
		}
		t.Logf("%s: %d of %d names wait", typ, waiting, rounds*each)
		if waiting > rounds*each/2 {
			t.Errorf("%s: %d of %d names wait for a client that has answered nothing: there is no bound", typ, waiting, rounds*each)
		}
	}
}

// Of a proxy that never answers no more revisions are remembered than anybody can ask for.
func TestMarksOfAProxyThatNeverAnswers(t *testing.T) {
	t.Parallel()
	m := newModel(t, 0, false)
	event, err := m.session.Receive(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(xds.ListenerType)})
	if err != nil {
		t.Fatal(err)
	}
	m.proxy.Handle(m.session, event)
	for i := range 3 * keptRevisions {
		w := *m.snapshot.Workload(m.proxy.id)
		w.Outbound = 15001 + i%2
		m.edit("listen on another port", func(d *mesh.Draft) { d.SetWorkload(w.ID(), &w) })
		m.next()
	}
	if n := len(m.proxy.marks); n > keptRevisions {
		t.Errorf("%d revisions are remembered for it, and %d can be asked for", n, keptRevisions)
	}
}
