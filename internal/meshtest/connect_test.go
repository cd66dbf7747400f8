package meshtest_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
)

// connect asks the instance's proxy for a tunnel to an authority, and returns the status and the connection behind it.
func connect(t *testing.T, i *meshtest.Instance, authority string) (int, net.Conn, *bufio.Reader) {
	t.Helper()
	return dialTunnel(t.Context(), t, i, authority)
}

func dialTunnel(ctx context.Context, t *testing.T, i *meshtest.Instance, authority string) (int, net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", i.Proxy())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(meshtest.Patience)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", authority, authority)
	reader := bufio.NewReader(conn)
	res, err := http.ReadResponse(reader, &http.Request{Method: http.MethodConnect})
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close() // there is none, or an explanation
	return res.StatusCode, conn, reader
}

// tunnelled sends a request through a tunnel and returns the body of the answer.
func tunnelled(t *testing.T, i *meshtest.Instance, authority, path string) (int, string) {
	t.Helper()
	status, conn, reader := connect(t, i, authority)
	if status != http.StatusOK {
		return status, ""
	}
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, authority)
	res, err := http.ReadResponse(reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// What comes through CONNECT to an HTTP port is steered like any other request.
func TestConnectIsSteered(t *testing.T) {
	t.Parallel()
	m, caller := reviewsMesh(t)
	m.Apply(rule("everybody", "precedence: 1, route: [{labels: {version: v1}}]"))
	m.Apply(rule("some", "precedence: 2, match: {request: {headers: {uri: {prefix: /two}}}}, route: [{labels: {version: v2}}]"))
	for path, want := range map[string]string{"/one": "v1", "/two": "v2"} {
		if status, body := tunnelled(t, caller, "reviews:9080", path); status != http.StatusOK || body != want {
			t.Errorf("%s through a tunnel: %d %q, want %s", path, status, body, want)
		}
	}
}

// As many tunnels may be open as a proxy takes connections.
func TestManyTunnels(t *testing.T) {
	t.Parallel()
	_, caller := reviewsMesh(t)
	for n := range 1100 {
		if status, _, _ := connect(t, caller, "reviews:9080"); status != http.StatusOK {
			t.Fatalf("tunnel %d: %d", n, status)
		}
	}
	if status, body := tunnelled(t, caller, "reviews:9080", "/"); status != http.StatusOK {
		t.Errorf("a request in the last tunnel: %d %q", status, body)
	}
}

// A tunnel to a name that leads nowhere is refused.
func TestConnectToNowhereIsRefused(t *testing.T) {
	t.Parallel()
	_, caller := reviewsMesh(t)
	for _, authority := range []string{"nowhere:80", "reviews:81", "outside.test:443", "192.0.2.1:443"} {
		if status, _, _ := connect(t, caller, authority); status != http.StatusBadGateway {
			t.Errorf("CONNECT %s is answered with %d, want 502", authority, status)
		}
	}
}

// greeter is a server that speaks first: it says its name and then echoes lines.
func greeter(t *testing.T, name string) (address string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				fmt.Fprintf(conn, "%s\n", name)
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	return l.Addr().String()
}

// bytesMesh is a mesh with two versions of a service db that speaks first on port 3306, and a caller with a local
// address for it.
func bytesMesh(t *testing.T) (*meshtest.Mesh, *meshtest.Instance) {
	t.Helper()
	m := meshtest.New(t)
	for _, version := range []string{"v1", "v2"} {
		m.StartSpec(meshtest.Spec{Service: "db", Version: version, Ports: []meshtest.SpecPort{
			{Name: "mysql", Number: 3306, Target: greeter(t, version)},
		}})
	}
	caller := m.StartSpec(meshtest.Spec{
		Service: "caller", Version: "v1", Ports: []meshtest.SpecPort{{Name: "http", Number: 9080, App: meshtest.Named("caller")}},
		Upstreams: []mesh.Upstream{{Host: meshtest.HostOf("db"), Port: 3306}},
	})
	return m, caller
}

// greeting dials an address and returns what the other side says first, with the connection.
func greeting(t *testing.T, address string) (string, net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return greeted(t, conn, bufio.NewReader(conn))
}

func greeted(t *testing.T, conn net.Conn, reader *bufio.Reader) (string, net.Conn, *bufio.Reader) {
	t.Helper()
	if err := conn.SetDeadline(time.Now().Add(meshtest.Patience)); err != nil {
		t.Fatal(err)
	}
	line, err := reader.ReadString('\n')
	if err != nil {
		return "closed: " + err.Error(), conn, reader
	}
	return strings.TrimSpace(line), conn, reader
}

// greetings counts who answers at an address.
func greetings(t *testing.T, address string, n int) map[string]int {
	t.Helper()
	got := map[string]int{}
	for range n {
		who, conn, _ := greeting(t, address)
		got[who]++
		_ = conn.Close()
	}
	return got
}

// Bytes by local address: who speaks first is heard, rules choose the version, and a connection that is open stays
// where it is when they change.
func TestBytesByLocalAddress(t *testing.T) {
	t.Parallel()
	m, caller := bytesMesh(t)
	address := caller.Upstream("db", 3306)
	if got := greetings(t, address, 20); got["v1"] == 0 || got["v2"] == 0 || got["v1"]+got["v2"] != 20 {
		t.Errorf("without a rule: %v", got)
	}
	dbRule := func(name, spec string) string { return ruleFor("db", name, spec) }
	m.Apply(dbRule("everybody", "precedence: 1, route: [{labels: {version: v1}}]"))
	if got := greetings(t, address, 10); got["v1"] != 10 {
		t.Errorf("all to v1: %v", got)
	}
	_, conn, reader := greeting(t, address)
	m.Apply(dbRule("everybody", "precedence: 1, route: [{labels: {version: v2}}]"))
	if got := greetings(t, address, 10); got["v2"] != 10 {
		t.Errorf("all to v2: %v", got)
	}
	fmt.Fprintln(conn, "still here")
	if line, _ := reader.ReadString('\n'); line != "still here\n" {
		t.Errorf("an open connection says %q after a change", line)
	}
	m.Apply(dbRule("everybody", "precedence: 1, route: [{labels: {version: v1}, weight: 75}, {labels: {version: v2}, weight: 25}]"))
	if got := greetings(t, address, 1000); got["v1"] < 700 || got["v1"] > 800 {
		t.Errorf("75 to 25: %v", got)
	}
	m.Apply(dbRule("nothing-for-v2", "precedence: 2, route: [{labels: {version: v1}, weight: 100}, {labels: {version: v2}, weight: 0}]"))
	if got := greetings(t, address, 10); got["v1"] != 10 {
		t.Errorf("100 to 0: %v", got)
	}
}

// Rules for bytes look at the addresses of both ends.
func TestBytesBySubnet(t *testing.T) {
	t.Parallel()
	m, caller := bytesMesh(t)
	address := caller.Upstream("db", 3306)
	m.Apply(ruleFor("db", "everybody", "precedence: 1, route: [{labels: {version: v1}}]"))
	for _, c := range []struct{ match, want string }{
		{"sourceSubnet: [" + caller.Address + "/32]", "v2"},
		{"sourceSubnet: [192.0.2.0/24]", "v1"},
		{"destinationSubnet: [" + caller.Address + "]", "v2"},
		{"destinationSubnet: [192.0.2.0/24, 198.51.100.0/24]", "v1"},
		{"sourceSubnet: [127.0.0.0/8], destinationSubnet: [127.0.0.0/8]", "v2"},
	} {
		m.Apply(ruleFor("db", "some", "precedence: 2, match: {tcp: {"+c.match+"}}, route: [{labels: {version: v2}}]"))
		if got := greetings(t, address, 5); got[c.want] != 5 {
			t.Errorf("%s: %v, want %s", c.match, got, c.want)
		}
	}
}

// A connection is ended after the time that a rule says.
func TestBytesAreTerminated(t *testing.T) {
	t.Parallel()
	m, caller := bytesMesh(t)
	m.Apply(ruleFor("db", "short", "l4Fault: {terminate: {terminateAfterPeriod: 0.2s}}"))
	_, conn, reader := greeting(t, caller.Upstream("db", 3306))
	if err := conn.SetDeadline(time.Now().Add(meshtest.Patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := reader.ReadByte(); err != io.EOF {
		t.Errorf("the connection ends with %v, want EOF", err)
	}
}

// A tunnel to a port that is no HTTP carries bytes, steered by rules.
func TestBytesByConnect(t *testing.T) {
	t.Parallel()
	m, caller := bytesMesh(t)
	m.Apply(ruleFor("db", "everybody", "precedence: 1, route: [{labels: {version: v2}}]"))
	for range 5 {
		status, conn, reader := connect(t, caller, "db:3306")
		if who, _, _ := greeted(t, conn, reader); status != http.StatusOK || who != "v2" {
			t.Errorf("CONNECT db:3306: %d, %q, want v2", status, who)
		}
	}
	status, body := caller.Get("http://db:3306/")
	if status != http.StatusBadGateway || !strings.Contains(body, "no HTTP port") {
		t.Errorf("a request to a port for bytes: %d %q", status, body)
	}
}

// A program that knows no proxies reaches an HTTP service by its local address, steered by rules.
func TestRequestsByLocalAddress(t *testing.T) {
	t.Parallel()
	m := meshtest.New(t)
	m.Start("reviews", "v1", meshtest.Named("v1"))
	m.Start("reviews", "v2", meshtest.Named("v2"))
	caller := m.StartSpec(meshtest.Spec{
		Service: "caller", Version: "v1", Ports: []meshtest.SpecPort{{Name: "http", Number: 9080, App: meshtest.Named("caller")}},
		Upstreams: []mesh.Upstream{{Host: meshtest.HostOf("reviews"), Port: meshtest.ServicePort}},
	})
	m.Apply(rule("everybody", "precedence: 1, route: [{labels: {version: v1}}]"))
	m.Apply(rule("some", "precedence: 2, match: {request: {headers: {uri: {exact: /two}}}}, route: [{labels: {version: v2}}]"))
	m.Apply(rule("dialled", "precedence: 3, match: {tcp: {destinationSubnet: [127.0.0.0/8]}, request: {headers: {uri: {exact: /three}}}}, route: [{labels: {version: v2}}]"))
	for path, want := range map[string]string{"/one": "v1", "/two": "v2", "/three": "v2"} {
		body, err := meshtest.Fetch(t.Context(), http.DefaultClient, "http://"+caller.Upstream("reviews", meshtest.ServicePort)+path)
		if err != nil || body != want {
			t.Errorf("%s: %q, %v, want %s", path, body, err, want)
		}
	}
	wantBody(t, caller, "http://reviews:9080/three", "v1") // a name is no address
}
