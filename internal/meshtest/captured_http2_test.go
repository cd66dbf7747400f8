package meshtest_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/netns"
)

// A pod is called at its own address, as behind a headless service, over HTTP/2 without TLS too, and over HTTP/1.1: its proxy, which proves who the caller is, finds
// out what is spoken, since the caller's does not look.
func TestCapturedHTTP2AtPods(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		m := meshtest.NewCaptured(t, meshtest.Config{})
		spec := capturedSpec("db", "v1", meshtest.Handler(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "%s by %s", r.Proto, r.Header.Get("x-forwarded-client-cert"))
		}))
		spec.Headless = true
		db := m.StartSpec(spec)
		caller := m.CapturedCaller("shop", nil)
		for _, http2 := range []bool{false, true} {
			protocols := new(http.Protocols)
			protocols.SetHTTP1(!http2)
			protocols.SetUnencryptedHTTP2(http2)
			client := caller.Client()
			client.Transport.(*http.Transport).Protocols = protocols
			body, err := meshtest.Fetch(t.Context(), client, fmt.Sprintf("http://%s:%d/", db.Address, meshtest.ServicePort))
			if err != nil || !strings.HasPrefix(body, "HTTP/") || !strings.Contains(body, "spiffe://cluster.local/ns/default/sa/default") {
				t.Errorf("with HTTP/2 %t: %q, %v", http2, body, err)
			}
			client.CloseIdleConnections()
		}
	})
}
