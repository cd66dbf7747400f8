package meshtest_test

import (
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/netns"
)

// bytesSpec is a version of a service for bytes, in a pod.
func bytesSpec(service, version string) meshtest.Spec {
	return meshtest.Spec{Service: service, Version: version, Capture: true, Ports: []meshtest.SpecPort{{Name: "tcp", Number: 9090}}}
}

// shares counts which versions answer.
func shares(t *testing.T, p *netns.Pod, address string, n int) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for range n {
		version, _, _ := strings.Cut(firstLine(t, p, address), " ")
		counts[version]++
	}
	return counts
}

// Bytes of a captured workload are steered by the rules that concern bytes: shared out, by who calls, by the networks of both ends.
// Connections that are open stay where they are.
func TestCapturedBytes(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		m := meshtest.NewCaptured(t, meshtest.Config{})
		for _, version := range []string{"v1", "v2"} {
			i := m.StartSpec(bytesSpec("db", version))
			sayWhoCalls(i.Pod().Listen(":9090"), version)
		}
		shop, other := m.CapturedCaller("shop", mesh.Labels{"app": "shop"}), m.CapturedCaller("other", mesh.Labels{"app": "other"})
		at := m.ServiceAddress("db") + ":9090"
		rule := func(spec string) {
			t.Helper()
			m.Apply("apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {name: db}\nspec:\n  destination: {name: db}\n" + spec)
		}
		open, err := shop.DialFrom(at)
		if err != nil {
			t.Fatal(err)
		}
		defer open.Close()
		said := make([]byte, 2)
		if _, err := io.ReadFull(open, said); err != nil {
			t.Fatal(err)
		}

		rule("  route: [{labels: {version: v1}, weight: 50}, {labels: {version: v2}, weight: 50}]\n")
		if got := shares(t, shop.Pod(), at, 24); got["v1"] < 3 || got["v2"] < 3 || got["v1"]+got["v2"] != 24 {
			t.Errorf("shared out: %v", got)
		}
		rule("  match: {source: {labels: {app: shop}}}\n  route: [{labels: {version: v2}}]\n")
		if got := shares(t, shop.Pod(), at, 6); got["v2"] != 6 {
			t.Errorf("whom the rule is for: %v", got)
		}
		if got := shares(t, other.Pod(), at, 12); got["v1"] == 0 || got["v2"] == 0 {
			t.Errorf("whom it is not for: %v", got)
		}
		for _, c := range []struct {
			what, match string
			taken       bool
		}{
			{"from the caller's network", "{tcp: {sourceSubnet: [" + shop.Address + "/32]}}", true},
			{"from another one", "{tcp: {sourceSubnet: [" + other.Address + "/32]}}", false},
			{"to the service's address", "{tcp: {destinationSubnet: [" + m.ServiceAddress("db") + "/32]}}", true},
			{"to another one", "{tcp: {destinationSubnet: [10.96.7.0/24]}}", false},
		} {
			rule("  match: " + c.match + "\n  route: [{labels: {version: v1}}]\n")
			if got := shares(t, shop.Pod(), at, 10); (got["v2"] == 0) != c.taken {
				t.Errorf("%s: %v", c.what, got)
			}
		}
		if _, err := io.WriteString(open, "still\n"); err != nil {
			t.Error(err)
		}
		text := make([]byte, 256)
		if n, err := open.Read(text); err != nil || n == 0 {
			t.Errorf("the connection from before the rules: %q %v", text[:n], err)
		}
	})
}

// Whatever a port is said to speak, what comes to it goes on: when that changes, when requests go to a port for bytes, and bytes to one
// for requests. A service that goes away and comes back is there again, at another address too.
func TestCapturedPortsChange(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		m := meshtest.NewCaptured(t, meshtest.Config{})
		i := m.StartSpec(capturedSpec("web", "v1", mirrored("web")))
		caller := m.CapturedCaller("shop", nil)
		says := func(what string) {
			t.Helper()
			if status, body, head := sendOut(t, caller, "POST", "http://web:9080/", "x"); status != 200 || body != "web web:9080 x" || head.Get("seen-dst") != "" {
				t.Errorf("%s: %d %q", what, status, body)
			}
		}
		speaks := func(name string, addresses ...string) {
			m.Edit(func(r *mesh.Registry) {
				n := slices.IndexFunc(r.Services, func(s *mesh.Service) bool { return s.Name == "web" })
				svc := *r.Services[n]
				svc.Ports = []mesh.Port{{Name: name, Number: 9080, Protocol: mesh.ProtocolOf(name)}}
				if len(addresses) > 0 {
					svc.Addresses = addresses
				}
				r.Services[n] = &svc
				e := *r.Endpoints[0]
				e.Endpoints = slices.Clone(e.Endpoints)
				e.Endpoints[0].Ports = map[string]int{name: 9080}
				r.Endpoints[0] = &e
				n = slices.IndexFunc(r.Workloads, func(w *mesh.Workload) bool { return w.Name == i.Name })
				w := *r.Workloads[n]
				w.Serves = slices.Clone(w.Serves)
				w.Serves[0].Protocol = mesh.ProtocolOf(name)
				r.Workloads[n] = &w
			})
		}
		says("at first")
		speaks("tcp")
		says("requests to a port for bytes")
		speaks("http")
		says("as at first")
		speaks("tcp", "10.96.1.1")
		says("at another address")
		speaks("http", "10.96.1.2")
		says("at one more")
		conn, err := caller.DialFrom("10.96.1.2:9080") // it says nothing for longer than the proxy waits
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if n, err := conn.Write([]byte("\x16\x03\x01 this is no request")); n == 0 || err != nil {
			t.Error(err)
		}
		if text, _ := io.ReadAll(conn); !strings.Contains(string(text), "400") {
			t.Errorf("what is no request to a port for requests: %q, want the application's own answer", text)
		}

		var gone *mesh.Service
		m.Edit(func(r *mesh.Registry) {
			n := slices.IndexFunc(r.Services, func(s *mesh.Service) bool { return s.Name == "web" })
			gone = r.Services[n]
			r.Services = slices.Delete(r.Services, n, n+1)
		})
		if status, _, _ := sendOut(t, caller, "GET", "http://10.96.1.2:9080/", ""); status != 0 {
			t.Errorf("the address of a service that is gone, at a port that no other has: %d, want an end at once", status)
		}
		m.Edit(func(r *mesh.Registry) { r.Services = append(r.Services, gone) })
		says("when it is back")
	})
}

// While nobody answers for an address, connections end within the bound, and go on when somebody does: a control plane that is away
// takes no known way with it.
func TestCapturedWhileAway(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		m := meshtest.NewCaptured(t, meshtest.Config{})
		m.StartSpec(capturedSpec("web", "v1", mirrored("web")))
		i := m.StartSpec(bytesSpec("db", "v1"))
		sayWhoCalls(i.Pod().Listen(":9090"), "db")
		caller := m.CapturedCaller("shop", nil)
		at := m.ServiceAddress("db") + ":9090"
		works := func(what string) {
			t.Helper()
			if status, body, _ := sendOut(t, caller, "GET", "http://web:9080/", ""); status != 200 {
				t.Errorf("%s: %d %q", what, status, body)
			}
			if got := firstLine(t, caller.Pod(), at); got != "db to 127.0.0.6" {
				t.Errorf("%s: bytes: %q", what, got)
			}
		}
		works("at first")
		m.Stop()
		works("without a control plane")
		var waiting sync.WaitGroup
		waiting.Go(func() {
			if status, _, _ := sendOut(t, i, "GET", "http://web:9080/", ""); status != 504 {
				t.Errorf("a first request without a control plane: %d, want 504 at the bound", status)
			}
		})
		if got := firstLine(t, i.Pod(), net.JoinHostPort(i.Address, "9090")); strings.HasPrefix(got, "db") {
			t.Errorf("a first connection without a control plane: %q", got)
		}
		waiting.Wait()
		m.StartPlane("")
		works("with another one")
		if status, _, _ := sendOut(t, i, "GET", "http://web:9080/", ""); status != 200 {
			t.Errorf("what was asked for in vain, with a new control plane: %d", status)
		}
		if got := firstLine(t, i.Pod(), net.JoinHostPort(i.Address, "9090")); got != "db to 127.0.0.6" {
			t.Errorf("what was dialled in vain, with a new control plane: %q", got)
		}
	})
}
