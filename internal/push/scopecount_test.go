package push

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/view"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// However services come, go, move and come back: how many scopes a proxy has and which it has not confirmed is told right, and neither
// that nor what it is sent for a change walks over the others.
func TestScopesAreCounted(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(7, 1)) //nolint:gosec // repeatable on purpose
	e := NewEngine(Config{Log: slog.New(slog.DiscardHandler)})
	snapshot := mesh.NewSnapshot("cluster.local")
	edit := func(change func(*mesh.Draft)) {
		draft := snapshot.Edit()
		change(draft)
		var keys []mesh.Key
		snapshot, keys = draft.Done()
		e.Apply(snapshot, keys)
	}
	edit(func(d *mesh.Draft) {
		w := &mesh.Workload{Name: "c", Namespace: "default", Type: mesh.Sidecar, Address: "10.244.0.1", Capture: true}
		d.SetWorkload(w.ID(), w)
	})
	peer := xds.Peer{Node: &corev3.Node{Id: "sidecar~10.244.0.1~c.default~default.svc.cluster.local"}}
	client, err := e.Open(t.Context(), peer)
	if err != nil {
		t.Fatal(err)
	}
	p, session := client.(*Proxy), xds.NewSession()
	say := func(r *request) {
		t.Helper()
		event, err := session.Receive(r)
		if err != nil {
			t.Fatal(err)
		}
		p.Handle(session, event)
	}
	say(&request{TypeUrl: string(xds.ScopeType)})
	first, _ := p.Next(session)
	say(&request{TypeUrl: string(xds.ScopeType), ResponseNonce: first[0].Nonce})
	pendingScopes := func() (n [2]int) {
		for _, w := range p.pending() {
			if w.Resource.Kind == view.KindScope {
				n[0]++
				if w.Sent {
					n[1]++
				}
			}
		}
		return n
	}
	for range 500 {
		i := random.IntN(10)
		edit(func(d *mesh.Draft) {
			svc := modelService(i, mesh.HTTP)
			for range random.IntN(3) {
				svc.Addresses = append(svc.Addresses, fmt.Sprintf("10.96.%d.%d", i, 1+random.IntN(4)))
			}
			if random.IntN(3) == 0 {
				svc = nil
			}
			d.SetService(modelHost(i), svc)
		})
		there := 0
		for _, s := range e.scopes.by {
			if s.entry.made != nil {
				there++
			}
		}
		e.scopes.by["none"] = nil // who walks over all scopes stumbles
		waiting := pendingScopes()
		responses, _ := p.Next(session)
		sent := pendingScopes()
		delete(e.scopes.by, "none")
		carried := 0
		for _, r := range responses {
			carried += len(r.Resources)
			say(&request{TypeUrl: string(r.Type), ResponseNonce: r.Nonce})
		}
		if want := [2]int{carried, 0}; waiting != want {
			t.Fatalf("before they are sent so many are waited for, and on their way: %v, want %v", waiting, want)
		}
		if want := [2]int{carried, carried}; sent != want {
			t.Fatalf("when they are sent: %v, want %v", sent, want)
		}
		if now := pendingScopes(); now != [2]int{} {
			t.Fatalf("when they are confirmed: %v, want none", now)
		}
		if len(responses) > 0 && p.held[view.KindScope] != there {
			t.Fatalf("the proxy has %d scopes, counted as %d", there, p.held[view.KindScope])
		}
	}
	held := map[string]string{}
	for name, s := range e.scopes.by {
		if s.entry.made != nil {
			held[name] = s.entry.made.resource.Version
		}
	}
	p.Close()
	if client, err = e.Open(t.Context(), peer); err != nil {
		t.Fatal(err)
	}
	p, session = client.(*Proxy), xds.NewSession()
	say(&request{TypeUrl: string(xds.ScopeType), InitialResourceVersions: held})
	responses, _ := p.Next(session)
	if now := pendingScopes(); len(responses) > 0 || now != [2]int{} || p.held[view.KindScope] != len(held) {
		t.Errorf("whoever brings all %d is sent %d responses, counted as having %d, and waited for: %v", len(held), len(responses), p.held[view.KindScope], now)
	}
}
