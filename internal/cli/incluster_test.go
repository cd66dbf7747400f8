package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rogpeppe/go-internal/testscript"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/apimachinery/pkg/util/httpstream/spdy"
	"k8s.io/client-go/tools/portforward"

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
	kubelet := startKubelet(t.Context(), ts, server, listener.Addr().String())
	address, port, err := net.SplitHostPort(kubelet)
	ts.Check(err)
	ns := ts.Getenv("ns")
	server.Kubectl(t, fmt.Sprintf(`{apiVersion: v1, kind: Node, metadata: {name: node-%[1]s}}
---
apiVersion: v1
kind: Pod
metadata: {name: lateen-0, namespace: %[1]s, labels: {app.kubernetes.io/name: lateen}}
spec: {serviceAccountName: lateen, nodeName: node-%[1]s, containers: [{name: lateen, image: lateen}]}
`, ns), "create", "-f", "-")
	server.Kubectl(t, "", "patch", "node", "node-"+ns, "--subresource=status", "--type=merge", "-p",
		fmt.Sprintf(`{"status": {"addresses": [{"type": "InternalIP", "address": %q}], "daemonEndpoints": {"kubeletEndpoint": {"Port": %s}}}}`, address, port))
	server.Kubectl(t, "", "patch", "pod", "lateen-0", "-n", ns, "--subresource=status", "--type=merge", "-p", `{"status": {"phase": "Running"}}`)

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

// startKubelet starts what the API server takes for a kubelet, whose pods all listen at an address, and returns where it is.
func startKubelet(ctx context.Context, ts *testscript.TestScript, server *kubetest.Server, target string) string {
	at, err := url.Parse(server.URL)
	ts.Check(err)
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(at.Hostname(), "0"))
	ts.Check(err)
	pki := filepath.Dir(server.CA) // the certificate of the API server is one of its address
	pair, err := tls.LoadX509KeyPair(filepath.Join(pki, "apiserver.crt"), filepath.Join(pki, "apiserver.key"))
	ts.Check(err)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { forward(w, r, target) }))
	s.Listener.Close()
	s.Listener = tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})
	s.Start()
	ts.Defer(s.Close)
	return listener.Addr().String()
}

// forward hands on a connection as a kubelet does: pairs of streams in one connection, one of them for what goes wrong. A
// port that is not the API's is closed.
func forward(w http.ResponseWriter, r *http.Request, target string) {
	if !strings.HasPrefix(r.URL.Path, "/portForward/") {
		http.NotFound(w, r)
		return
	}
	if _, err := httpstream.Handshake(r, w, []string{portforward.PortForwardProtocolV1Name}); err != nil {
		return
	}
	streams := make(chan httpstream.Stream, 2)
	connection := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(s httpstream.Stream, _ <-chan struct{}) error {
		streams <- s
		return nil
	})
	if connection == nil {
		return
	}
	defer func() { _ = connection.Close() }()
	var data, wrong httpstream.Stream
	for range 2 {
		select {
		case s := <-streams:
			if s.Headers().Get(corev1.StreamType) == corev1.StreamTypeError {
				wrong = s
			} else {
				data = s
			}
		case <-connection.CloseChan():
			return
		}
	}
	if err := join(r.Context(), data, target, data.Headers().Get(corev1.PortHeader)); err != nil {
		fmt.Fprint(wrong, err)
	}
	_ = wrong.Close()
	<-connection.CloseChan()
}

// join copies between a stream and the target until one of them ends.
func join(ctx context.Context, data httpstream.Stream, target, port string) error {
	if port != fmt.Sprint(mesh.APIPort) {
		return fmt.Errorf("nobody listens on port %s", port)
	}
	c, err := new(net.Dialer).DialContext(ctx, "tcp", target)
	if err != nil {
		return err
	}
	defer c.Close()
	ended := make(chan error, 2)
	go func() { _, err := io.Copy(c, data); ended <- err }()
	go func() { _, err := io.Copy(data, c); ended <- err }()
	if err := <-ended; err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return data.Close()
}
