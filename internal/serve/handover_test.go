package serve_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/serve"
)

// mover is a control plane on a folder, and the proxies that may connect to it.
type mover struct {
	t       *testing.T
	dir     string
	api     *api.Client
	stop    func()
	fakes   []*meshtest.FakeProxy
	leaving []func() // by proxy; nil: it is not connected
}

func newMover(t *testing.T, proxies int) *mover {
	t.Helper()
	dir, err := os.MkdirTemp("", "plane") //nolint:usetesting // TempDir holds the test's name, and paths of sockets are short
	if err != nil {
		t.Fatal(err)
	}
	m := &mover{t: t, dir: dir, api: api.NewClient(filepath.Join(dir, api.SocketName)), leaving: make([]func(), proxies)}
	for i := range proxies {
		m.fakes = append(m.fakes, meshtest.NewFakeProxy(mesh.Node{
			Type: mesh.Sidecar, Address: "127.0.0.1", Name: fmt.Sprintf("caller-%d", i), Namespace: "default", Domain: serve.Domain,
		}, "reviews:9080"))
	}
	t.Cleanup(func() {
		for i := range m.leaving {
			m.leave(i)
		}
		m.stop()
		_ = os.RemoveAll(dir)
	})
	m.start()
	return m
}

func (m *mover) start() {
	m.t.Helper()
	p, err := serve.New(serve.Config{StateDir: m.dir, PlainXDS: meshtest.PlainXDS(m.t, m.dir), Pause: -1, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		m.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(m.t.Context()))
	var running sync.WaitGroup
	running.Go(func() {
		if err := p.Run(ctx); err != nil {
			m.t.Error(err)
		}
	})
	m.stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	meshtest.Await(m.t, "the control plane", func() bool { _, err := m.api.Status(m.t.Context()); return err == nil })
}

// join connects a proxy.
func (m *mover) join(i int) {
	m.t.Helper()
	conn, err := grpc.NewClient("unix:"+serve.XDSSocket(m.dir), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		m.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(m.t.Context()))
	var running sync.WaitGroup
	running.Go(func() {
		if err := m.fakes[i].Run(ctx, conn); ctx.Err() == nil {
			m.t.Errorf("proxy %s: %v", m.fakes[i].Node.ID(), err)
		}
	})
	m.leaving[i] = func() {
		cancel()
		running.Wait()
		_ = conn.Close()
	}
}

func (m *mover) leave(i int) {
	if m.leaving[i] != nil {
		m.leaving[i]()
		m.leaving[i] = nil
	}
}

// want says which policy is wanted of reviews. All proxies run.
func (m *mover) want(policy mesh.AuthPolicy) int64 {
	m.t.Helper()
	settings := mesh.DefaultSettings
	settings.AuthPolicy = policy
	r := mesh.Registry{
		Services: []*mesh.Service{meshtest.NewService("reviews", "http", 9080)}, Endpoints: []*mesh.EndpointSet{endpoint("127.201.0.1")},
		Settings: &settings,
	}
	for _, f := range m.fakes {
		r.Workloads = append(r.Workloads, &mesh.Workload{
			Name: f.Node.Name, Namespace: f.Node.Namespace, Type: f.Node.Type, Account: "default", Address: f.Node.Address, Outbound: 15001, Running: true,
		})
	}
	revision, err := m.api.PutRegistry(m.t.Context(), r)
	if err != nil {
		m.t.Fatal(err)
	}
	return revision
}

// held waits until exactly one port is on its way and waits for exactly one proxy, which is away, and returns what it is told.
func (m *mover) held(proxy string) (h api.Handover) {
	m.t.Helper()
	meshtest.Await(m.t, "a handover that waits for "+proxy, func() bool {
		list, err := m.api.Handovers(m.t.Context())
		if err != nil {
			m.t.Fatal(err)
		}
		if len(list) == 1 {
			h = list[0]
		}
		return len(list) == 1 && len(h.WaitingFor) == 0 && strings.Join(h.Away, " ") == proxy
	})
	return h
}

// over waits until no port is on its way. What is written again after a restart, and says nothing new, may be in force before.
func (m *mover) over() {
	m.t.Helper()
	meshtest.Await(m.t, "the end of all handovers", func() bool {
		list, err := m.api.Handovers(m.t.Context())
		if err != nil {
			m.t.Fatal(err)
		}
		return len(list) == 0
	})
}

// A change of the policy is in force when every proxy has confirmed the last step. One that is away holds it up, is named, and is
// waited for also by the next control plane, which goes on where the one before was.
func TestHandoverOverRestarts(t *testing.T) {
	t.Parallel()
	m := newMover(t, 2)
	m.want(mesh.AuthNone)
	m.join(0)
	began := m.want(mesh.AuthMutualTLS)
	h := m.held("caller-1.default")
	if h.Host != reviews || h.Port != 9080 || h.Policy != mesh.AuthMutualTLS || h.Accept != mesh.Both || h.Speak != mesh.Plain || h.Waiting != 1 ||
		h.Step != "servers take both; waiting for 1 of 2 proxies, caller-1.default away" || h.Revision != began || h.Since.IsZero() {
		t.Errorf("told: %+v", h)
	}
	if p, err := m.api.Progress(t.Context(), began, 0); err != nil || p.Done() || len(p.Handovers) != 1 || p.Handovers[0] != string(reviews)+": "+h.Step {
		t.Errorf("in force, and still held up: %+v, %v", p, err)
	}

	m.leave(0)
	m.stop()
	m.start()
	revision := m.want(mesh.AuthMutualTLS)
	m.join(0)
	if h := m.held("caller-1.default"); h.Accept != mesh.Both || h.Speak != mesh.Plain {
		t.Errorf("after a restart: %+v", h)
	}
	m.join(1)
	if p, err := m.api.Progress(t.Context(), revision, meshtest.Patience); err != nil || !p.Done() {
		t.Fatalf("nobody is away, and still: %+v, %v", p, err)
	}
	m.over()

	// The way back is held up in its middle, and goes on from there.
	m.leave(1)
	m.want(mesh.AuthNone)
	if h := m.held("caller-1.default"); h.Accept != mesh.Both || h.Speak != mesh.TLS {
		t.Errorf("on the way back: %+v", h)
	}
	m.leave(0)
	m.stop()
	m.start()
	revision = m.want(mesh.AuthNone)
	m.join(0)
	if h := m.held("caller-1.default"); h.Accept != mesh.Both || h.Speak != mesh.TLS || h.Policy != mesh.AuthNone {
		t.Errorf("on the way back, after a restart: %+v", h)
	}
	m.join(1)
	if p, err := m.api.Progress(t.Context(), revision, meshtest.Patience); err != nil || !p.Done() {
		t.Fatalf("nobody is away, and still: %+v, %v", p, err)
	}
	m.over()
}
