package meshtest_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
)

const tlsPort = 8443

// allClients is a mesh with one server that has a port of each kind, and every kind of caller.
type allClients struct {
	*testing.T
	mesh                 *meshtest.Mesh
	server, caller, door *meshtest.Instance
	program              healthv1.HealthClient // without a proxy
	authority            *authority            // of the application that speaks TLS itself
}

func newAllClients(t *testing.T) *allClients {
	t.Helper()
	x := &allClients{T: t, mesh: meshtest.New(t), authority: newAuthority(t)}
	own := tlsServer(t, x.authority.issue("server"))
	x.server = x.mesh.StartSpec(meshtest.Spec{Service: "server", Version: "v1", Account: "server", Ports: []meshtest.SpecPort{
		{Name: "http", Number: meshtest.ServicePort, App: slowApp()},
		{Name: "grpc", Number: grpcPort, Target: (&greeterService{version: "v1"}).serve(t)},
		{Name: "mysql", Number: bytesPort, Target: greeter(t, "v1")},
		{Name: "https", Number: tlsPort, Target: own},
		{Name: "http-tls", Number: tlsPort + 1, Target: own}, // it says that it speaks HTTP, and speaks TLS
	}})
	// A machine without a proxy.
	vm := netip.MustParseAddrPort(strings.TrimPrefix(httpServer(t), "http://"))
	x.mesh.AddRegistry(mesh.Registry{
		Services: []*mesh.Service{meshtest.NewService("vm", "http", meshtest.ServicePort)},
		Endpoints: []*mesh.EndpointSet{{Host: meshtest.HostOf("vm"), Endpoints: []mesh.Endpoint{{
			Address: vm.Addr().String(), Ports: map[string]int{"http": int(vm.Port())}, Health: mesh.Healthy,
		}}}},
	})
	x.caller = x.mesh.StartSpec(meshtest.Spec{
		Service: "caller", Version: "v1", Ports: []meshtest.SpecPort{{Name: "http", Number: 9080, App: meshtest.Named("caller")}},
		Upstreams: []mesh.Upstream{{Host: meshtest.HostOf("server"), Port: bytesPort}},
	})
	x.door = x.mesh.Door()
	x.mesh.Apply("apiVersion: extensions/v1beta1\nkind: Ingress\nmetadata: {name: all}\nspec: {backend: {serviceName: server, servicePort: 9080}}\n")
	x.program = healthv1.NewHealthClient(x.mesh.Proxyless("program", nil).Dial(fmt.Sprint("server:", grpcPort)))
	return x
}

// httpServer runs an application that has no proxy.
func httpServer(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, l)
	return "http://" + l.Addr().String()
}

// tlsServer runs an application that speaks TLS itself.
func tlsServer(t *testing.T, c tls.Certificate) (address string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{c}, MinVersion: tls.VersionTLS12}))
	return l.Addr().String()
}

func serveOn(t *testing.T, l net.Listener) {
	t.Helper()
	server := &http.Server{ReadHeaderTimeout: meshtest.Patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "its own")
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		server.Close()
		<-done
	})
}

// proxies reach every port in every mode, by the transport that the mode says.
func (x *allClients) proxies(mode, path string, version any) {
	x.Helper()
	for _, c := range []struct {
		name string
		from *meshtest.Instance
		url  string
	}{{"a sidecar", x.caller, "http://server:9080/"}, {"the ingress", x.door, "http://any/"}} {
		if status, _ := c.from.Get(c.url + path); status != http.StatusNotFound { // there is no such page
			x.Errorf("%s: %s is answered with %d", mode, c.name, status)
		}
	}
	meshtest.Await(x.T, "both in the log", func() bool { return len(entries(x.T, x.server, map[string]any{"path": "/" + path})) == 2 })
	for _, e := range entries(x.T, x.server, map[string]any{"path": "/" + path}) {
		if e["tls"] != version {
			x.Errorf("%s: %v called with TLS %v, want %v", mode, e["source"], e["tls"], version)
		}
	}
	grpc := grpcClient(x.T, x.caller, fmt.Sprint("server:", grpcPort))
	if _, err := check(x.T, grpc, ""); err != nil {
		x.Errorf("%s: gRPC: %v", mode, err)
	}
	if n := streamed(x.T, grpc); n != 3 {
		x.Errorf("%s: a stream of gRPC brings %d messages", mode, n)
	}
	conn, reader := webSocketTo(x.T, x.caller, "server:9080", "/ws")
	if !echoes(conn, reader) {
		x.Errorf("%s: a WebSocket has no echo", mode)
	}
	said, bytes, reader := greeting(x.T, x.caller.Upstream("server", bytesPort))
	if said != "v1" || !echoes(bytes, reader) {
		x.Errorf("%s: the port for bytes says %q", mode, said)
	}
	code, tunnel, _ := connect(x.T, x.caller, fmt.Sprint("server:", tlsPort))
	if body := x.overTLS(tunnel); code != http.StatusOK || body != "its own" {
		x.Errorf("%s: the application's own TLS says %q", mode, body)
	}
}

// streamed counts the messages of a stream.
func streamed(t *testing.T, client healthv1.HealthClient) (n int) {
	t.Helper()
	stream, err := client.Watch(t.Context(), &healthv1.HealthCheckRequest{})
	for ; err == nil; n++ {
		_, err = stream.Recv()
	}
	return n - 1
}

// overTLS asks an application that speaks TLS itself over a connection. It must be the one whose certificate it is.
func (x *allClients) overTLS(conn net.Conn) string {
	x.Helper()
	transport := &http.Transport{DialTLSContext: func(context.Context, string, string) (net.Conn, error) {
		return tls.Client(conn, &tls.Config{RootCAs: x.authority.pool, ServerName: "server", MinVersion: tls.VersionTLS12}), nil
	}}
	defer transport.CloseIdleConnections()
	body, err := meshtest.Fetch(x.Context(), &http.Client{Transport: transport}, "https://server/")
	if err != nil {
		return err.Error()
	}
	return body
}

// strangers without a proxy reach the ports, or do not.
func (x *allClients) strangers(mode string, in bool) {
	x.Helper()
	const from = "127.0.0.1"
	answer, _ := heard(x.T, from, at(x.server, meshtest.ServicePort), nil, asked("/nowhere"))
	if got := strings.HasPrefix(answer, "HTTP/1.1 404"); got != in {
		x.Errorf("%s: a request in plain text gets %q", mode, answer)
	}
	if said, conn, reader := greeting(x.T, at(x.server, bytesPort)); (said == "v1") != in || (in && !echoes(conn, reader)) {
		x.Errorf("%s: bytes in plain text get %q", mode, said)
	}
	conn, err := dialFrom(x.T, from, at(x.server, tlsPort), nil)
	if err != nil {
		x.Fatal(err)
	}
	if body := x.overTLS(conn); (body == "its own") != in {
		x.Errorf("%s: TLS to a port for it gets %q", mode, body)
	}
	want := map[bool]codes.Code{true: codes.OK, false: codes.Unavailable}[in]
	meshtest.Await(x.T, mode+": a program without a proxy to get "+want.String(), func() bool { // it may have a connection of before
		_, err := check(x.T, x.program, "")
		return status.Code(err) == want
	})
}

// Every kind of caller gets to every kind of port in each mode that lets it, and in no other.
func TestClientsOfEachKind(t *testing.T) {
	t.Parallel()
	x := newAllClients(t)
	excluded := func(s *mesh.Settings) { s.MTLSExcluded = []mesh.Host{meshtest.HostOf("server"), meshtest.HostOf("vm")} }
	for n, c := range []struct {
		mode      string
		set       func(*mesh.Settings)
		version   any  // of TLS between proxies
		strangers bool // get in
		vm        int  // the status of what has no proxy
		tlsToHTTP bool // TLS gets through a port for HTTP
	}{
		{"PERMISSIVE", permissive, "TLSv1.3", true, http.StatusOK, true},
		{"MUTUAL_TLS", strict, "TLSv1.3", false, http.StatusServiceUnavailable, false},
		{"MUTUAL_TLS, excluded", excluded, nil, true, http.StatusOK, true},
		{"NONE", func(s *mesh.Settings) { none(s); s.MTLSExcluded = nil }, nil, true, http.StatusOK, false},
		{"PERMISSIVE again", permissive, "TLSv1.3", true, http.StatusOK, true},
	} {
		x.mesh.Set(c.set)
		x.proxies(c.mode, fmt.Sprint("mode-", n), c.version)
		x.strangers(c.mode, c.strangers)
		if status, body := x.caller.Get("http://vm:9080/"); status != c.vm {
			t.Errorf("%s: what has no proxy answers %d %q, want %d", c.mode, status, body, c.vm)
		}
		conn, err := dialFrom(t, "127.0.0.1", at(x.server, tlsPort+1), nil)
		if err != nil {
			t.Fatal(err)
		}
		if body := x.overTLS(conn); (body == "its own") != c.tlsToHTTP {
			t.Errorf("%s: TLS to a port for HTTP gets %q", c.mode, body)
		}
	}
}

// Where a server speaks first, who comes by mutual TLS does not wait until it is clear that no TLS begins, as somebody in plain
// text does: it is greeted before somebody who came before it.
func TestServerFirstDoesNotWait(t *testing.T) {
	t.Parallel()
	m := meshtest.New(t)
	server := m.StartSpec(meshtest.Spec{Service: "db", Version: "v1", Ports: []meshtest.SpecPort{
		{Name: "mysql", Number: bytesPort, Target: greeter(t, "v1")},
	}})
	caller := m.StartSpec(meshtest.Spec{
		Service: "caller", Version: "v1", Ports: []meshtest.SpecPort{{Name: "http", Number: 9080, App: meshtest.Named("caller")}},
		Upstreams: []mesh.Upstream{{Host: meshtest.HostOf("db"), Port: bytesPort}},
	})
	greetings(t, caller.Upstream("db", bytesPort), 1)
	const rounds = 5
	overtaken := 0
	for range rounds { // on a machine that is busy the one may be as slow as the other, but not most of the time
		plain, err := dialFrom(t, "127.0.0.1", at(server, bytesPort), nil)
		if err != nil {
			t.Fatal(err)
		}
		greeted := make(chan struct{})
		go func() {
			defer close(greeted)
			if n, err := plain.Read(make([]byte, 1)); n != 1 {
				t.Errorf("in plain text: %v", err)
			}
		}()
		defer func() { <-greeted }()
		if got := greetings(t, caller.Upstream("db", bytesPort), 1); got["v1"] != 1 {
			t.Fatalf("by mutual TLS: %v", got)
		}
		select {
		case <-greeted:
		default:
			overtaken++
		}
	}
	if overtaken <= rounds/2 {
		t.Errorf("who comes by mutual TLS is greeted first %d times of %d", overtaken, rounds)
	}
}
