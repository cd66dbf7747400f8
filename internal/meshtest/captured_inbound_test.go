package meshtest_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/netns"
)

// sayWhoCalls serves bytes: it says its name and who calls at once, and then says back what it is told, a line at a time.
func sayWhoCalls(l net.Listener, name string) {
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				host, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
				fmt.Fprintf(conn, "%s to %s\n", name, host)
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
}

// firstLine dials out of a pod, says something and returns the first line that comes, or the error.
func firstLine(t *testing.T, p *netns.Pod, address string) string {
	t.Helper()
	return dialLine(t, p, address, "hello\n")
}

// dialLine dials out of a pod, says something, or waits for the server to speak first, and returns the first line that comes.
func dialLine(t *testing.T, p *netns.Pod, address, say string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), meshtest.Patience)
	defer cancel()
	conn, err := p.Dial(ctx, "tcp", address)
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(meshtest.Patience))
	if _, err := io.WriteString(conn, say); err != nil {
		return err.Error()
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err.Error()
	}
	return strings.TrimSuffix(line, "\n")
}

// plainStatus is the status of a request that comes from a pod without a proxy, or 0 where none came.
func plainStatus(p *netns.Pod, target string) int {
	res, err := p.Client().Get(target) //nolint:noctx // the test ends it
	if err != nil {
		return 0
	}
	_ = res.Body.Close()
	return res.StatusCode
}

// What comes to a captured workload is taken as the policy of its port says, with the address that a certificate was given to; the
// node's probes get through whatever it says, and nobody else by their way.
func TestCapturedInbound(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		m := meshtest.NewCaptured(t, meshtest.Config{})
		reviews := m.StartSpec(meshtest.Spec{
			Service: "reviews", Version: "v1", Capture: true,
			Ports: []meshtest.SpecPort{
				{Name: "http", Number: 9080, App: mirrored("reviews")}, {Name: "tcp", Number: 9090}, {Name: "grpc", Number: 9100},
			},
			Probes: []mesh.Probe{
				{Port: 9070, Kind: mesh.ProbeHTTP, Path: "/ready"},
				{Port: 9080, Kind: mesh.ProbeHTTP, Path: "/health?full=1"},
				{Port: 9100, Kind: mesh.ProbeGRPC},
			},
		})
		pod := reviews.Pod()
		sayWhoCalls(pod.Listen(":9090"), "bytes")
		sayWhoCalls(pod.Listen(":9999"), "unnamed")
		m.Serve(pod.Listen(":9070"), mirrored("status")(nil))
		checks := grpc.NewServer()
		healthv1.RegisterHealthServer(checks, health.NewServer())
		go func() { _ = checks.Serve(pod.Listen(":9100")) }()
		t.Cleanup(checks.Stop)
		secure := httptest.NewUnstartedServer(mirrored("secure")(nil))
		secure.Listener = pod.Listen(":9443")
		secure.StartTLS()
		t.Cleanup(secure.Close)

		stranger := m.Network().Pod("stranger")
		caller := m.CapturedCaller("shop", nil)
		place := func(port int) string { return fmt.Sprintf("%s:%d", reviews.Address, port) }
		seen := func(what, got, want string) {
			t.Helper()
			if got != want {
				t.Errorf("%s: %q, want %q", what, got, want)
			}
		}

		// Permissive: everybody, with their own TLS too, to ports that no service names as well.
		seen("a stranger's request", fmt.Sprint(plainStatus(stranger, "http://"+place(9080))), "200")
		seen("a stranger's bytes", firstLine(t, stranger, place(9090)), "bytes to 127.0.0.6")
		seen("a stranger's bytes to an unnamed port", firstLine(t, stranger, place(9999)), "unnamed to 127.0.0.6")
		seen("a member's bytes by the service", dialLine(t, caller.Pod(), m.ServiceAddress("reviews")+":9090", ""), "bytes to 127.0.0.6")
		seen("a member's bytes to the pod", firstLine(t, caller.Pod(), place(9090)), "bytes to 127.0.0.6")
		seen("a member's bytes to an unnamed port", firstLine(t, caller.Pod(), place(9999)), "unnamed to 127.0.0.6")
		client := &http.Client{Transport: &http.Transport{
			DialContext: stranger.Dial, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // the certificate is the test's
		}}
		if res, err := client.Get("https://" + place(9443)); err != nil || res.StatusCode != 200 { //nolint:noctx // the test ends it
			t.Errorf("an application's own TLS: %v", err)
		} else {
			_ = res.Body.Close()
		}
		for _, port := range []int{mesh.OutboundPort, mesh.InboundPort} { // or a stranger calls in the workload's name, or for ever
			if got := firstLine(t, stranger, place(port)); !strings.Contains(got, "reset") && !strings.Contains(got, "refused") {
				t.Errorf("port %d of the proxy: %q", port, got)
			}
		}

		// Strict: only members, and the probes.
		m.Set(func(s *mesh.Settings) { s.AuthPolicy = mesh.AuthMutualTLS })
		seen("a stranger's request, strict", fmt.Sprint(plainStatus(stranger, "http://"+place(9080))), "403") // it has a probe
		if got := firstLine(t, stranger, place(9090)); !strings.Contains(got, "EOF") && !strings.Contains(got, "reset") {
			t.Errorf("a stranger's bytes, strict: %q", got)
		}
		if got := firstLine(t, stranger, place(9999)); !strings.Contains(got, "EOF") && !strings.Contains(got, "reset") {
			t.Errorf("a stranger's bytes to an unnamed port, strict: %q", got)
		}
		for path, want := range map[string]int{"/health?full=1": 200, "/health": 403, "/health?full=1&x=1": 403, "/": 403} {
			seen("a stranger's "+path, fmt.Sprint(plainStatus(stranger, "http://"+place(9080)+path)), fmt.Sprint(want))
		}
		seen("a probe of a port that no service names", fmt.Sprint(plainStatus(stranger, "http://"+place(9070)+"/ready")), "200")
		seen("something else there", fmt.Sprint(plainStatus(stranger, "http://"+place(9070)+"/other")), "403")
		conn, err := grpc.NewClient("passthrough:///"+place(9100), grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, a string) (net.Conn, error) { return stranger.Dial(ctx, "tcp", a) }))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if res, err := healthv1.NewHealthClient(conn).Check(t.Context(), &healthv1.HealthCheckRequest{}); err != nil || res.GetStatus() != healthv1.HealthCheckResponse_SERVING {
			t.Errorf("a gRPC probe: %v", err)
		}
		if _, err := healthv1.NewHealthClient(conn).List(t.Context(), &healthv1.HealthListRequest{}); err == nil {
			t.Error("another call gets through where probes do")
		}
		seen("a member's request, strict", func() string { s, _, _ := sendOut(t, caller, "GET", "http://reviews:9080/", ""); return fmt.Sprint(s) }(), "200")
		seen("a member's bytes, strict", firstLine(t, caller.Pod(), m.ServiceAddress("reviews")+":9090"), "bytes to 127.0.0.6")
		seen("a member's bytes to the pod, strict", firstLine(t, caller.Pod(), place(9090)), "bytes to 127.0.0.6")
		seen("a member's bytes to an unnamed port, strict", firstLine(t, caller.Pod(), place(9999)), "unnamed to 127.0.0.6")
		seen("the workload's own bytes, strict", firstLine(t, pod, m.ServiceAddress("reviews")+":9090"), "bytes to 127.0.0.6")
	})
}
