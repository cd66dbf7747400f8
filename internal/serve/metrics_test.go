package serve_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/serve"
	"github.com/lateen-mesh/lateen/internal/view"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// plane is a control plane that runs for the test.
type plane struct {
	t        *testing.T
	dir      string
	url      string // of health and metrics
	secure   string // HOST:PORT of certificates
	api      *api.Client
	registry mesh.Registry
}

// startPlane starts a control plane with a registry of three callers of one service, reviews.
func startPlane(t *testing.T, edit func(*serve.Config)) *plane {
	t.Helper()
	dir, err := os.MkdirTemp("", "plane") //nolint:usetesting // TempDir holds the test's name, and paths of sockets are short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	secure, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	config := serve.Config{
		StateDir: dir, Admin: listener, Secure: secure, PlainXDS: meshtest.PlainXDS(t, dir), Version: "v1.2.3", Log: slog.New(slog.DiscardHandler),
	}
	if edit != nil {
		edit(&config)
	}
	p, err := serve.New(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() {
		if err := p.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); running.Wait() })
	started := &plane{t: t, dir: dir, url: "http://" + listener.Addr().String(), secure: secure.Addr().String(), api: api.NewClient(filepath.Join(dir, api.SocketName))}
	meshtest.Await(t, "the control plane", func() bool { _, err := started.api.Status(t.Context()); return err == nil })
	return started
}

const reviews = mesh.Host("reviews.default.svc.cluster.local")

// endpoint is one instance of reviews.
func endpoint(address string) *mesh.EndpointSet {
	return &mesh.EndpointSet{Host: reviews, Endpoints: []mesh.Endpoint{{
		Address: address, Ports: map[string]int{"http": 9080}, Health: mesh.Healthy,
	}}}
}

// put hands the registry over and waits until it is in force.
func (p *plane) put() {
	p.t.Helper()
	revision, err := p.api.PutRegistry(p.t.Context(), p.registry)
	if err != nil {
		p.t.Fatal(err)
	}
	progress, err := p.api.Progress(p.t.Context(), revision, meshtest.Patience)
	if err != nil || !progress.Done() {
		p.t.Fatalf("revision %d is not in force: %+v %v", revision, progress, err)
	}
}

// callers connects proxies that call reviews, and waits until they have it.
func (p *plane) callers(n int) {
	p.t.Helper()
	p.registry = mesh.Registry{
		Services: []*mesh.Service{meshtest.NewService("reviews", "http", 9080)}, Endpoints: []*mesh.EndpointSet{endpoint("127.201.0.1")},
	}
	var fakes []*meshtest.FakeProxy
	for i := range n {
		node := mesh.Node{Type: mesh.Sidecar, Address: "127.0.0.1", Name: fmt.Sprintf("caller-%d", i), Namespace: "default", Domain: serve.Domain}
		p.registry.Workloads = append(p.registry.Workloads, &mesh.Workload{
			Name: node.Name, Namespace: node.Namespace, Type: node.Type, Account: "default", Address: node.Address, Outbound: 15001,
			Labels: mesh.Labels{"app": "caller"},
		})
		fakes = append(fakes, meshtest.NewFakeProxy(node, "reviews:9080"))
	}
	p.put()
	for _, f := range fakes {
		p.connect(f)
		if err := f.Await(p.t.Context(), xds.VirtualHostType, view.VirtualHostOf("reviews:9080").Name); err != nil {
			p.t.Fatal(err)
		}
	}
	p.registry.Endpoints = []*mesh.EndpointSet{endpoint("127.201.0.9")} // settles everybody
	p.put()
}

func (p *plane) connect(f *meshtest.FakeProxy) {
	p.t.Helper()
	conn, err := grpc.NewClient("unix:"+serve.XDSSocket(p.dir), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(p.t.Context()))
	var running sync.WaitGroup
	running.Go(func() {
		if err := f.Run(ctx, conn); ctx.Err() == nil {
			p.t.Errorf("proxy %s: %v", f.Node.ID(), err)
		}
	})
	p.t.Cleanup(func() {
		cancel()
		running.Wait()
		_ = conn.Close()
	})
}

// fetch fetches a page of the control plane that is open to everybody.
func (p *plane) fetch(path string) string {
	p.t.Helper()
	request, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, p.url+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		p.t.Fatalf("%s: %s %v\n%s", path, response.Status, err, body)
	}
	return string(body)
}

// values returns the metrics by name and labels, `lateen_acks_total{type="cluster"}`.
func (p *plane) values() map[string]float64 {
	p.t.Helper()
	values := map[string]float64{}
	for line := range strings.Lines(p.fetch("/metrics")) {
		i := strings.LastIndexByte(line, ' ')
		if strings.HasPrefix(line, "#") || i < 0 {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(line[i+1:]), 64)
		if err != nil {
			p.t.Fatalf("%q: %v", line, err)
		}
		values[line[:i]] = n
	}
	return values
}

// One endpoint that changes is one event, one snapshot, one cut and one resource; each of three callers is sent it and
// confirms it, and the time that it took is counted.
func TestMetricsCountTraffic(t *testing.T) {
	t.Parallel()
	p := startPlane(t, nil)
	const callers = 3
	p.callers(callers)
	before := p.values()
	p.registry.Endpoints = []*mesh.EndpointSet{endpoint("127.201.0.2")}
	p.put()
	after := p.values()

	want := map[string]float64{
		`lateen_changes_total{class="registries"}`:             1,
		`lateen_snapshot_parts_total`:                          1,
		`lateen_snapshots_total`:                               1,
		`lateen_snapshot_revision`:                             1,
		`lateen_views_cut_total{type="endpoints"}`:             1,
		`lateen_resources_made_total{type="endpoints"}`:        1,
		`lateen_resources_sent_total{type="endpoints"}`:        callers,
		`lateen_acks_total{type="endpoints"}`:                  callers,
		`lateen_change_to_ack_seconds_count{type="endpoints"}`: callers,
		`lateen_build_duration_seconds_count`:                  1,
		`lateen_marshal_duration_seconds_count`:                1,
	}
	for name, value := range after {
		_, wanted := want[name]
		_, label, _ := strings.Cut(name, "{")
		switch {
		case !strings.HasPrefix(name, "lateen_"), strings.Contains(name, "_sum"), strings.Contains(label, "le="),
			strings.HasPrefix(name, "lateen_resource_bytes"):
		case wanted && value-before[name] != want[name], !wanted && value != before[name]:
			t.Errorf("%s went from %v to %v, want %v more", name, before[name], value, want[name])
		}
	}
	for name, n := range map[string]float64{
		`lateen_proxies{proxy_type="sidecar"}`: callers, `lateen_streams{proxy_type="sidecar"}`: callers,
		`lateen_streams_opened_total{proxy_type="sidecar"}`: callers, `lateen_proxies_pending`: 0, `lateen_ready`: 1,
		`lateen_objects{kind="RouteRule"}`: 0, `lateen_problems{severity="error"}`: 0,
	} {
		if value, ok := after[name]; !ok || value != n {
			t.Errorf("%s is %v, want %v", name, value, n)
		}
	}
	bytes := `lateen_resource_bytes_sent_total{type="endpoints"}`
	if sent := after[bytes] - before[bytes]; sent <= 0 || int(sent)%callers != 0 {
		t.Errorf("%v bytes were sent to %d callers", sent, callers)
	}
}

// Objects and problems are counted by kind and severity.
func TestMetricsCountObjects(t *testing.T) {
	t.Parallel()
	p := startPlane(t, nil)
	p.put()
	if _, err := p.api.Write(t.Context(), api.Write{Op: api.Create, Files: []api.File{{Name: "rule.yaml", Text: `apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata: {name: reviews}
spec: {destination: {name: nowhere}}
`}}}); err != nil {
		t.Fatal(err)
	}
	values := p.values()
	if rules, warnings := values[`lateen_objects{kind="RouteRule"}`], values[`lateen_problems{severity="warning"}`]; rules != 1 || warnings != 1 {
		t.Errorf("%v rules and %v warnings are counted, want one of each", rules, warnings)
	}
	if n := values[`lateen_changes_total{class="objects"}`]; n != 2 {
		t.Errorf("%v changes of objects were handed in, want what was written before and the change", n)
	}
}

// Prometheus's own linter has nothing to say about what a running control plane tells it, and the list of metrics is
// what there is.
func TestMetricsKeepToTheRules(t *testing.T) {
	t.Parallel()
	p := startPlane(t, func(c *serve.Config) { // as one that an API server asks
		c.Shared.Answers = func() map[serve.Answer]uint64 {
			return map[serve.Answer]uint64{{Path: "/mutate", Result: "patched"}: 1}
		}
	})
	p.callers(1)
	text := p.fetch("/metrics")
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		t.Errorf("%s: %s", problem.Metric, problem.Text)
	}
	for _, m := range serve.Metrics() {
		if !strings.Contains(text, "# TYPE "+m.Name+" "+m.Kind+"\n") || !strings.Contains(text, "# HELP "+m.Name+" "+m.Help+"\n") {
			t.Errorf("%s, a %s, is not told", m.Name, m.Kind)
		}
		for _, label := range m.Labels {
			if !strings.Contains(text, label+`="`) {
				t.Errorf("%s has no label %s", m.Name, label)
			}
		}
	}
	if n := strings.Count(text, "# TYPE lateen_"); n != len(serve.Metrics()) {
		t.Errorf("%d metrics are told, and %d are listed", n, len(serve.Metrics()))
	}
	for _, name := range []string{"caller-0", "reviews"} {
		if strings.Contains(text, name) {
			t.Errorf("the name %s stands in the metrics", name)
		}
	}
}
