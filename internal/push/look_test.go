package push_test

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/view"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// looked returns the one proxy that is connected.
func looked(t *testing.T, e *push.Engine) push.Connected {
	t.Helper()
	list := e.Look(t.Context())
	if len(list) != 1 {
		t.Fatalf("%d proxies are connected, want 1", len(list))
	}
	return list[0]
}

// A proxy that is idle is in sync with the newest revision, also when that does not concern it; one that refuses
// something says so with time and words, and remembers it when it is mended.
func TestLook(t *testing.T) {
	t.Parallel()
	w, f := one(t, push.Config{Grace: 20 * time.Millisecond})
	f.Refuse = func(typ xds.Type, name string) string {
		if typ == xds.ClusterType && name == subset("v2") {
			return "no such thing here"
		}
		return ""
	}
	before := time.Now()
	w.Connect(f)
	await(t, f.Await(t.Context(), xds.VirtualHostType, "out/reviews:9080"))
	unconcerned := w.Edit(func(d *mesh.Draft) { d.SetService("x.default.svc.cluster.local", meshtest.NewService("x", "http", 1)) })
	meshtest.Await(t, "the proxy to be in sync", func() bool { return !looked(t, w.Engine).Busy })
	c := looked(t, w.Engine)
	if c.Settled != unconcerned || c.Behind != 0 || c.Silent || c.Last != nil || c.Since.Before(before) || c.Since.After(time.Now()) {
		t.Errorf("%+v", c)
	}
	if want := map[view.Kind]int{"cluster": 2, "endpoints": 1, "listener": 2, "routes": 1, "virtual-host": 2}; fmt.Sprint(c.Holds) != fmt.Sprint(want) {
		t.Errorf("it holds %v, want %v", c.Holds, want)
	}

	w.Engine.Progress(t.Context(), w.Edit(toVersion("v2")), meshtest.Patience)
	c = looked(t, w.Engine)
	if len(c.Refusals) != 1 || c.Refusals[0].Reason != "no such thing here" || c.Refusals[0].At.Before(c.Since) {
		t.Errorf("refusals %+v", c.Refusals)
	}
	w.Engine.Progress(t.Context(), w.Edit(toVersion("v1")), meshtest.Patience)
	meshtest.Await(t, "the refused cluster to be needed by nobody", func() bool { return len(looked(t, w.Engine).Refusals) == 0 })
	if c = looked(t, w.Engine); c.Last == nil || c.Last.Resource != (view.ID{Kind: view.KindCluster, Name: subset("v2")}) {
		t.Errorf("after it is mended the last refusal is %v", c.Last)
	}
}

// Proxies whose facts are the same form a scope.
func TestScope(t *testing.T) {
	t.Parallel()
	w := meshtest.NewFakeMesh(t, push.Config{})
	var scopes []string
	for i, number := range []string{"0", "0", "1"} {
		workload, f := caller(i)
		workload.Labels = mesh.Labels{"app": "caller", "number": number}
		workload.Address = fmt.Sprintf("127.0.0.%d", i+1)
		w.Edit(func(d *mesh.Draft) { d.SetWorkload(workload.ID(), workload) })
		newConversation(t, w, f)
	}
	for _, c := range w.Engine.Connected() {
		scopes = append(scopes, c.Scope)
	}
	if len(scopes) != 3 || scopes[0] != scopes[1] || scopes[0] == scopes[2] || len(scopes[0]) != 8 {
		t.Errorf("scopes %q, want the first two to be one", scopes)
	}
}

// open returns an engine with a workload and the client of its proxy, whose stream is the test.
func open(t *testing.T) (*push.Engine, xds.Client) {
	t.Helper()
	engine := push.NewEngine(push.Config{Log: slog.New(slog.DiscardHandler)})
	workload, f := caller(0)
	draft := mesh.NewSnapshot(meshtest.Domain).Edit()
	draft.SetWorkload(workload.ID(), workload)
	engine.Apply(draft.Done())
	client, err := engine.Open(t.Context(), xds.Peer{Node: &corev3.Node{Id: f.Node.String()}})
	await(t, err)
	return engine, client
}

// A stream answers what its proxy has not confirmed. One that does not answer is said to be silent, and delays nobody
// for longer than a second, whoever asks.
func TestSilentProxyIsToldAsSuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, client := open(t)
		for range 10 {
			start := time.Now()
			if c := looked(t, engine); !c.Silent || c.Behind != 0 || time.Since(start) > time.Second {
				t.Errorf("after %v: %+v", time.Since(start), c)
			}
		}
		if _, err := engine.Sent(t.Context(), "caller-000.default"); !errors.Is(err, push.ErrSilent) {
			t.Errorf("what was sent to a silent proxy: %v", err)
		}

		session := xds.NewSession()
		event, err := session.Receive(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(xds.ClusterType)})
		await(t, err)
		client.Handle(session, event)
		client.Next(session) // answers those that waited, who are gone
		ended := make(chan struct{})
		defer close(ended)
		go func() {
			for {
				select {
				case <-client.Wake():
					client.Next(session)
				case <-ended:
					return
				}
			}
		}()
		c := looked(t, engine)
		want := []push.Pending{{Resource: view.ID{Kind: view.KindCluster, Name: "inner"}, Sent: true}}
		if c.Silent || c.Behind != 1 || !slices.Equal(c.Pending, want) {
			t.Errorf("pending is %+v, want %+v", c, want)
		}
		sent, err := engine.Sent(t.Context(), "caller-000.default")
		if err != nil || len(sent) != 1 || sent[0].Sent != sent[0].Wanted || sent[0].Confirmed != "" {
			t.Errorf("sent is %+v, %v", sent, err)
		}
	})
}

// What was sent is told with all its versions and without keys; a proxy that is away has nothing to tell.
func TestSent(t *testing.T) {
	t.Parallel()
	w, f := one(t, push.Config{})
	f.Refuse = func(_ xds.Type, name string) string {
		if name == subset("v2") {
			return "bad"
		}
		return ""
	}
	disconnect := w.Connect(f)
	await(t, f.Await(t.Context(), xds.VirtualHostType, "out/reviews:9080"))
	w.Engine.Progress(t.Context(), w.Edit(toVersion("v2")), meshtest.Patience)
	sent, err := w.Engine.Sent(t.Context(), f.Node.ID())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for i := range sent {
		s := &sent[i]
		names = append(names, s.Resource.String())
		text, err := s.Text()
		if err != nil || !strings.Contains(text, `"`+s.Resource.Name+`"`) {
			t.Errorf("%s: %v %s", s.Resource, err, text)
		}
		switch s.Resource {
		case view.ID{Kind: view.KindCluster, Name: subset("v2")}:
			if s.Reason != "bad" || s.Wanted == "" || s.Confirmed != "" {
				t.Errorf("the refused one: %+v", s)
			}
		case view.VirtualHostOf("reviews:9080"):
			if s.Sent != s.Confirmed || s.Sent == s.Wanted {
				t.Errorf("the one that waits for it: %+v", s)
			}
		default:
			if s.Sent != s.Wanted || s.Confirmed != s.Wanted || s.Wanted == "" || s.Reason != "" {
				t.Errorf("%+v", s)
			}
		}
	}
	if !slices.IsSorted(names) || len(names) != 9 {
		t.Errorf("it holds %d resources: %q", len(names), names)
	}
	disconnect()
	meshtest.Await(t, "the end of the stream", func() bool { return len(w.Engine.Connected()) == 0 })
	if _, err := w.Engine.Sent(t.Context(), f.Node.ID()); err == nil {
		t.Error("a proxy that is away tells what it was sent")
	}
}

// A proxy that runs is missed when its stream has ended, until it is back.
func TestAbsent(t *testing.T) {
	t.Parallel()
	w, f := one(t, push.Config{})
	running := *w.Snapshot.Workload(f.Node.ID())
	running.Running = true
	w.Edit(func(d *mesh.Draft) { d.SetWorkload(running.ID(), &running) })
	if a := w.Engine.Absent(); len(a) != 1 || a[0].ID != running.ID() || a[0].Type != mesh.Sidecar || a[0].Since.IsZero() {
		t.Errorf("absent are %+v", a)
	}
	c := newConversation(t, w, f)
	if a := w.Engine.Absent(); len(a) != 0 {
		t.Errorf("while it takes its configuration it is said to be absent: %+v", a)
	}
	c.client.Close()
	if a := w.Engine.Absent(); len(a) != 1 {
		t.Errorf("absent are %+v", a)
	}
}

// A name means one proxy, in each of its spellings, or the error names those that it means, or that there are.
func TestResolve(t *testing.T) {
	t.Parallel()
	w := meshtest.NewFakeMesh(t, push.Config{})
	w.Edit(func(d *mesh.Draft) {
		for _, name := range []string{"reviews-v1-0.default", "reviews-v1-1.default", "reviews-v2-0.default", "details-v1-0.default", "details-v1-0.shop", "ingress.default"} {
			instance, namespace, _ := strings.Cut(name, ".")
			workload := &mesh.Workload{Name: instance, Namespace: namespace, Type: mesh.Sidecar}
			if service, _, ok := strings.Cut(instance, "-"); ok {
				workload.Serves = []mesh.Serving{{Host: mesh.ServiceHost(service, namespace, meshtest.Domain), Port: 80}}
			}
			d.SetWorkload(workload.ID(), workload)
		}
	})
	for name, want := range map[string]string{
		"reviews-v1-0.default":     "reviews-v1-0.default",
		"reviews-v1-1":             "reviews-v1-1.default",
		"pod/reviews-v2-0":         "reviews-v2-0.default",
		"pod/details-v1-0.shop":    "details-v1-0.shop",
		"deploy/reviews-v2":        "reviews-v2-0.default",
		"deploy/ingress":           "ingress.default",
		"deploy/details-v1.shop":   "details-v1-0.shop",
		"svc/details.shop":         "details-v1-0.shop",
		"ingress":                  "ingress.default",
		"details-v1-0":             "means 2 proxies [details-v1-0.default details-v1-0.shop] []",
		"deploy/reviews-v1":        "means 2 proxies [reviews-v1-0.default reviews-v1-1.default] []",
		"svc/reviews":              "means 3 proxies [reviews-v1-0.default reviews-v1-1.default reviews-v2-0.default] []",
		"reviews":                  "no proxy reviews [] [details-v1-0.default details-v1-0.shop ingress.default ",
		"deploy/reviews-v1-0":      "no proxy deploy/reviews-v1-0 [] [details",
		"svc/reviews.shop":         "no proxy svc/reviews.shop [] [details",
		"node/x":                   "write NAME, NAME.NAMESPACE, deploy/NAME, svc/NAME or pod/NAME",
		"":                         "no proxy ",
		"details-v1-0.default.svc": "no proxy",
	} {
		got, err := w.Engine.Resolve(name)
		if err != nil {
			told := err.Error()
			if wrong, ok := errors.AsType[*push.NotOne](err); ok {
				told = fmt.Sprint(told, " ", wrong.Means, " ", wrong.Known)
			}
			if !strings.Contains(told, want) {
				t.Errorf("%q: %s, want %s", name, told, want)
			}
			continue
		}
		if string(got) != want {
			t.Errorf("%q means %s, want %s", name, got, want)
		}
	}
}

// Who watches is told of what changes: at once what has changed since the cursor, else as soon as it does.
func TestChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, client := open(t)
		first := engine.Changed(t.Context(), "", time.Hour)
		if again := engine.Changed(t.Context(), "another-1", time.Hour); again != first {
			t.Errorf("nothing happened, and %s became %s", first, again)
		}
		start := time.Now()
		if same := engine.Changed(t.Context(), first, time.Minute); same != first || time.Since(start) != time.Minute {
			t.Errorf("nothing happened, and after %v %s became %s", time.Since(start), first, same)
		}
		told := make(chan string)
		go func() { told <- engine.Changed(t.Context(), first, time.Hour) }()
		synctest.Wait()
		client.Close()
		if next := <-told; next == first {
			t.Error("the proxy went, and nobody was told")
		}
	})
}

func travels(w *meshtest.FakeMesh, after int64) []push.Travel {
	list, _ := w.Engine.Travels(after)
	return list
}

// A change is counted on its way: who confirmed it, who refused it, who is waited for.
func TestTravels(t *testing.T) {
	t.Parallel()
	w, f := one(t, push.Config{})
	f.Refuse = func(_ xds.Type, name string) string {
		if name == subset("v2") {
			return "bad"
		}
		return ""
	}
	w.Connect(f)
	await(t, f.Await(t.Context(), xds.VirtualHostType, "out/reviews:9080"))
	first := w.Edit(toVersion("v1"))
	w.Confirmed(first)
	silent, g := caller(1)
	w.Edit(func(d *mesh.Draft) { d.SetWorkload(silent.ID(), silent) })
	c := newConversation(t, w, g)
	c.say(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(xds.ClusterType)})
	c.say(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(xds.VirtualHostType), ResourceNamesSubscribe: []string{"out/reviews:9080"}})

	second := w.Edit(toVersion("v2"))
	meshtest.Await(t, "the refusal", func() bool { return travels(w, second-1)[0].Refused == 1 })
	want := []push.Travel{{Revision: first, Concerned: 1, Confirmed: 1}, {Revision: second, Concerned: 2, Refused: 1}}
	if got := travels(w, first-1); !slices.Equal(got, want) || got[1].Waiting() != 1 {
		t.Errorf("travels %+v, want %+v", got, want)
	}
	if got := travels(w, -1); !slices.Equal(got, want[1:]) {
		t.Errorf("waited for are %+v, want the second", got)
	}
}

// How long a proxy has left something unanswered is told, of the oldest: what it answers meanwhile does not matter.
func TestWhoDoesNotAnswerIsTold(t *testing.T) {
	t.Parallel()
	w, f := one(t, push.Config{})
	waits := func() time.Time { return w.Engine.Connected()[0].Waits }
	c := settled(t, w, f)
	if at := waits(); !at.IsZero() {
		t.Errorf("it has answered everything, and waits since %v", at)
	}
	begun := time.Now()
	w.Edit(func(d *mesh.Draft) {
		d.SetEndpoints(reviews, &mesh.EndpointSet{Host: reviews})
		d.SetRules(reviews, mesh.NewRuleSet(reviews, []*mesh.RouteRule{{
			Object: mesh.Ref{Kind: "RouteRule", Namespace: "default", Name: "slow"}, Destination: reviews, Precedence: 1,
		}}))
	})
	sent := c.next()
	if len(sent) < 2 {
		t.Fatalf("sent are %v, want endpoints and routes", sent)
	}
	first := waits()
	if first.Before(begun) {
		t.Errorf("something is unanswered since %v, want after %v", first, begun)
	}
	c.answer(sent[1:])
	if again := waits(); !again.Equal(first) {
		t.Errorf("it has not answered the oldest, and waits since %v, then since %v", first, again)
	}
	c.answer(sent[:1])
	if at := waits(); !at.IsZero() {
		t.Errorf("it has answered everything, and waits since %v", at)
	}
}
