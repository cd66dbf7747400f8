package meshtest

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// FakeMesh is a push engine behind a real xDS server, with a snapshot that the test edits and [FakeProxy]s for Envoys.
type FakeMesh struct {
	Engine   *push.Engine
	Snapshot *mesh.Snapshot

	t        testing.TB
	listener *bufconn.Listener
}

// NewFakeMesh starts an engine with an empty snapshot for the test.
func NewFakeMesh(t testing.TB, config push.Config) *FakeMesh {
	t.Helper()
	config.Log = slog.New(slog.DiscardHandler)
	m := &FakeMesh{
		t: t, Engine: push.NewEngine(config), Snapshot: mesh.NewSnapshot(Domain), listener: bufconn.Listen(1 << 20),
	}
	stop := make(chan struct{})
	server := xds.NewServer(m.Engine.Open, stop, 0)
	var running sync.WaitGroup
	running.Go(func() {
		if err := server.Serve(m.listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(func() {
		close(stop)
		server.Stop()
		running.Wait()
	})
	return m
}

// Edit makes the next snapshot the current one and returns its revision.
func (m *FakeMesh) Edit(change func(*mesh.Draft)) int64 {
	draft := m.Snapshot.Edit()
	change(draft)
	var keys []mesh.Key
	m.Snapshot, keys = draft.Done()
	m.Engine.Apply(m.Snapshot, keys)
	return m.Snapshot.Revision()
}

// Confirmed waits until a revision is in force everywhere and returns how many proxies it concerned.
func (m *FakeMesh) Confirmed(revision int64) int {
	m.t.Helper()
	p := m.Engine.Progress(m.t.Context(), revision, Patience)
	if p.Confirmed != p.Concerned {
		m.t.Fatalf("revision %d is in force in %d of %d proxies; waiting for %v, refused %v",
			revision, p.Confirmed, p.Concerned, p.Waiting, p.Refusals)
	}
	return p.Concerned
}

// Connect runs a fake proxy until the test ends, or the returned function is called.
func (m *FakeMesh) Connect(f *FakeProxy) (disconnect func()) {
	m.t.Helper()
	conn, err := grpc.NewClient("passthrough:///lateen",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return m.listener.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		m.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(m.t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := f.Run(ctx, conn); ctx.Err() == nil {
			m.t.Errorf("proxy %s: %v", f.Node.ID(), err)
		}
	})
	disconnect = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		if err := conn.Close(); err != nil {
			m.t.Error(err)
		}
	})
	m.t.Cleanup(disconnect)
	return disconnect
}
