package push_test

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/xds"
)

const reviews = mesh.Host("reviews.default.svc.cluster.local")

func subset(version string) string {
	var labels mesh.Labels
	if version != "" {
		labels = mesh.Labels{"version": version}
	}
	return mesh.Subset{Host: reviews, Port: 9080, Labels: labels}.String()
}

// toVersion returns an edit that sends all requests for reviews to one version.
func toVersion(version string) func(*mesh.Draft) {
	return func(d *mesh.Draft) {
		d.SetRules(reviews, mesh.NewRuleSet(reviews, []*mesh.RouteRule{{
			Object: mesh.Ref{Kind: "RouteRule", Namespace: "default", Name: "reviews"}, Destination: reviews,
			Routes: []mesh.WeightedRoute{{Host: reviews, Labels: mesh.Labels{"version": version}, Weight: 100}},
		}}))
	}
}

// one is a world with the service reviews and one proxy that calls it.
func one(t *testing.T, config push.Config) (*meshtest.FakeMesh, *meshtest.FakeProxy) {
	t.Helper()
	w := meshtest.NewFakeMesh(t, config)
	workload, fake := caller(0, "reviews:9080")
	w.Edit(func(d *mesh.Draft) {
		d.SetService(reviews, meshtest.NewService("reviews", "http", 9080))
		d.SetEndpoints(reviews, &mesh.EndpointSet{Host: reviews, Endpoints: []mesh.Endpoint{
			{Address: "127.201.0.1", Ports: map[string]int{"http": 9080}, Labels: mesh.Labels{"version": "v1"}, Health: mesh.Healthy},
			{Address: "127.201.0.2", Ports: map[string]int{"http": 9080}, Labels: mesh.Labels{"version": "v2"}, Health: mesh.Healthy},
		}})
		d.SetWorkload(workload.ID(), workload)
	})
	return w, fake
}

func transcript(got []meshtest.Got) []string {
	var lines []string
	for _, g := range got {
		kind := g.Type[strings.LastIndexByte(string(g.Type), '.')+1:]
		line := string(kind) + " " + g.Name
		if g.Version == "" {
			line = "removed " + line
		}
		lines = append(lines, line)
	}
	return lines
}

func wantTranscript(t *testing.T, f *meshtest.FakeProxy, want ...string) {
	t.Helper()
	if got := transcript(f.Got()); !slices.Equal(got, want) {
		t.Errorf("the proxy was sent\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func await(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Cluster, endpoints and their confirmation come before the route; the old cluster goes after the new route is in
// force and a grace is over.
func TestMakeBeforeBreak(t *testing.T) {
	w, f := one(t, push.Config{Grace: 50 * time.Millisecond})
	w.Connect(f)
	await(t, f.Await(t.Context(), xds.VirtualHostType, "out/reviews:9080"))
	wantTranscript(t, f,
		"Cluster inner", "Listener inner", "Listener outbound",
		"RouteConfiguration out",
		"Cluster "+subset(""),
		"VirtualHost out/_init",
		"ClusterLoadAssignment "+subset(""),
		"VirtualHost out/reviews:9080",
	)
	w.Confirmed(w.Edit(toVersion("v2")))
	await(t, f.AwaitGone(t.Context(), xds.ClusterType, subset("")))
	wantTranscript(t, f,
		"Cluster "+subset("v2"),
		"ClusterLoadAssignment "+subset("v2"),
		"VirtualHost out/reviews:9080",
		"removed Cluster "+subset(""),
	)
}

// An Envoy does not ask for endpoints again when a cluster changes: they follow it unasked.
func TestEndpointsFollowTheirCluster(t *testing.T) {
	w, f := one(t, push.Config{})
	w.Connect(f)
	await(t, f.Await(t.Context(), xds.VirtualHostType, "out/reviews:9080"))
	f.Got()
	w.Confirmed(w.Edit(func(d *mesh.Draft) { d.SetService(reviews, meshtest.NewService("reviews", "http2", 9080)) }))
	if got := transcript(f.Got()); len(got) < 2 || got[0] != "Cluster "+subset("") || got[1] != "ClusterLoadAssignment "+subset("") {
		t.Errorf("the proxy was sent %q, want the cluster, then its endpoints", got)
	}
}

// A proxy that comes back with what it has is sent only what changed while it was away, and keeps every cluster.
func TestReconnectSendsWhatChanged(t *testing.T) {
	w, f := one(t, push.Config{})
	disconnect := w.Connect(f)
	await(t, f.Await(t.Context(), xds.VirtualHostType, "out/reviews:9080"))
	disconnect()
	f.Got()

	w.Connect(f)
	w.Confirmed(w.Edit(toVersion("v1")))
	await(t, f.Await(t.Context(), xds.ClusterType, subset("v1")))
	w.Confirmed(w.Edit(toVersion("v1")))
	got := transcript(f.Got())
	if slices.ContainsFunc(got, func(s string) bool {
		return strings.HasPrefix(s, "Listener") || strings.HasPrefix(s, "RouteConfiguration") ||
			strings.HasPrefix(s, "removed") || s == "Cluster "+subset("")
	}) {
		t.Errorf("after it came back the proxy was sent %q: only the new subset and the virtual host changed", got)
	}
}

// A refused cluster stays out, together with the route that would lead to it; what was there before stays in force,
// and everything else goes on.
func TestRefusedResourceIsSetAside(t *testing.T) {
	w, f := one(t, push.Config{})
	f.Refuse = func(typ xds.Type, name string) string {
		if typ == xds.ClusterType && name == subset("v2") {
			return "no such thing here"
		}
		return ""
	}
	w.Connect(f)
	await(t, f.Await(t.Context(), xds.VirtualHostType, "out/reviews:9080"))
	f.Got()
	p := w.Engine.Progress(t.Context(), w.Edit(toVersion("v2")), 30*time.Second)
	if len(p.Refusals) != 1 || p.Refusals[0].Reason != "no such thing here" || p.Confirmed != 0 || len(p.Waiting) != 0 {
		t.Errorf("progress is %+v, want one refusal in the proxy's words and nobody waited for", p)
	}
	// What it refused is removed: it may have kept a part of it.
	var got []string
	meshtest.Await(t, "the removal", func() bool { got = append(got, transcript(f.Got())...); return len(got) > 0 })
	if want := "removed Cluster " + subset("v2"); len(got) != 1 || got[0] != want {
		t.Errorf("after the refusal the proxy was sent %q, want %q", got, want)
	}

	confirmedAfterRefusal(t, w, w.Edit(toVersion("v1")), f)
}

// confirmedAfterRefusal waits until a later change is in force beside the refusal.
func confirmedAfterRefusal(t *testing.T, w *meshtest.FakeMesh, revision int64, f *meshtest.FakeProxy) {
	t.Helper()
	await(t, f.Await(t.Context(), xds.ClusterType, subset("v1")))
	w.Engine.Progress(t.Context(), revision, 30*time.Second)
	if got := transcript(f.Got()); !slices.Contains(got, "VirtualHost out/reviews:9080") {
		t.Errorf("the proxy was sent %q, want the route to v1", got)
	}
}

// When one of several resources in a response is refused, the others arrive: all are sent again one by one.
func TestRefusedAmongGood(t *testing.T) {
	w, f := one(t, push.Config{})
	f.Refuse = func(_ xds.Type, name string) string {
		if name == subset("v2") {
			return "bad"
		}
		return ""
	}
	w.Connect(f)
	await(t, f.Await(t.Context(), xds.VirtualHostType, "out/reviews:9080"))
	w.Edit(func(d *mesh.Draft) {
		d.SetRules(reviews, mesh.NewRuleSet(reviews, []*mesh.RouteRule{{
			Object: mesh.Ref{Kind: "RouteRule", Namespace: "default", Name: "both"}, Destination: reviews,
			Routes: []mesh.WeightedRoute{
				{Host: reviews, Labels: mesh.Labels{"version": "v1"}, Weight: 50},
				{Host: reviews, Labels: mesh.Labels{"version": "v2"}, Weight: 50},
			},
		}}))
	})
	await(t, f.Await(t.Context(), xds.ClusterType, subset("v1")))
	await(t, f.Await(t.Context(), xds.EndpointsType, subset("v1")))
}

// A proxy whose workload is not known yet waits; it never gets an empty configuration.
func TestUnknownWorkloadWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := push.NewEngine(push.Config{Log: slog.New(slog.DiscardHandler)})
		workload, f := caller(0)
		snapshot := mesh.NewSnapshot(meshtest.Domain)
		engine.Apply(snapshot, nil)
		opened := make(chan xds.Client)
		go func() {
			client, err := engine.Open(t.Context(), xds.Peer{Node: &corev3.Node{Id: f.Node.String()}})
			if err != nil {
				t.Error(err)
			}
			opened <- client
		}()
		synctest.Wait()
		select {
		case <-opened:
			t.Fatal("the proxy was let in before its workload was known")
		default:
		}
		draft := snapshot.Edit()
		draft.SetWorkload(workload.ID(), workload)
		engine.Apply(draft.Done())
		(<-opened).Close()
	})
}

// What a proxy refuses is told of every change that asks for it again, and of no other.
func TestRefusalsAreState(t *testing.T) {
	w, f := one(t, push.Config{})
	f.Refuse = func(typ xds.Type, name string) string {
		if typ == xds.ClusterType && name == subset("v2") {
			return "no such thing here"
		}
		return ""
	}
	w.Connect(f)
	await(t, f.Await(t.Context(), xds.VirtualHostType, "out/reviews:9080"))
	refused := func(revision int64) int {
		p := w.Engine.Progress(t.Context(), revision, meshtest.Patience)
		if len(p.Waiting) != 0 || p.Confirmed+min(1, len(p.Refusals)) != 1 {
			t.Errorf("progress is %+v", p)
		}
		return len(p.Refusals)
	}
	for i, step := range []struct {
		version string
		want    int
	}{{"v1", 0}, {"v2", 1}, {"v1", 0}, {"v2", 1}, {"v1", 0}} {
		if got := refused(w.Edit(toVersion(step.version))); got != step.want {
			t.Errorf("step %d, to %s: %d refusals, want %d", i, step.version, got, step.want)
		}
	}
}

// An unknown name gets an answer, and another one as soon as the service is there.
func TestUnknownHostIsAnswered(t *testing.T) {
	w, f := one(t, push.Config{})
	w.Connect(f)
	await(t, f.Ask("later:9080"))
	await(t, f.Await(t.Context(), xds.VirtualHostType, "out/later:9080"))
	f.Got()
	later := meshtest.NewService("later", "http", 9080)
	if n := w.Confirmed(w.Edit(func(d *mesh.Draft) { d.SetService(later.Host, later) })); n != 1 {
		t.Errorf("the new service concerns %d proxies, want 1", n)
	}
	await(t, f.Await(t.Context(), xds.ClusterType, mesh.Subset{Host: later.Host, Port: 9080}.String()))
}

// While a proxy that runs has lost its stream nobody knows whether a change concerns it: it is waited for, until it is
// back and has the change.
func TestTheAbsentAreWaitedFor(t *testing.T) {
	w, f := one(t, push.Config{})
	running := *w.Snapshot.Workload(f.Node.ID())
	running.Running = true
	w.Edit(func(d *mesh.Draft) { d.SetWorkload(running.ID(), &running) })
	disconnect := w.Connect(f)
	await(t, f.Await(t.Context(), xds.VirtualHostType, "out/reviews:9080"))
	disconnect()
	meshtest.Await(t, "the end of the stream", func() bool { return len(w.Engine.Connected()) == 0 })

	revision := w.Edit(toVersion("v2"))
	if p := w.Engine.Progress(t.Context(), revision, 50*time.Millisecond); !slices.Equal(p.Waiting, []mesh.ProxyID{running.ID()}) {
		t.Errorf("while the proxy is away %v are waited for, want it", p.Waiting)
	}
	w.Connect(f)
	w.Confirmed(revision)
	if !slices.Contains(f.Held(xds.ClusterType), subset("v2")) {
		t.Error("the change is said to be in force, and the proxy does not have it")
	}
	if p := w.Engine.Progress(t.Context(), revision, 0); len(p.Waiting) != 0 {
		t.Errorf("the proxy is back, and still waited for: %v", p.Waiting)
	}

	// A revision that is not there yet is not reached.
	if p := w.Engine.Progress(t.Context(), revision+1, 20*time.Millisecond); p.Reached {
		t.Error("a revision to come is said to be reached")
	}
}
