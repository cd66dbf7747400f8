package meshtest_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
)

// shortTTL is how long certificates of these tests hold: connections for requests get a quarter of it old, and all else ends
// at half of it.
const shortTTL = 24 * time.Second

// webSocketTo opens a WebSocket through an instance's proxy.
func webSocketTo(t *testing.T, from *meshtest.Instance, host, path string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := dialFrom(t, "127.0.0.1", from.Proxy(), nil)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "GET http://%s%s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\n"+
		"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", host, path, host)
	reader := bufio.NewReader(conn)
	res, err := http.ReadResponse(reader, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got %v, %v; want 101", res, err)
	}
	_ = res.Body.Close()
	return conn, reader
}

// echoes tells whether a connection gives back what it is told.
func echoes(conn net.Conn, reader *bufio.Reader) bool {
	if _, err := io.WriteString(conn, "hello\n"); err != nil {
		return false
	}
	line, err := reader.ReadString('\n')
	return err == nil && line == "hello\n"
}

// openedTo returns how many connections a proxy has opened to the endpoints of a cluster.
func openedTo(i *meshtest.Instance, cluster string) (all int) {
	for line := range strings.Lines(string(i.Admin("/clusters"))) {
		var n int
		if _, rest, found := strings.Cut(line, "::cx_total::"); found && strings.HasPrefix(line, cluster+"::") {
			_, _ = fmt.Sscan(rest, &n)
			all += n
		}
	}
	return all
}

// ageing is a mesh whose certificates hold for a short time, with requests going on all the time.
type ageing struct {
	caller   *meshtest.Instance
	requests atomic.Int64
	failed   atomic.Int64
}

func newAgeing(t *testing.T) *ageing {
	t.Helper()
	m := meshtest.NewWith(t, meshtest.Config{Version: "test", CertTTL: shortTTL})
	mux := http.NewServeMux()
	mux.Handle("/ws", slowApp()(nil))
	mux.HandleFunc("/brief", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "served") })
	mux.HandleFunc("/long", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "ser")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-time.After(time.Second):
		case <-r.Context().Done():
		}
		_, _ = io.WriteString(w, "ved")
	})
	m.StartSpec(meshtest.Spec{Service: "server", Version: "v1", Ports: []meshtest.SpecPort{
		{Name: "http", Number: meshtest.ServicePort, App: meshtest.Handler(mux.ServeHTTP)}, {Name: "mysql", Number: bytesPort, Target: greeter(t, "v1")},
	}})
	a := &ageing{caller: m.StartSpec(meshtest.Spec{
		Service: "caller", Version: "v1", Ports: []meshtest.SpecPort{{Name: "http", Number: 9080, App: meshtest.Named("caller")}},
		Upstreams: []mesh.Upstream{{Host: meshtest.HostOf("server"), Port: bytesPort}},
	})}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, path := range []string{"brief", "brief", "long"} {
		client := a.caller.Client()
		running.Go(func() {
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for ; ctx.Err() == nil; <-tick.C {
				if body, err := meshtest.Fetch(context.WithoutCancel(ctx), client, "http://server:9080/"+path); err != nil || body != "served" {
					a.failed.Add(1)
					t.Errorf("after %d requests: %q, %v", a.requests.Load(), body, err)
					return
				}
				a.requests.Add(1)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return a
}

// Connections between proxies do not get old: those for requests drain at a quarter of the life of certificates, and no
// request fails by that. What is open for long lives on past it, and ends at half of that life, before the certificates by
// which it was opened expire.
func TestConnectionsDoNotGetOld(t *testing.T) {
	t.Parallel()
	a := newAgeing(t)
	certificate, _ := takenFrom(t, a.caller)
	leaf, err := x509.ParseCertificate(certificate.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	socket, socketReader := webSocketTo(t, a.caller, "server:9080", "/ws")
	_, conn, reader := greeting(t, a.caller.Upstream("server", bytesPort))
	const cluster = "outbound|9080||server.default.svc.cluster.local"
	meshtest.Await(t, "the connections for requests", func() bool { return a.requests.Load() > 100 })
	before := openedTo(a.caller, cluster)
	// Three clients and the WebSocket have one each; a few more come while others are in use.
	meshtest.Await(t, "new connections for requests", func() bool { return openedTo(a.caller, cluster) > before+2 })
	if !echoes(socket, socketReader) || !echoes(conn, reader) {
		t.Error("what is open for long ends when connections for requests are old")
	}
	for name, open := range map[string]struct {
		conn   net.Conn
		reader *bufio.Reader
	}{"WebSocket": {socket, socketReader}, "bytes": {conn, reader}} {
		_, err := open.reader.ReadByte()
		if err == nil || errors.Is(err, os.ErrDeadlineExceeded) || time.Now().After(leaf.NotAfter) {
			t.Errorf("%s: it ends with %v at %v; the certificate does at %v", name, err, time.Now(), leaf.NotAfter)
		}
	}
	meshtest.Await(t, "another certificate", func() bool {
		now, _ := takenFrom(t, a.caller)
		return !bytes.Equal(now.Certificate[0], certificate.Certificate[0])
	})
	more := a.requests.Load() + 100
	meshtest.Await(t, "requests after that", func() bool { return a.requests.Load() > more || a.failed.Load() > 0 })
}
