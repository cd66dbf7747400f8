package view_test

import (
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/view"
)

// The key of a certificate goes to an ingress that shows it to somebody and has proven who it is, and to nobody else.
func TestKeysGoToWhoHasProvenItself(t *testing.T) {
	t.Parallel()
	const path = "default/shop-tls"
	draft := mesh.NewSnapshot("cluster.local").Edit()
	draft.SetDoor(&mesh.Door{TLS: []*mesh.DoorTLS{{Secret: path}}})
	for _, p := range []string{path, "default/spare"} {
		draft.SetCertificate(p, &mesh.Certificate{Namespace: "default", Name: p[len("default/"):], Chain: "chain", Key: mesh.NewSecret("key")})
	}
	snapshot, _ := draft.Done()
	for _, c := range []struct {
		who    string
		caller view.Caller
		path   string
		gets   bool
	}{
		{"an ingress", view.Caller{Type: mesh.Ingress}, path, true},
		{"an ingress, of one that nobody is shown", view.Caller{Type: mesh.Ingress}, "default/spare", false},
		{"an ingress that has proven nothing", view.Caller{Type: mesh.Ingress, Plain: true}, path, false},
		{"a sidecar", view.Caller{Type: mesh.Sidecar}, path, false},
		{"a program without a proxy", view.Caller{Type: mesh.Proxyless, Plain: true}, path, false},
	} {
		id := view.ID{Kind: view.KindSecret, Name: c.path}
		if v, _ := view.Cut(snapshot, c.caller.Project(id), id); (v != nil) != c.gets {
			t.Errorf("%s gets %v", c.who, v)
		}
	}
}
