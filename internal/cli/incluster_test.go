package cli

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/lateen-mesh/lateen/internal/admin"
	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/kubeclient"
	"github.com/lateen-mesh/lateen/internal/kubeobjects"
	"github.com/lateen-mesh/lateen/internal/kubetest"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/serve"
	"github.com/lateen-mesh/lateen/internal/source/state"
	"github.com/lateen-mesh/lateen/internal/store"
)

// startInCluster runs "cluster FATE": the control plane of a mesh in a pod of the namespace $ns, which knows the objects of that
// namespace. What becomes of a change in its proxies is as for "mesh". The pod runs on a node whose kubelet can do one thing:
// hand on connections.
func startInCluster(t *testing.T, ts *testscript.TestScript, server *kubetest.Server, args []string) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	ts.Check(err)
	node, stop, err := startKubelet(t.Context(), server, kubelet{target: listener.Addr().String()})
	ts.Check(err)
	ts.Defer(stop)
	ns := ts.Getenv("ns")
	runPod(t, server, node, podOf{namespace: ns, name: "lateen-0", account: "lateen", container: "lateen"})

	c, err := kubeclient.Load(kubeclient.Options{Kubeconfig: ts.Getenv("KUBECONFIG")})
	ts.Check(err)
	kept, err := kubeobjects.New(c, serve.Kinds())
	ts.Check(err)
	log := slog.New(slog.DiscardHandler)
	const source = "kubernetes-objects"
	known := store.New(store.Config{
		Kinds: serve.Kinds(), Domain: serve.Domain, Sources: []string{source}, Log: log, Publish: func(*mesh.Snapshot, []mesh.Key) {},
	})
	dir := ts.MkAbs("plane")
	objects, err := state.Open(state.Config{Dir: filepath.Join(dir, "objects"), Kinds: serve.Kinds(), Log: log, Sink: nowhere})
	ts.Check(err)
	plane := admin.New(admin.Config{
		Watch: push.NewEngine(push.Config{Log: log}), Socket: filepath.Join(dir, "api.sock"), Kinds: serve.Kinds(), Objects: objects,
		Reading: listener, Clusters: []string{source}, Store: known, Registry: known, Proxies: fate(args[0]), Handovers: fate(args[0]),
		Metrics: prometheus.NewRegistry(), Log: log,
	})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	look := func(ctx context.Context) error { return follow(ctx, kept, ns, known, source) }
	for _, run := range []func(context.Context) error{known.Run, plane.Run, look} {
		running.Go(func() { _ = run(ctx) })
	}
	ts.Defer(func() { cancel(); running.Wait() })
}

func nowhere(context.Context, []config.Object, []mesh.Problem) (int64, error) { return 0, nil }

// follow hands the rules of a namespace to a store whenever they differ.
func follow(ctx context.Context, kept *kubeobjects.Objects, namespace string, known *store.Store, source string) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	last := "none"
	for {
		list, err := kept.Objects(ctx, api.Query{Kind: "RouteRule", Namespace: namespace})
		if err != nil {
			return err
		}
		var text strings.Builder
		for _, o := range list {
			text.WriteString(o.Text + "---\n")
		}
		if text.String() != last {
			last = text.String()
			objects, problems := config.Parse("kubernetes", []byte(last), namespace)
			if _, err := known.SetObjects(ctx, source, objects, problems); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
