package push_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// world is an engine behind a real xDS server, with a snapshot that the test edits.
type world struct {
	t        *testing.T
	engine   *push.Engine
	snapshot *mesh.Snapshot
	listener *bufconn.Listener
}

func newWorld(t *testing.T, config push.Config) *world {
	t.Helper()
	config.Log = slog.New(slog.DiscardHandler)
	w := &world{
		t: t, engine: push.NewEngine(config), snapshot: mesh.NewSnapshot(meshtest.Domain), listener: bufconn.Listen(1 << 20),
	}
	stop := make(chan struct{})
	server := xds.NewServer(w.engine.Open, stop)
	var running sync.WaitGroup
	running.Go(func() {
		if err := server.Serve(w.listener); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(func() {
		close(stop)
		server.Stop()
		running.Wait()
	})
	return w
}

// edit makes the next snapshot the current one and returns its revision.
func (w *world) edit(change func(*mesh.Draft)) int64 {
	draft := w.snapshot.Edit()
	change(draft)
	var keys []mesh.Key
	w.snapshot, keys = draft.Done()
	w.engine.Apply(w.snapshot, keys)
	return w.snapshot.Revision()
}

// confirmed waits until a revision is in force everywhere and returns how many proxies it concerned.
func (w *world) confirmed(revision int64) int {
	w.t.Helper()
	p := w.engine.Progress(w.t.Context(), revision, 30*time.Second)
	if p.Confirmed != p.Concerned {
		w.t.Fatalf("revision %d is in force in %d of %d proxies; waiting for %v, refused %v",
			revision, p.Confirmed, p.Concerned, p.Waiting, p.Refusals)
	}
	return p.Concerned
}

// connect runs a fake proxy until the test ends, or the returned function is called.
func (w *world) connect(f *meshtest.FakeProxy) (disconnect func()) {
	w.t.Helper()
	conn, err := grpc.NewClient("passthrough:///lateen",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return w.listener.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := f.Run(ctx, conn); ctx.Err() == nil {
			w.t.Errorf("proxy %s: %v", f.Node.ID(), err)
		}
	})
	disconnect = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		if err := conn.Close(); err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(disconnect)
	return disconnect
}

// caller returns the workload number i and its proxy, which calls the hosts.
func caller(i int, hosts ...string) (*mesh.Workload, *meshtest.FakeProxy) {
	name := fmt.Sprintf("caller-%03d", i)
	w := &mesh.Workload{
		Name: name, Namespace: meshtest.Namespace, Type: mesh.Sidecar, Account: "default",
		Labels: mesh.Labels{"app": "caller", "number": fmt.Sprint(i)}, Address: "127.0.0.1", Outbound: 15001,
	}
	return w, meshtest.NewFakeProxy(mesh.Node{
		Type: mesh.Sidecar, Address: w.Address, Name: name, Namespace: w.Namespace, Domain: meshtest.Domain,
	}, hosts...)
}

const (
	services = 300
	proxies  = 100
	// Proxy i calls the services i, i+1 and i+2: each of the services 2 to 99 is called by three proxies.
	calls = 3
)

func hostNumber(i int) mesh.Host { return meshtest.HostOf(fmt.Sprintf("svc-%03d", i)) }

// callers fills the world with services and with connected proxies that have everything they asked for.
func (w *world) callers() []*meshtest.FakeProxy {
	w.t.Helper()
	registry := meshtest.Bulk(services)
	var fakes []*meshtest.FakeProxy
	for i := range proxies {
		var hosts []string
		for j := range calls {
			hosts = append(hosts, fmt.Sprintf("svc-%03d:9080", i+j))
		}
		workload, fake := caller(i, hosts...)
		registry.Workloads = append(registry.Workloads, workload)
		fakes = append(fakes, fake)
	}
	w.edit(func(d *mesh.Draft) { meshtest.Put(d, registry) })
	for i, f := range fakes {
		w.connect(f)
		for j := range calls {
			if err := f.Await(w.t.Context(), xds.VirtualHostType, fmt.Sprintf("out/svc-%03d:9080", i+j)); err != nil {
				w.t.Fatal(err)
			}
		}
		f.Got()
	}
	return fakes
}

// A changed rule re-cuts the views that read it, and only their subscribers are sent anything.
func TestOneRuleCostsWhatReadsIt(t *testing.T) {
	w := newWorld(t, push.Config{})
	fakes := w.callers()
	host := hostNumber(42) // called by the proxies 40, 41 and 42
	rule := func(version string) func(*mesh.Draft) {
		return func(d *mesh.Draft) {
			d.SetRules(host, mesh.NewRuleSet(host, []*mesh.RouteRule{{
				Object: mesh.Ref{Kind: "RouteRule", Namespace: "default", Name: "one"}, Destination: host,
				Routes: []mesh.WeightedRoute{{Host: host, Labels: mesh.Labels{"version": version}, Weight: 100}},
			}}))
		}
	}
	w.confirmed(w.edit(rule("v1"))) // was absent: absences lead to their readers too
	for _, f := range fakes {
		f.Got()
	}
	before := work(w)

	if concerned := w.confirmed(w.edit(rule("v2"))); concerned != calls {
		t.Errorf("the change concerns %d proxies, want %d", concerned, calls)
	}

	// One view of the virtual host for each of the three callers, whose labels differ; one cluster and its endpoints
	// for the new subset, cut once for all of them.
	const cuts = calls + 2
	if got := work(w).cuts - before.cuts; got != cuts {
		t.Errorf("%d views were cut, want %d", got, cuts)
	}
	// Each caller is sent the cluster, its endpoints and the virtual host.
	if got := work(w).sends - before.sends; got != 3*calls {
		t.Errorf("%d resources were sent, want %d", got, 3*calls)
	}
	for i, f := range fakes {
		var names []string
		for _, g := range f.Got() {
			names = append(names, g.Name)
		}
		subset := mesh.Subset{Host: host, Port: 9080, Labels: mesh.Labels{"version": "v2"}}.String()
		var want []string
		if i >= 40 && i <= 42 {
			want = []string{subset, subset, "out/svc-042:9080"}
		}
		if !slices.Equal(names, want) {
			t.Errorf("proxy %d was sent %q, want %q", i, names, want)
		}
	}
}

// A changed endpoint re-cuts its cluster's endpoints once, and is sent to those who have that cluster.
func TestOneEndpointCostsItsCluster(t *testing.T) {
	w := newWorld(t, push.Config{})
	fakes := w.callers()
	host := hostNumber(7)
	before := work(w)

	concerned := w.confirmed(w.edit(func(d *mesh.Draft) {
		d.SetEndpoints(host, &mesh.EndpointSet{Host: host, Endpoints: []mesh.Endpoint{{
			Address: "127.201.0.1", Ports: map[string]int{"http": 9080}, Health: mesh.Healthy,
		}}})
	}))

	after := work(w)
	if cuts := after.cuts - before.cuts; cuts != 1 {
		t.Errorf("%d views were cut, want 1", cuts)
	}
	if made := after.makes - before.makes; made != 1 {
		t.Errorf("%d resources were made, want 1", made)
	}
	if sends := after.sends - before.sends; sends != calls || concerned != calls {
		t.Errorf("%d resources were sent to %d proxies, want %d to as many", sends, concerned, calls)
	}
	for i, f := range fakes {
		got := f.Got()
		if i >= 5 && i <= 7 {
			if len(got) != 1 || got[0].Type != xds.EndpointsType {
				t.Errorf("proxy %d was sent %v, want the endpoints alone", i, got)
			}
		} else if len(got) != 0 {
			t.Errorf("proxy %d was sent %v, want nothing", i, got)
		}
	}
}

// A change that no proxy's configuration reads costs nothing at all.
func TestUnusedChangeCostsNothing(t *testing.T) {
	w := newWorld(t, push.Config{})
	w.callers()
	before := work(w)
	unused := hostNumber(250)
	if n := w.confirmed(w.edit(func(d *mesh.Draft) { d.SetEndpoints(unused, nil) })); n != 0 {
		t.Errorf("the change concerns %d proxies, want none", n)
	}
	if after := work(w); after != before {
		t.Errorf("work went from %+v to %+v", before, after)
	}
}

// A rule that only moves to another line is cut anew, and nobody is sent anything: equal bytes, equal version.
func TestSameBytesAreNotSent(t *testing.T) {
	w := newWorld(t, push.Config{})
	w.callers()
	host := hostNumber(3)
	at := func(line int) func(*mesh.Draft) {
		return func(d *mesh.Draft) {
			d.SetRules(host, mesh.NewRuleSet(host, []*mesh.RouteRule{{
				Object: mesh.Ref{Kind: "RouteRule", Namespace: "default", Name: "one"}, Destination: host,
				Origin: mesh.Position{File: "rules.yaml", Line: line},
			}}))
		}
	}
	w.confirmed(w.edit(at(1)))
	before := work(w)
	if n := w.confirmed(w.edit(at(9))); n != 0 {
		t.Errorf("the change concerns %d proxies, want none", n)
	}
	after := work(w)
	if after.cuts-before.cuts != calls || after.sends != before.sends {
		t.Errorf("work went from %+v to %+v: want %d cuts and nothing sent", before, after, calls)
	}
}

// counted is the state of an engine's counters.
type counted struct{ cuts, makes, sends int64 }

func work(w *world) counted {
	c := w.engine.Counters()
	return counted{c.Cuts.Load(), c.Makes.Load(), c.Sends.Load()}
}
