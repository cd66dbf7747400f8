package meshtest_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"net"
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
// what is said to be in force is what goes over the wire.
func TestLoadModes(t *testing.T) {
	rounds := 1
	if meshtest.FullLoad() {
		rounds = 10
	}
	m := meshtest.New(t)
	m.StartSpec(meshtest.Spec{Service: "reviews", Version: "v1", Ports: []meshtest.SpecPort{
		{Name: "http", Number: meshtest.ServicePort, App: meshtest.Named("v1")},
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
	bytes := startByteLoad(t, caller.Upstream("reviews", 9082), "v1")
	for range rounds {
		for _, mode := range modes {
			m.Set(func(s *mesh.Settings) { s.AuthPolicy = mode })
			wantMode(t, caller, mode)
			loads["through the proxy"].More(requestsBetween)
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
