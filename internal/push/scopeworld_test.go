package push_test

import (
	"fmt"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// A captured workload that asks for scopes in the state-of-the-world form, as no Envoy does, gets none and harms nobody, also when some
// go.
func TestScopesAskedForAsAState(t *testing.T) {
	t.Parallel()
	w := scopedMesh(t, push.Config{}, 3, 1)
	node := mesh.Node{Type: mesh.Sidecar, Address: capturedAddress(0), Name: fmt.Sprintf("caller-%03d", 0), Namespace: "default", Domain: "cluster.local"}
	client, err := w.Engine.Open(t.Context(), xds.Peer{Node: &corev3.Node{Id: node.String()}})
	await(t, err)
	t.Cleanup(client.Close)
	session, nonce := xds.NewWorldSession(), ""
	say := func() {
		t.Helper()
		event, err := session.ReceiveWorld(&discoveryv3.DiscoveryRequest{TypeUrl: string(xds.ScopeType), ResponseNonce: nonce})
		await(t, err)
		client.Handle(session, event)
		responses, _ := client.Next(session)
		for _, r := range responses {
			if r == nil {
				t.Fatal("a response that is none")
			}
			nonce = r.Nonce
		}
	}
	say()
	say()
	w.Edit(func(d *mesh.Draft) { d.SetService(hostNumber(1), nil) })
	say()
	if nonce != "" {
		t.Error("scopes were sent as a state, in which none can be taken away")
	}
}
