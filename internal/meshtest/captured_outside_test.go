package meshtest_test

import (
	"net"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/netns"
)

// Where only known destinations are reached, a request to another one is answered with the EgressRule that would help, and a connection for
// bytes is closed; with the rule both get there. Services are called as ever, and where everything passes so do these.
func TestCapturedOnlyKnown(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		m := meshtest.NewCaptured(t, meshtest.Config{})
		const outside = "198.51.100.7"
		m.Network().Outside(outside)
		listen := func(port string) net.Listener {
			l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", outside+":"+port)
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
		m.Serve(listen("8080"), mirrored("outside")(nil))
		sayWhoCalls(listen("9090"), "outside")
		m.StartSpec(capturedSpec("reviews", "v1", mirrored("reviews-v1")))
		caller := m.CapturedCaller("shop", nil)
		check := func(when string, reached bool) {
			t.Helper()
			status, body, _ := sendOut(t, caller, "GET", "http://"+outside+":8080/", "")
			if (status == 200 && strings.HasPrefix(body, "outside ")) != reached || (!reached && !strings.Contains(body, "EgressRule")) {
				t.Errorf("%s: a request outside: %d %q", when, status, body)
			}
			if got := firstLine(t, caller.Pod(), outside+":9090"); (got == "outside to "+caller.Address) != reached {
				t.Errorf("%s: bytes outside: %q", when, got)
			}
			if status, body, _ := sendOut(t, caller, "GET", "http://reviews:9080/", ""); status != 200 || !strings.HasPrefix(body, "reviews-v1") {
				t.Errorf("%s: a service: %d %q", when, status, body)
			}
		}
		only := func(known bool) {
			m.Set(func(s *mesh.Settings) { s.OnlyKnown = known })
			meshtest.Await(t, "the listener", func() bool { // Envoy confirms it before it has its first routes
				status, _, _ := sendOut(t, caller, "GET", "http://"+outside+":8080/", "")
				return (status == 200) != known
			})
		}
		check("usually", true)
		only(true)
		check("without a rule", false)
		awaitEntry(t, caller, map[string]any{"source": string(caller.ID()), "destination": outside + ":9090", "path": nil, "bytes_in": 0.0})

		// A rule for a network holds for its ports: requests to others are told by name.
		m.Apply("apiVersion: config.istio.io/v1alpha2\nkind: EgressRule\nmetadata: {name: anywhere}\n" +
			"spec: {destination: {service: 0.0.0.0/0}, ports: [{port: 9090, protocol: tcp}]}\n")
		if got := firstLine(t, caller.Pod(), outside+":9090"); got != "outside to "+caller.Address {
			t.Errorf("bytes by a rule for everything: %q", got)
		}
		if status, body, _ := sendOut(t, caller, "GET", "http://"+outside+":8080/", ""); status == 200 || !strings.Contains(body, "EgressRule") {
			t.Errorf("a request to another port: %d %q", status, body)
		}
		m.Delete("EgressRule", "anywhere")
		check("without that rule", false)

		const rule = "apiVersion: config.istio.io/v1alpha2\nkind: EgressRule\nmetadata: {name: outside}\n" +
			"spec: {destination: {service: " + outside + "/32}, ports: [{port: 8080, protocol: tcp}, {port: 9090, protocol: tcp}]}\n"
		m.Apply(rule)
		check("with a rule", true)
		m.Delete("EgressRule", "outside")
		check("when it has gone", false)
		only(false)
		check("when everything passes again", true)
	})
}
