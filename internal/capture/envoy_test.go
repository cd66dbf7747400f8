package capture_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/agent"
	"github.com/lateen-mesh/lateen/internal/capture"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/netns"
)

// startEnvoy runs an Envoy in a pod that hands everything on, as the user whose traffic is not redirected.
func startEnvoy(t *testing.T, pod *netns.Pod) {
	t.Helper()
	bin, err := filepath.Abs("../../bin")
	if err != nil {
		t.Fatal(err)
	}
	path, err := agent.FindEnvoy(t.Context(), agent.Lookup{Env: os.Getenv("LATEEN_ENVOY"), Dir: bin, Path: os.Getenv("PATH")})
	if err != nil {
		t.Fatalf("%v\n%s", err, agent.Hint)
	}
	config, err := os.ReadFile("testdata/envoy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	cmd := pod.Command(mesh.ProxyUser, pod.Program(path), "--config-yaml", string(config), "--concurrency", "1", "--disable-hot-restart",
		"--log-level", "warning")
	cmd.Dir, cmd.Stdout, cmd.Stderr = pod.Folder(mesh.ProxyUser), t.Output(), t.Output()
	if err := pod.Start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for _, port := range []int{mesh.OutboundPort, mesh.InboundPort} {
		listening(t, pod, fmt.Sprintf("127.0.0.1:%d", port))
	}
}

// listening waits until somebody takes connections at an address of a pod.
func listening(t *testing.T, pod *netns.Pod, address string) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(bound); ; <-tick.C {
		conn, err := pod.Dial(t.Context(), "tcp4", address)
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(end) {
			t.Fatalf("nobody listens: %v", err)
		}
	}
}

// tellHTTP tells each request who has it, what was dialled, and who calls.
func tellHTTP(l net.Listener, name string) {
	_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { //nolint:gosec // it ends with the listener
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		fmt.Fprintf(w, "%s at %s, called by %s as %s", name, r.Context().Value(http.LocalAddrContextKey), host, r.Host)
	}))
}

// TestEnvoyUnderCapture shows with a real Envoy, for HTTP and for bytes, which ways connections take through it, that it dials what
// the application has dialled, and that it never calls itself.
func TestEnvoyUnderCapture(t *testing.T) {
	t.Parallel()
	inFlavours(t, func(t *testing.T, b capture.Backend) {
		n := netns.NewNetwork(t)
		for _, a := range []string{outside, virtual, outside6, virtual6} {
			n.Outside(strings.Trim(a, "[]"))
		}
		pod, other := n.Pod("web", netns.IPv4, netns.IPv6), n.Pod("shop", netns.IPv4, netns.IPv6)
		startEnvoy(t, pod)
		apply(t, pod, capture.Config{Backend: b})
		here, err := new(net.ListenConfig).Listen(t.Context(), "tcp", ":80")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { here.Close() })
		go tellHTTP(here, "outside")
		go tellHTTP(pod.Listen(":80"), "application")
		go tellHTTP(other.Listen(":80"), "other")
		go answer(pod.Listen(":9090"), "application")
		go answer(other.Listen(":9090"), "other")

		w := &world{t: t, pod: pod, other: other}
		for _, s := range w.sides() {
			underCapture(t, w, s)
		}
	})
}

// underCapture shows it for one family of addresses.
func underCapture(t *testing.T, w *world, s side) {
	t.Helper()
	pod, other, self, peer := w.pod, w.other, s.self, s.peer
	both, caller := "outbound, inbound", strings.Trim(self, "[]")
	for _, r := range []struct {
		from     *netns.Pod
		to, want string
		ways     string // in the order in which the request took them
	}{
		{pod, s.outside, "outside at " + s.outside + ":80, called by " + caller + " as www.example.com", "outbound"},
		{pod, s.virtual, "outside at " + s.virtual + ":80, called by " + caller + " as www.example.com", "outbound"},
		{pod, peer, "other at " + peer + ":80, called by " + caller + " as www.example.com", "outbound"},
		{pod, self, "application at " + self + ":80, called by " + s.fromProxy + " as www.example.com", both},
		{pod, s.loopback, "application at " + s.loopback + ":80, called by " + strings.Trim(s.loopback, "[]") + " as www.example.com", ""},
		{other, self, "application at " + self + ":80, called by " + s.fromProxy + " as www.example.com", "inbound"},
	} {
		got, ways := get(t, r.from, r.to)
		if got != r.want || ways != r.ways {
			t.Errorf("%s: %q by %q, want %q by %q", r.to, got, ways, r.want, r.ways)
		}
	}
	w.check([]call{ // the server speaks first
		{"bytes to another pod", as(pod, 0, ""), peer + ":9090", "other " + peer + ":9090"},
		{"bytes to itself", as(pod, 0, ""), self + ":9090", "application " + self + ":9090"},
		{"bytes from another pod", as(other, 0, ""), self + ":9090", "application " + self + ":9090"},
	})
	for _, port := range []int{mesh.OutboundPort, mesh.InboundPort} {
		for _, a := range []string{self, s.loopback} {
			w.check([]call{{"the proxy itself", as(pod, 0, ""), fmt.Sprintf("%s:%d", a, port), refused}})
		}
		w.check([]call{{"the proxy of others", as(other, 0, ""), fmt.Sprintf("%s:%d", self, port), refused}})
	}
}

// get returns what an address answers, and which ways the request took.
func get(t *testing.T, from *netns.Pod, address string) (text, ways string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Host = "www.example.com"
	client := from.Client()
	client.Timeout = bound
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	taken := response.Header.Values("X-Way")
	slices.Reverse(taken) // the last one to add its header was the first to be passed
	return string(body), strings.Join(taken, ", ")
}
