package meshtest_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/tools/txtar"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	grpcxds "google.golang.org/grpc/xds"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/lateen-mesh/lateen/internal/bootstrap"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/view"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// A real gRPC client refuses nothing that it is told in any golden case of the pipeline, when it stands in the place of a
// sidecar and calls every service.
func TestGRPCTakesEveryMessage(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob(filepath.Join(meshtest.Root(t), "internal", "serve", "testdata", "*.txtar"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no golden cases: %v", err)
	}
	s := newStatic(t)
	called := 0
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		sections := map[string]string{}
		for _, f := range archive.Files {
			sections[f.Name] = string(f.Data)
		}
		name := strings.TrimSuffix(filepath.Base(path), ".txtar")
		snapshot, registry := s.snapshot(name, sections)
		for _, w := range registry.Workloads {
			if w.Type == mesh.Ingress {
				continue
			}
			if targets := targetsOf(registry); len(targets) > 0 {
				called += len(targets)
				callAll(t, name, snapshot, w, targets)
			}
		}
	}
	if called < 100 {
		t.Errorf("only %d services were called", called)
	}
}

// targetsOf returns all ports of a registry that speak HTTP, as clients spell them.
func targetsOf(r mesh.Registry) []string {
	var targets []string
	for _, svc := range r.Services {
		for _, p := range svc.Ports {
			if p.Protocol.IsHTTP() {
				targets = append(targets, fmt.Sprintf("%s:%d", svc.Host, p.Number))
			}
		}
	}
	return targets
}

// callAll calls everything from a workload without a proxy in the place of w; that there is nobody to answer does not matter.
func callAll(t *testing.T, name string, snapshot *mesh.Snapshot, w *mesh.Workload, targets []string) {
	t.Helper()
	caller := *w
	caller.Type = mesh.Proxyless
	draft := snapshot.Edit()
	draft.SetWorkload(caller.ID(), &caller)
	snapshot, keys := draft.Done()
	engine := push.NewEngine(push.Config{Log: slog.New(slog.DiscardHandler)})
	engine.Apply(snapshot, keys)
	node := mesh.Node{Type: caller.Type, Address: caller.Address, Name: caller.Name, Namespace: caller.Namespace, Domain: meshtest.Domain}
	config, err := bootstrap.GRPC{Node: node, PlainXDS: "unix:" + serveXDS(t, engine)}.JSON()
	if err != nil {
		t.Fatal(err)
	}
	builder, err := grpcxds.NewXDSResolverWithConfigForTesting(config)
	if err != nil {
		t.Fatal(err)
	}
	var calls sync.WaitGroup
	for _, target := range targets {
		conn, err := grpc.NewClient("xds:///"+target, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithResolvers(builder))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		calls.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second) // a rule may delay it
			defer cancel()
			if err := conn.Invoke(ctx, "/a.Service/Call", &emptypb.Empty{}, &emptypb.Empty{}); err == nil {
				t.Errorf("%s: %s answers", name, target)
			}
		})
	}
	calls.Wait()
	meshtest.Await(t, name, func() bool {
		c := engine.Connected()
		return len(c) > 0 && !slices.ContainsFunc(c, func(c push.Connected) bool {
			return c.Settled < snapshot.Revision() || c.Holds[view.KindRoutes] == 0
		})
	})
	for _, c := range engine.Connected() {
		for _, r := range c.Refusals {
			t.Errorf("%s: %s refuses %s: %s", name, c.ID, r.Resource, r.Reason)
		}
	}
}

// serveXDS serves an engine and returns the path of its socket.
func serveXDS(t *testing.T, engine *push.Engine) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "xds") //nolint:usetesting // TempDir holds the test's name, and paths of sockets are short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "xds.sock")
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	server := xds.NewServer(engine.Open, stop, 0)
	var running sync.WaitGroup
	running.Go(func() {
		if err := server.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(func() {
		close(stop)
		server.Stop()
		running.Wait()
	})
	return path
}
