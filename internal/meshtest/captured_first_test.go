package meshtest_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/netns"
)

// mostStalls is how often an Envoy may have waited in vain since the machine was busy: a proxy that waits does so for each connection.
const mostStalls = 2

// waitedInVain counts connections for whose first bytes an instance's Envoy has waited until it gave up, and gone on.
func waitedInVain(t *testing.T, i *meshtest.Instance) int {
	t.Helper()
	n, found := 0, false
	for line := range strings.Lines(string(i.Admin("/stats?filter=downstream_pre_cx_timeout"))) {
		_, value, _ := strings.Cut(line, ": ")
		number, err := strconv.Atoi(strings.TrimSpace(value))
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		n, found = n+number, true
	}
	if !found {
		t.Fatal("Envoy does not say how often it has waited")
	}
	return n
}

// Of a server that speaks first nobody waits for the caller, on either side, by whatever address it is called and whatever the policy is:
// what its Service says it speaks is enough.
func TestCapturedServerFirst(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		m := meshtest.NewCaptured(t, meshtest.Config{})
		m.Network().Outside("198.51.100.7")
		outside, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "198.51.100.7:25")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = outside.Close() })
		sayWhoCalls(outside, "outside")
		db := m.StartSpec(meshtest.Spec{Service: "db", Version: "v1", Capture: true, Ports: []meshtest.SpecPort{
			{Name: "mysql", Number: 3306}, {Name: "unknown", Number: 2525}, {Name: "http", Number: 9080, App: mirrored("db")},
		}})
		alone := m.StartSpec(meshtest.Spec{Service: "alone", Version: "v1", Capture: true, Headless: true, Ports: []meshtest.SpecPort{{Name: "tcp", Number: 9080}}})
		for _, port := range []string{":3306", ":2525", ":9999"} {
			sayWhoCalls(db.Pod().Listen(port), "db")
		}
		sayWhoCalls(alone.Pod().Listen(":9080"), "alone")
		caller := m.CapturedCaller("shop", nil)
		places := map[string]string{
			m.ServiceAddress("db") + ":3306": "db to 127.0.0.6",
			m.ServiceAddress("db") + ":2525": "db to 127.0.0.6",
			db.Address + ":3306":             "db to 127.0.0.6",
			db.Address + ":9999":             "db to 127.0.0.6", // of which nobody says anything
			alone.Address + ":9080":          "alone to 127.0.0.6",
			"198.51.100.7:25":                "outside to " + caller.Address,
		}
		for _, policy := range []mesh.AuthPolicy{mesh.AuthPermissive, mesh.AuthMutualTLS, mesh.AuthNone} {
			m.Set(func(s *mesh.Settings) { s.AuthPolicy = policy })
			for at, want := range places {
				if policy == mesh.AuthNone && strings.HasSuffix(at, ":9999") {
					continue // it takes whatever comes, and waits for whom does not begin
				}
				if got := dialLine(t, caller.Pod(), at, ""); got != want {
					t.Errorf("%s: %s says %q, want %q", policy, at, got, want)
				}
			}
			if status, body, _ := sendOut(t, caller, "GET", "http://db:9080/", ""); status != 200 {
				t.Errorf("%s: a request: %d %q", policy, status, body)
			}
		}
		stranger := m.Network().Pod("stranger") // in NONE even who has no proxy
		if got := dialLine(t, stranger, db.Address+":3306", ""); got != "db to 127.0.0.6" {
			t.Errorf("without a proxy: %q", got)
		}
		for _, i := range []*meshtest.Instance{caller, db, alone} {
			if n := waitedInVain(t, i); n > mostStalls {
				t.Errorf("%s has waited for %d connections", i.ID(), n)
			}
		}
	})
}

// A program that connects and sends its request only later is served as others are: rules on requests hold, whichever side looks at it.
func TestCapturedSlowRequests(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		m := meshtest.NewCaptured(t, meshtest.Config{})
		reviews := m.StartSpec(capturedSpec("reviews", "v1", mirrored("reviews-v1")))
		m.StartSpec(capturedSpec("reviews", "v2", mirrored("reviews-v2")))
		caller, stranger := m.CapturedCaller("shop", nil), m.Network().Pod("stranger")
		m.Apply(toVersion("reviews", "v2"))
		slow := func(conn net.Conn, err error) string {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			<-time.After(700 * time.Millisecond) // longer than a proxy waits that looks at what comes
			if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: reviews\r\nConnection: close\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(conn)
			if err != nil {
				t.Error(err)
			}
			return string(text)
		}
		for range 6 {
			if text := slow(caller.DialFrom(m.ServiceAddress("reviews") + ":9080")); !strings.Contains(text, "reviews-v2 ") {
				t.Errorf("the rule does not hold: %q", text)
			}
		}
		if text := slow(stranger.Dial(t.Context(), "tcp", reviews.Address+":9080")); !strings.Contains(text, "reviews-v1 ") {
			t.Errorf("without a proxy: %q", text)
		}
		if n := waitedInVain(t, caller) + waitedInVain(t, reviews); n > mostStalls {
			t.Errorf("the proxies have waited for %d connections", n)
		}
	})
}

// Where services differ in what they speak on a port they are told apart by their addresses: requests to the one are steered by its rules,
// bytes get to the other, and nobody waits. What goes to a port that no service has is ended.
func TestCapturedMixedPort(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		m := meshtest.NewCaptured(t, meshtest.Config{})
		m.StartSpec(capturedSpec("reviews", "v1", mirrored("reviews-v1")))
		m.StartSpec(capturedSpec("reviews", "v2", mirrored("reviews-v2")))
		db := m.StartSpec(meshtest.Spec{Service: "db", Version: "v1", Capture: true, Ports: []meshtest.SpecPort{{Name: "tcp", Number: meshtest.ServicePort}}})
		sayWhoCalls(db.Pod().Listen(":9080"), "db")
		web := m.StartSpec(meshtest.Spec{Service: "web", Version: "v1", Capture: true, Ports: []meshtest.SpecPort{{Name: "tcp", Number: meshtest.ServicePort, App: mirrored("web")}}})
		caller := m.CapturedCaller("shop", nil)
		m.Apply(toVersion("reviews", "v2"))
		m.Apply("apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {name: from-shop}\n" +
			"spec: {destination: {name: reviews}, precedence: 1, match: {tcp: {sourceSubnet: [" + caller.Address + "/32], destinationSubnet: [" +
			m.ServiceAddress("reviews") + "/32]}, request: {headers: {uri: /abort}}}, httpFault: {abort: {percent: 100, httpStatus: 418}}}\n")
		for _, body := range []string{"", strings.Repeat("x", 1<<20)} {
			if status, answer, head := sendOut(t, caller, "POST", "http://reviews:9080/", body); status != 200 || !strings.HasPrefix(answer, "reviews-v2 ") ||
				len(answer) < len(body) || head.Get("seen-peer") == "" || head.Get("seen-dst") != "" {
				t.Errorf("a request of %d bytes: %d and %d bytes %.50q", len(body), status, len(answer), answer)
			}
		}
		if status, answer, _ := sendOut(t, caller, "GET", "http://reviews:9080/abort", ""); status != 418 {
			t.Errorf("the rule that asks for both addresses: %d %q", status, answer)
		}
		if status, answer, _ := sendOut(t, caller, "GET", "http://web:9080/", ""); status != 200 || !strings.HasPrefix(answer, "web ") {
			t.Errorf("a request to a port for bytes: %d %q", status, answer)
		}
		at := m.ServiceAddress("db") + ":9080"
		for _, say := range []string{"hello\n", "", "", "", "", "\x16\x03\x01 this is no request\n"} {
			if got := dialLine(t, caller.Pod(), at, say); got != "db to 127.0.0.6" {
				t.Errorf("bytes that begin with %q: %q", say, got)
			}
		}
		if status, answer, _ := sendOut(t, caller, "GET", "http://"+m.ServiceAddress("db")+":9999/", ""); status != 0 || strings.Contains(answer, "deadline") {
			t.Errorf("a port that no service has: %d %q", status, answer)
		}
		halfClosed(t, caller, at)
		for _, i := range []*meshtest.Instance{caller, web, db} {
			if n := waitedInVain(t, i); n > mostStalls {
				t.Errorf("%s has waited for %d connections", i.ID(), n)
			}
		}
	})
}

// halfClosed says something and that there is no more, and expects all of it back.
func halfClosed(t *testing.T, from *meshtest.Instance, at string) {
	t.Helper()
	conn, err := from.DialFrom(at)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	said := strings.Repeat("said ", 100_000)
	go func() {
		_, _ = io.WriteString(conn, said)
		_ = conn.(interface{ CloseWrite() error }).CloseWrite()
	}()
	text, err := io.ReadAll(conn)
	if _, after, _ := strings.Cut(string(text), "\n"); err != nil || after != said {
		t.Errorf("%d bytes came back of %d: %v", len(text), len(said), err)
	}
}

// Open connections stay, and nothing is told to anybody that was told before, when a port comes that no service had, when one is no longer
// for requests, when EgressRules name one, and with another control plane.
func TestCapturedPortsComeAndGo(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		m := meshtest.NewCaptured(t, meshtest.Config{})
		m.Network().Outside("198.51.100.7")
		outside, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "198.51.100.7:8888")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = outside.Close() })
		sayWhoCalls(outside, "outside")
		m.StartSpec(capturedSpec("web", "v1", mirrored("web")))
		db := m.StartSpec(bytesSpec("db", "v1"))
		sayWhoCalls(db.Pod().Listen(":9090"), "db")
		caller := m.CapturedCaller("shop", nil)
		open := map[string]*bufio.ReadWriter{}
		for _, at := range []string{m.ServiceAddress("db") + ":9090", "198.51.100.7:8888", m.ServiceAddress("web") + ":9080"} {
			conn, err := caller.DialFrom(at)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			open[at] = bufio.NewReadWriter(bufio.NewReader(conn), bufio.NewWriter(conn))
			if strings.HasSuffix(at, ":9080") {
				continue
			}
			if line, err := open[at].ReadString('\n'); err != nil || !strings.Contains(line, " to ") {
				t.Fatalf("%s: %q %v", at, line, err)
			}
		}
		stay := func(when string) {
			t.Helper()
			for at, c := range open {
				if strings.HasSuffix(at, ":9080") {
					_, _ = c.WriteString("GET / HTTP/1.1\r\nHost: web\r\n\r\n")
					_ = c.Flush()
					res, err := http.ReadResponse(c.Reader, nil)
					if err != nil {
						t.Errorf("%s: %s: %v", when, at, err)
						continue
					}
					if text, err := io.ReadAll(res.Body); err != nil || res.StatusCode != 200 || res.Close {
						t.Errorf("%s: %s: %d %q %v, to be closed: %v", when, at, res.StatusCode, text, err, res.Close)
					}
					_ = res.Body.Close()
					continue
				}
				_, _ = c.WriteString("still\n")
				_ = c.Flush()
				if line, err := c.ReadString('\n'); line != "still\n" {
					t.Errorf("%s: %s: %q %v", when, at, line, err)
				}
			}
			for _, name := range []string{"listener_manager.total_listeners_draining", "listener_manager.total_filter_chains_draining"} {
				if n := caller.Stat(name); n != 0 {
					t.Errorf("%s: %s is %d", when, name, n)
				}
			}
		}
		stay("at first")

		late := m.StartSpec(meshtest.Spec{Service: "late", Version: "v1", Capture: true, Ports: []meshtest.SpecPort{{Name: "http", Number: 8888, App: mirrored("late")}}})
		if status, answer, head := sendOut(t, caller, "GET", "http://late:8888/", ""); status != 200 || head.Get("seen-peer") == "" {
			t.Errorf("a port that has come: %d %q", status, answer)
		}
		stay("when a port has come")
		if caller.Stat("listener_manager.listener_in_place_updated") == 0 {
			t.Error("the listener has not changed, so this shows nothing")
		}
		m.Edit(func(r *mesh.Registry) {
			for n, s := range r.Services {
				if s.Name == "late" {
					bytes := *s
					bytes.Ports = []mesh.Port{{Name: "http", Number: 8888, Protocol: mesh.TCP}}
					r.Services[n] = &bytes
				}
			}
		})
		if status, answer, _ := sendOut(t, caller, "GET", "http://late:8888/", ""); status != 200 {
			t.Errorf("a port that is for bytes now: %d %q", status, answer)
		}
		stay("when a port is for bytes")
		m.Apply(egress("outside", "www.outside.test", 8888, "http"))
		if got := firstLine(t, caller.Pod(), "198.51.100.7:8888"); got != "outside to "+caller.Address {
			t.Errorf("bytes to a port outside that a rule names: %q", got)
		}
		stay("when a rule names a port outside")
		m.Restart()
		sendOut(t, caller, "GET", "http://web:9080/", "")
		stay("with another control plane")
		if n := m.Sent(); n != 0 {
			t.Errorf("another control plane has sent %d resources again", n)
		}
		m.Edit(func(r *mesh.Registry) {
			r.Services = slices.DeleteFunc(r.Services, func(s *mesh.Service) bool { return s.Name == "late" })
		})
		if status, _, _ := sendOut(t, caller, "GET", fmt.Sprintf("http://%s:8888/", m.ServiceAddress("late")), ""); status != 0 {
			t.Errorf("the address of a service that is gone, at a port that no other has: %d, want an end at once", status)
		}
		stay("when a port has gone")
		_ = late
	})
}
