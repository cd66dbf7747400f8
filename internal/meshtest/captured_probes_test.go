package meshtest_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/netns"
)

// The node's probes over TLS get to an application that shows a certificate of its own, where callers have to prove who they are; as
// little as those in plain text do they let anything else through. Members speak the application's TLS as before.
func TestCapturedSecureProbes(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		m := meshtest.NewCaptured(t, meshtest.Config{})
		shop := m.StartSpec(meshtest.Spec{
			Service: "shop", Version: "v1", Capture: true, Ports: []meshtest.SpecPort{{Name: "https", Number: 9443}},
			Probes: []mesh.Probe{
				{Port: 9443, Kind: mesh.ProbeHTTPS, Path: "/health?full=1"},
				{Port: 9444, Kind: mesh.ProbeHTTPS, Path: "/health?full=1"},
				{Port: 9444, Kind: mesh.ProbeHTTP, Path: "/plain"},
			},
		})
		for port, both := range map[int]bool{9443: false, 9444: true} {
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, fmt.Sprint(port, " ", r.URL, " ", r.ProtoMajor))
			}))
			server.Listener, server.EnableHTTP2 = shop.Pod().Listen(fmt.Sprintf(":%d", port)), both
			server.TLS = &tls.Config{MinVersion: tls.VersionTLS13}
			server.StartTLS()
			t.Cleanup(server.Close)
		}
		node, member := m.Network().Pod("node"), m.CapturedCaller("member", nil)
		get := func(p *netns.Pod, target string) string {
			// As the kubelet does it.
			client := &http.Client{Transport: &http.Transport{
				DialContext: p.Dial, DisableKeepAlives: true, ForceAttemptHTTP2: true,
				TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // so does the kubelet
			}}
			res, err := client.Get(target) //nolint:noctx // the test ends it
			if err != nil {
				return "error: " + err.Error()
			}
			defer res.Body.Close()
			body, _ := io.ReadAll(res.Body)
			return fmt.Sprint(res.StatusCode, " ", string(body))
		}
		for _, policy := range []mesh.AuthPolicy{mesh.AuthPermissive, mesh.AuthMutualTLS} {
			m.Set(func(s *mesh.Settings) { s.AuthPolicy = policy })
			for _, c := range []struct {
				who    string
				pod    *netns.Pod
				target string
				want   string
				strict string // "": the same
			}{
				{"node", node, "https://" + shop.Address + ":9443/health?full=1", "200 9443 /health?full=1 1", ""},
				{"node", node, "https://" + shop.Address + ":9444/health?full=1", "200 9444 /health?full=1 2", ""},
				{"node", node, "https://" + shop.Address + ":9443/health", "200 9443 /health 1", "403 lateen: "},
				{"node", node, "https://" + shop.Address + ":9444/plain", "200 9444 /plain 2", "403 lateen: "},
				{"node", node, "http://" + shop.Address + ":9443/health?full=1", "400 ", "error: "},
				{"node", node, "http://" + shop.Address + ":9444/health?full=1", "400 ", "403 lateen: "},
				{"node", node, "http://" + shop.Address + ":9444/plain", "400 Client sent", ""},
				{"member", member.Pod(), "https://" + m.ServiceAddress("shop") + ":9443/any", "200 9443 /any 1", ""},
				{"member", member.Pod(), "https://" + shop.Address + ":9444/any", "200 9444 /any 2", ""},
			} {
				want := c.want
				if policy == mesh.AuthMutualTLS && c.strict != "" {
					want = c.strict
				}
				if got := get(c.pod, c.target); !strings.HasPrefix(got, want) {
					t.Errorf("%s: %s gets %s: %q, want %q…", policy, c.who, c.target, got, want)
				}
			}
		}
	})
}
