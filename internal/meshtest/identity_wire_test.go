package meshtest_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/netns"
)

// wire listens to everything that goes over the loopback interface of a network namespace.
type wire struct {
	t    *testing.T
	sock int
	done chan struct{}

	mu      sync.Mutex
	streams map[stream]*bytes.Buffer
}

// stream is one direction of a connection.
type stream struct{ from, to netip.AddrPort }

// listenToWire listens until the test ends.
func listenToWire(t *testing.T) *wire {
	t.Helper()
	// Who asks for a protocol hears each packet once, as it comes.
	const ip = unix.ETH_P_IP&0xff<<8 | unix.ETH_P_IP>>8 // in the order of the network
	sock, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, ip)
	if err != nil {
		t.Fatal(err)
	}
	// A byte that is lost here is one that is not looked at.
	if err := unix.SetsockoptInt(sock, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20); err != nil {
		if err = unix.SetsockoptInt(sock, unix.SOL_SOCKET, unix.SO_RCVBUF, 64<<20); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.SetsockoptTimeval(sock, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 20_000}); err != nil {
		t.Fatal(err)
	}
	w := &wire{t: t, sock: sock, done: make(chan struct{}), streams: map[stream]*bytes.Buffer{}}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		w.listen()
	}()
	t.Cleanup(func() {
		close(w.done)
		<-stopped
		stats, err := unix.GetsockoptTpacketStats(sock, unix.SOL_PACKET, unix.PACKET_STATISTICS)
		if err != nil || stats.Drops > 0 {
			t.Errorf("%+v, %v: not everything was heard", stats, err)
		}
		unix.Close(sock)
	})
	return w
}

func (w *wire) listen() {
	packet := make([]byte, 1<<17)
	for {
		n, _, err := unix.Recvfrom(w.sock, packet, 0)
		switch {
		case err == nil:
			w.take(packet[:n])
		case errors.Is(err, unix.EAGAIN):
			select {
			case <-w.done:
				return
			default:
			}
		case err != nil && !errors.Is(err, unix.EINTR):
			w.t.Error(err)
			return
		}
	}
}

// take notes what a packet of TCP carries. Nothing is lost or sent twice on a loopback interface.
func (w *wire) take(ip []byte) {
	header := int(ip[0]&15) * 4
	if ip[0]>>4 != 4 || ip[9] != unix.IPPROTO_TCP {
		return
	}
	tcp := ip[header:]
	s := stream{
		netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[12:16])), binary.BigEndian.Uint16(tcp[0:2])),
		netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[16:20])), binary.BigEndian.Uint16(tcp[2:4])),
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.streams[s] == nil {
		w.streams[s] = &bytes.Buffer{}
	}
	w.streams[s].Write(tcp[int(tcp[12]>>4)*4:])
}

// heard returns what was said to and by a port, each connection and direction by itself.
func (w *wire) heard(address string) (all [][]byte) {
	w.t.Helper()
	port := netip.MustParseAddrPort(address)
	w.mu.Lock()
	defer w.mu.Unlock()
	for s, said := range w.streams {
		if (s.from == port || s.to == port) && said.Len() > 0 {
			all = append(all, bytes.Clone(said.Bytes()))
		}
	}
	return all
}

// isTLS tells whether bytes are records of TLS and nothing else, of which the last may be cut.
func isTLS(said []byte) bool {
	for len(said) >= 5 {
		kind, length := said[0], int(binary.BigEndian.Uint16(said[3:5]))
		if kind < 0x14 || kind > 0x17 || said[1] != 3 || length > 1<<14+256 {
			return false
		}
		said = said[min(len(said), 5+length):]
	}
	return len(said) == 0 || (said[0] >= 0x14 && said[0] <= 0x17)
}

// marks are said in every part of what the test sends, and of the answers.
var marks = []string{"mark-path", "mark-header", "mark-body", "mark-answer", "mark-bytes"}

// wireMesh is a mesh with all kinds of callers and servers, in a namespace of its own.
type wireMesh struct {
	*testing.T
	mesh             *meshtest.Mesh
	server           *meshtest.Instance
	caller, door     *meshtest.Instance
	wire             *wire
	client, outsider *http.Client
}

const grpcPort = 7070

func newWireMesh(t *testing.T) *wireMesh {
	t.Helper()
	w := &wireMesh{T: t, wire: listenToWire(t), mesh: meshtest.New(t)}
	w.server = w.mesh.StartSpec(meshtest.Spec{Service: "server", Version: "v1", Ports: []meshtest.SpecPort{
		{Name: "http", Number: meshtest.ServicePort, App: meshtest.Handler(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("X-Answer", "mark-answer")
			_, _ = io.WriteString(w, "mark-answer")
		})},
		{Name: "grpc", Number: grpcPort, Target: (&greeterService{version: "mark-answer"}).serve(t)},
		{Name: "mysql", Number: bytesPort, Target: greeter(t, "mark-bytes")},
	}})
	w.caller = w.mesh.StartSpec(meshtest.Spec{
		Service: "caller", Version: "v1", Ports: []meshtest.SpecPort{{Name: "http", Number: meshtest.ServicePort, App: meshtest.Named("caller")}},
		Upstreams: []mesh.Upstream{{Host: meshtest.HostOf("server"), Port: bytesPort}},
	})
	w.door = w.mesh.Door()
	w.mesh.Apply("apiVersion: extensions/v1beta1\nkind: Ingress\nmetadata: {name: all}\nspec: {backend: {serviceName: server, servicePort: 9080}}\n")
	w.client, w.outsider = w.caller.Client(), w.door.Client()
	return w
}

// post sends a request that is marked everywhere.
func (w *wireMesh) post(client *http.Client, url string) {
	w.Helper()
	req, err := http.NewRequestWithContext(w.Context(), http.MethodPost, url, strings.NewReader("mark-body"))
	if err != nil {
		w.Fatal(err)
	}
	req.Header.Set("X-Mark", "mark-header")
	res, err := client.Do(req)
	if err != nil {
		w.Fatal(err)
	}
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); err != nil || string(body) != "mark-answer" {
		w.Errorf("POST %s: %s %q, %v", url, res.Status, body, err)
	}
}

// say uses every port of the server in every way.
func (w *wireMesh) say() {
	w.Helper()
	w.post(w.client, "http://server:9080/mark-path")
	w.post(w.outsider, "http://outside/mark-path")
	grpc := grpcClient(w.T, w.caller, fmt.Sprint("server:", grpcPort))
	if version, err := check(w.T, grpc, "mark-body", "x-mark", "mark-header"); err != nil || version != "mark-answer" {
		w.Errorf("gRPC: %q, %v", version, err)
	}
	if _, err := grpc.Watch(w.Context(), &healthv1.HealthCheckRequest{Service: "mark-body"}); err != nil {
		w.Error(err)
	}
	who, conn, reader := greeting(w.T, w.caller.Upstream("server", bytesPort))
	defer conn.Close()
	fmt.Fprintln(conn, "mark-bytes too")
	if echo, err := reader.ReadString('\n'); who != "mark-bytes" || err != nil {
		w.Errorf("bytes: %q, %q, %v", who, echo, err)
	}
}

// Between proxies there is TLS on the wire and nothing else: none of what is said stands in what is heard there, while it
// does where the policy is NONE.
func TestWireHasNoPlainText(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		w := newWireMesh(t)
		ports := []int{meshtest.ServicePort, grpcPort, bytesPort}
		w.say()
		w.mesh.Set(strict)
		w.say()
		w.silence()
		for _, port := range ports {
			all := w.wire.heard(at(w.server, port))
			if len(all) < 2 {
				t.Errorf("port %d: %d streams were heard", port, len(all))
			}
			for _, said := range all {
				if !isTLS(said) {
					t.Errorf("port %d: there is something else than TLS: %.200q", port, said)
				}
				for _, mark := range marks {
					if bytes.Contains(said, []byte(mark)) {
						t.Errorf("port %d: %q is heard", port, mark)
					}
				}
			}
		}
		for _, said := range w.wire.heard(w.mesh.Secure) {
			if !isTLS(said) {
				t.Errorf("with the control plane something else than TLS is spoken: %.200q", said)
			}
		}
		w.mesh.Set(none)
		w.client, w.outsider = w.caller.Client(), w.door.Client()
		w.say()
		w.silence()
		var open []string
		for _, port := range ports {
			for _, said := range w.wire.heard(at(w.server, port)) {
				for _, mark := range marks {
					if bytes.Contains(said, []byte(mark)) && !slices.Contains(open, mark) {
						open = append(open, mark)
					}
				}
			}
		}
		if len(open) != len(marks) {
			t.Errorf("in plain text %q are heard, want %q: this test cannot hear", open, marks)
		}
	})
}

// silence waits until everything that was sent has been heard: a last packet is.
func (w *wireMesh) silence() {
	w.Helper()
	l, err := new(net.ListenConfig).Listen(w.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		w.Fatal(err)
	}
	defer l.Close()
	conn, err := dialFrom(w.T, "127.0.0.1", l.Addr().String(), nil)
	if err != nil {
		w.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "the end")
	meshtest.Await(w.T, "the end", func() bool { return len(w.wire.heard(l.Addr().String())) == 1 })
}
