package push

import (
	"testing"

	statusv3 "google.golang.org/genproto/googleapis/rpc/status"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// A refusal that comes when a later version is on its way already says nothing of that one: what the proxy has in the end
// is known, and the newest.
func TestLateRefusalLeavesLaterVersions(t *testing.T) {
	t.Parallel()
	m := newModel(t, 0, false)
	say := func(r *request) {
		event, err := m.session.Receive(r)
		if err != nil {
			t.Fatal(err)
		}
		m.proxy.Handle(m.session, event)
	}
	version := map[string]string{} // of the listener that nonces carried
	next := func(typ xds.Type) (nonce string) {
		for _, r := range m.next() {
			if xds.Type(r.GetTypeUrl()) != typ {
				continue
			}
			nonce = r.GetNonce()
			for _, x := range r.GetResources() {
				if x.GetName() == "outbound" {
					version[nonce] = x.GetVersion()
				}
			}
		}
		return nonce
	}
	answer := func(typ xds.Type, nonce string, refusal *statusv3.Status) {
		say(&request{TypeUrl: string(typ), ResponseNonce: nonce, ErrorDetail: refusal})
	}
	outbound := func(port int) {
		w := *m.snapshot.Workload(m.proxy.id)
		w.Outbound = port
		m.edit("listen on another port", func(d *mesh.Draft) { d.SetWorkload(w.ID(), &w) })
	}

	say(&request{TypeUrl: string(xds.ClusterType)})
	answer(xds.ClusterType, next(xds.ClusterType), nil)
	say(&request{TypeUrl: string(xds.ListenerType)})
	first := next(xds.ListenerType)
	answer(xds.ListenerType, first, nil)
	outbound(15002)
	refused := next(xds.ListenerType)
	outbound(15003)
	later := next(xds.ListenerType)
	answer(xds.ListenerType, refused, &statusv3.Status{Message: "bad"})
	outbound(15001)
	last := next(xds.ListenerType)
	answer(xds.ListenerType, later, nil)
	if version[last] != version[first] || version[first] == "" {
		t.Errorf("after the proxy took %q it was sent %q, and not %q again", version[later], version[last], version[first])
	}
}
