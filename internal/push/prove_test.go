package push

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/identity"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Addresses are compared as addresses, and what is missing is told in words.
func TestProve(t *testing.T) {
	t.Parallel()
	realm := mesh.Realm{Domain: "cluster.local", TrustDomain: "cluster.local"}
	for name, c := range map[string]struct {
		account, here, node string
		cert                string
		want                string // what is told; "": it is believed
	}{
		"the same":                  {"web", "fd00::1", "fd00::1", "fd00::1", ""},
		"spelled otherwise":         {"web", "FD00:0:0::1", "fd00::0001", "fd00::1", ""},
		"IPv4 in IPv6":              {"web", "127.0.0.2", "::ffff:127.0.0.2", "127.0.0.2", ""},
		"no account":                {"", "fd00::1", "fd00::1", "fd00::1", "web-0.default has no account here, its certificate says spiffe://cluster.local/ns/default/sa/web"},
		"another account":           {"shop", "fd00::1", "fd00::1", "fd00::1", "web-0.default is spiffe://cluster.local/ns/default/sa/shop here, its"},
		"another address":           {"web", "fd00::2", "fd00::2", "fd00::1", "web-0.default has the address fd00::2, its certificate says fd00::1"},
		"the node says another one": {"web", "fd00::1", "fd00::2", "fd00::1", "web-0.default has the address fd00::1, the node id says fd00::2"},
		"an address that is none":   {"web", "here", "here", "fd00::1", "web-0.default has the address here, its"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &mesh.Workload{Name: "web-0", Namespace: "default", Type: mesh.Sidecar, Account: c.account, Address: c.here}
			n := mesh.Node{Type: mesh.Sidecar, Name: "web-0", Namespace: "default", Address: c.node}
			id := &identity.Peer{ID: identity.ID{TrustDomain: "cluster.local", Namespace: "default", Account: "web"}, Workload: "web-0.default", Address: netip.MustParseAddr(c.cert)}
			err := prove(n, w, id, realm)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("it is %v, want %q", err, c.want)
			}
		})
	}
}
