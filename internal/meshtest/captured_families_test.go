package meshtest_test

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/netns"
)

// spotOf writes an address and port.
func spotOf(address string, port int) string { return net.JoinHostPort(address, fmt.Sprint(port)) }

// isIPv6 tells of which family an address is.
func isIPv6(address string) bool { return strings.Contains(address, ":") }

// fromProxy is who an application sees calling where it was called at an address.
func fromProxy(address string) string {
	if isIPv6(address) {
		return mesh.FromProxyIPv6
	}
	return mesh.FromProxyIPv4
}

// reviewsSpec is a service with a port for requests and one for bytes.
func reviewsSpec(version string, families ...netns.Family) meshtest.Spec {
	return meshtest.Spec{
		Service: "reviews", Version: version, Capture: true, Families: families,
		Ports: []meshtest.SpecPort{{Name: "http", Number: 9080, App: mirrored("reviews-" + version)}, {Name: "tcp", Number: 9090}},
	}
}

// Captured workloads call one another over IPv6 as over IPv4, with mutual TLS where nothing else is taken: by the addresses of a service,
// by those of a pod, and each itself. What is outside is reached as it was dialled.
func TestCapturedFamilies(t *testing.T) {
	t.Parallel()
	for name, families := range map[string][]netns.Family{
		"IPv6": {netns.IPv6}, "IPv4 first": {netns.IPv4, netns.IPv6}, "IPv6 first": {netns.IPv6, netns.IPv4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			netns.Run(t, func(t *testing.T) {
				m := meshtest.NewCaptured(t, meshtest.Config{Families: families})
				reviews := m.StartSpec(reviewsSpec("v1"))
				m.StartSpec(reviewsSpec("v2"))
				sayWhoCalls(reviews.Pod().Listen(":9090"), "bytes")
				sayWhoCalls(reviews.Pod().Listen(":9999"), "unnamed")
				caller := m.CapturedCaller("shop", nil)
				m.Network().Outside("2001:db8::7")
				outside, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "[2001:db8::7]:8080")
				if err != nil {
					t.Fatal(err)
				}
				m.Serve(outside, mirrored("outside")(nil))
				m.Apply(toVersion("reviews", "v1"))
				m.Set(func(s *mesh.Settings) { s.AuthPolicy = mesh.AuthMutualTLS })
				if status, body, _ := sendOut(t, caller, "GET", "http://[2001:db8::7]:8080/", ""); status != 200 || !strings.HasPrefix(body, "outside") {
					t.Errorf("outside: %d %q", status, body)
				}
				services := m.ServiceAddresses("reviews")
				if len(services) != len(families) || len(reviews.Addresses()) != len(families) {
					t.Fatalf("the service has %v, the pod %v", services, reviews.Addresses())
				}
				for who, from := range map[string]*meshtest.Instance{"another one": caller, "itself": reviews} {
					for _, address := range append(services, reviews.Addresses()...) {
						status, body, head := sendOut(t, from, "GET", "http://"+spotOf(address, 9080)+"/", "")
						if status != 200 || !strings.HasPrefix(body, "reviews-v1") || !strings.Contains(head.Get("seen-peer"), "spiffe://cluster.local/ns/default/sa/default") {
							t.Errorf("%s, %s: %d %q of a caller %q", who, address, status, body, head.Get("seen-peer"))
						}
					}
					for _, address := range reviews.Addresses() {
						for port, says := range map[int]string{9090: "bytes", 9999: "unnamed"} {
							if got := firstLine(t, from.Pod(), spotOf(address, port)); got != says+" to "+fromProxy(address) {
								t.Errorf("%s, port %d of %s: %q", who, port, address, got)
							}
						}
					}
					for _, address := range services {
						if got := firstLine(t, from.Pod(), spotOf(address, 9090)); !strings.HasPrefix(got, "bytes to ") {
							t.Errorf("%s, bytes for %s: %q", who, address, got)
						}
					}
				}
				stranger := m.Network().Pod("stranger", families...)
				for _, address := range reviews.Addresses() {
					if status := plainStatus(stranger, "http://"+spotOf(address, 9080)); status == 200 {
						t.Errorf("a stranger gets to %s", address)
					}
				}
				wantAlike(t, m, nil, caller, reviews)
			})
		})
	}
}

// Workloads with addresses of one family only, and others with both, call one another as far as networks let them, and beyond: what a
// service is called by need not be what its pods have.
func TestCapturedMixedFamilies(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		m := meshtest.NewCaptured(t, meshtest.Config{Families: []netns.Family{netns.IPv4, netns.IPv6}})
		both := m.StartSpec(reviewsSpec("v1"))
		only4 := m.StartSpec(meshtest.Spec{
			Service: "ratings", Version: "v1", Capture: true, Families: []netns.Family{netns.IPv4},
			Ports: []meshtest.SpecPort{{Name: "http", Number: 9080, App: mirrored("ratings")}},
		})
		only6 := m.StartSpec(meshtest.Spec{
			Service: "details", Version: "v1", Capture: true, Families: []netns.Family{netns.IPv6},
			Ports: []meshtest.SpecPort{{Name: "http", Number: 9080, App: mirrored("details")}},
		})
		m.Set(func(s *mesh.Settings) { s.AuthPolicy = mesh.AuthMutualTLS })
		for _, c := range []struct {
			why     string
			from    *meshtest.Instance
			service string
			ipv6    bool
		}{
			{"one with IPv4 only, a service of both", only4, "reviews", false},
			{"one with IPv6 only, a service of both", only6, "reviews", true},
			{"one with both, a service whose pods have IPv4 only", both, "ratings", false},
			{"the same by an address that they have not", both, "ratings", true},
			{"one with both, a service whose pods have IPv6 only", both, "details", true},
			{"the same by an address that they have not", both, "details", false},
		} {
			for _, address := range m.ServiceAddresses(c.service) {
				if isIPv6(address) != c.ipv6 {
					continue
				}
				status, body, head := sendOut(t, c.from, "GET", "http://"+spotOf(address, 9080)+"/", "")
				if status != 200 || !strings.HasPrefix(body, c.service) || !strings.Contains(head.Get("seen-peer"), "spiffe://") {
					t.Errorf("%s: %d %q of a caller %q", c.why, status, body, head.Get("seen-peer"))
				}
			}
		}
	})
}
