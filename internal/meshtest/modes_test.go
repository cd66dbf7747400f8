package meshtest_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
)

// modes leads through every change from one policy to another, beginning and ending with what holds where nothing is said.
var modes = []mesh.AuthPolicy{
	mesh.AuthMutualTLS, mesh.AuthPermissive, mesh.AuthNone, mesh.AuthMutualTLS, mesh.AuthNone, mesh.AuthPermissive,
}

// Under load of requests and of connections for bytes, the mesh goes from each policy to each other one: nothing fails, and
// what is said to be in force is what goes over the wire. What was under way before a change is finished after the next one:
// a request that takes that long, and connections for bytes that stay open.
func TestLoadModes(t *testing.T) {
	rounds := 1
	if meshtest.FullLoad() {
		rounds = 10
	}
	m := meshtest.New(t)
	long := longRequests{release: make(chan struct{})}
	m.StartSpec(meshtest.Spec{Service: "reviews", Version: "v1", Ports: []meshtest.SpecPort{
		{Name: "http", Number: meshtest.ServicePort, App: meshtest.Handler(long.answer)},
		{Name: "http2", Number: 9081, App: meshtest.Named("v1")},
		{Name: "tcp", Number: 9082, Target: greeter(t, "v1")},
	}})
	m.Apply(reviewsDoor)
	door := m.Door()
	caller := m.StartSpec(meshtest.Spec{
		Service: "caller", Version: "v1", Ports: []meshtest.SpecPort{{Name: "http", Number: meshtest.ServicePort, App: meshtest.Named("caller")}},
		Upstreams: []mesh.Upstream{{Host: meshtest.HostOf("reviews"), Port: 9082}},
	})
	wantBody(t, caller, reviews, "v1")
	loads := map[string]*meshtest.Load{
		"through the proxy":   meshtest.StartLoad(t, caller, reviews),
		"over HTTP/2":         meshtest.StartLoad(t, caller, "http://reviews:9081/"),
		"through the ingress": meshtest.StartLoad(t, door, "http://door/"),
	}
	var open []*echoing
	bytes := startByteLoad(t, caller.Upstream("reviews", 9082), "v1")
	for range rounds {
		for _, mode := range modes {
			open = append(open, openEcho(t, caller.Upstream("reviews", 9082)))
			before := long.begin(t, caller)
			m.Set(func(s *mesh.Settings) { s.AuthPolicy = mode })
			wantMode(t, caller, mode)
			loads["through the proxy"].More(requestsBetween)
			for _, e := range open {
				e.wants(t, string(mode))
			}
			long.finish(t, before)
		}
	}
	for name, l := range loads {
		l.Stop(name)
	}
	bytes.finish()
}

// wantMode sends a request to reviews and looks at what it went by: what is said to be in force is what is on the wire.
func wantMode(t *testing.T, caller *meshtest.Instance, mode mesh.AuthPolicy) {
	t.Helper()
	path := "/" + rand.Text()
	wantBody(t, caller, "http://reviews:9080"+path, "v1")
	want := any("TLSv1.3")
	if mode == mesh.AuthNone {
		want = nil
	}
	if tls := logged(t, caller, path)["tls"]; tls != want {
		t.Errorf("%s is in force, and a request goes by %v, want %v", mode, tls, want)
	}
}

// longRequests are requests that are answered when the test says so, among others that are answered at once.
type longRequests struct {
	mu      sync.Mutex
	release chan struct{} // closed: those that have begun are answered
}

func (l *longRequests) answer(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/long" {
		l.mu.Lock()
		release := l.release
		l.mu.Unlock()
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}
	_, _ = io.WriteString(w, "v1")
}

// begin sends a request, and returns its answer when that has begun.
func (l *longRequests) begin(t *testing.T, from *meshtest.Instance) io.Reader {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://reviews:9080/long", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := from.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	return res.Body
}

// finish lets the requests that have begun be answered. This one must be, whole.
func (l *longRequests) finish(t *testing.T, answer io.Reader) {
	t.Helper()
	l.mu.Lock()
	close(l.release)
	l.release = make(chan struct{})
	l.mu.Unlock()
	if body, err := io.ReadAll(answer); err != nil || string(body) != "v1" {
		t.Errorf("a request that was under way while the policy changed: got %q, %v", body, err)
	}
}

// echoing is a connection for bytes that stays open.
type echoing struct {
	conn   net.Conn
	reader *bufio.Reader
}

func openEcho(t *testing.T, address string) *echoing {
	t.Helper()
	who, conn, reader := greeting(t, address)
	if who != "v1" {
		t.Errorf("a connection for bytes: got %q, want v1", who)
	}
	return &echoing{conn, reader}
}

func (e *echoing) wants(t *testing.T, word string) {
	t.Helper()
	if err := e.conn.SetDeadline(time.Now().Add(meshtest.Patience)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(e.conn, word)
	if line, err := e.reader.ReadString('\n'); err != nil || line != word+"\n" {
		t.Errorf("a connection for bytes that was open before %s says %q, %v", word, line, err)
	}
}

// byteLoad opens one connection after the other, each of which must bring what is expected.
type byteLoad struct {
	t       *testing.T
	stop    context.CancelFunc
	running sync.WaitGroup
	opened  atomic.Int64
	failed  atomic.Int64
}

func startByteLoad(t *testing.T, address, want string) *byteLoad {
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	l := &byteLoad{t: t, stop: stop}
	for range 2 {
		l.running.Go(func() {
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				if got, err := hello(address); got != want {
					l.failed.Add(1)
					t.Errorf("a connection for bytes: got %q, %v; want %q", got, err, want)
				}
				l.opened.Add(1)
			}
		})
	}
	t.Cleanup(func() { stop(); l.running.Wait() })
	return l
}

// hello returns what a server says to who connects.
func hello(address string) (string, error) {
	conn, err := net.DialTimeout("tcp", address, meshtest.Patience)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(meshtest.Patience))
	line, err := bufio.NewReader(conn).ReadString('\n')
	if len(line) > 0 {
		line = line[:len(line)-1]
	}
	return line, err
}

func (l *byteLoad) finish() {
	l.t.Helper()
	l.stop()
	l.running.Wait()
	l.t.Logf("bytes: %d connections, %d failed", l.opened.Load(), l.failed.Load())
	if l.opened.Load() < 100 {
		l.t.Errorf("%d connections for bytes show nothing", l.opened.Load())
	}
}
