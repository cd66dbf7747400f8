package push_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/view"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// traffic is what was sent of one kind, and what came back.
type traffic struct {
	cuts, hits, makes, sends, acks, nacks int64
	travels                               uint64
}

func trafficOf(w *meshtest.FakeMesh, kind view.Kind) traffic {
	c := w.Engine.Counters()
	word := string(kind)
	travels, _, _ := c.Travels[kind].Read()
	return traffic{
		c.Cuts.Of(word), c.Hits.Of(word), c.Makes.Of(word), c.Sends.Of(word), c.Acks.Of(word), c.Nacks.Of(word), travels,
	}
}

func (t traffic) since(before traffic) traffic {
	return traffic{
		t.cuts - before.cuts, t.hits - before.hits, t.makes - before.makes, t.sends - before.sends, t.acks - before.acks,
		t.nacks - before.nacks, t.travels - before.travels,
	}
}

// A change is counted where it passes: one endpoint costs one cut and one resource, which is sent to each caller,
// confirmed by each, and timed for each.
func TestOneEndpointIsCounted(t *testing.T) {
	t.Parallel()
	w := meshtest.NewFakeMesh(t, push.Config{})
	callers(t, w)
	if n := trafficOf(w, view.KindEndpoints).travels; n != 0 {
		t.Errorf("%d changes of endpoints have arrived before there was one: what is asked for is no change", n)
	}
	before, bytes := trafficOf(w, view.KindEndpoints), w.Engine.Counters().Bytes.Of(string(view.KindEndpoints))
	w.Confirmed(w.Edit(func(d *mesh.Draft) {
		d.SetEndpoints(hostNumber(7), &mesh.EndpointSet{Host: hostNumber(7), Endpoints: []mesh.Endpoint{{
			Address: "127.201.0.1", Ports: map[string]int{"http": 9080}, Health: mesh.Healthy,
		}}})
	}))
	if got, want := trafficOf(w, view.KindEndpoints).since(before), (traffic{
		cuts: 1, makes: 1, sends: calls, acks: calls, travels: calls,
	}); got != want {
		t.Errorf("the change counts as %+v, want %+v", got, want)
	}
	if sent := w.Engine.Counters().Bytes.Of(string(view.KindEndpoints)) - bytes; sent == 0 || sent%calls != 0 {
		t.Errorf("%d bytes were sent to %d callers, want as many to each", sent, calls)
	}
}

// Endpoints that follow their cluster unasked are the same as before: they are sent, and are no change that arrived.
func TestWhatIsSentAgainIsNoChange(t *testing.T) {
	t.Parallel()
	w, f := one(t, push.Config{})
	w.Connect(f)
	await(t, f.Await(t.Context(), xds.VirtualHostType, "out/reviews:9080"))
	cluster, endpoints := trafficOf(w, view.KindCluster), trafficOf(w, view.KindEndpoints)
	w.Confirmed(w.Edit(func(d *mesh.Draft) {
		service := meshtest.NewService("reviews", "http", 9080)
		service.Ports[0].Protocol = mesh.ProtocolOf("http2")
		d.SetService(reviews, service)
	}))
	if got := trafficOf(w, view.KindCluster).since(cluster); got.sends != 1 || got.travels != 1 {
		t.Errorf("the cluster counts as %+v, want one that was sent and arrived", got)
	}
	if got := trafficOf(w, view.KindEndpoints).since(endpoints); got.sends != 1 || got.acks != 1 || got.travels != 0 {
		t.Errorf("the endpoints count as %+v, want one sent, one confirmed and no change", got)
	}
}

// Of two changes that are refused together, the one that is good arrives when it is sent alone.
func TestRefusalsAreCounted(t *testing.T) {
	t.Parallel()
	w, f := one(t, push.Config{})
	var refusals atomic.Int64 // that are left: of both together, and of the one alone
	f.Refuse = func(typ xds.Type, name string) string {
		if typ == xds.ClusterType && name == subset("") && refusals.Add(-1) >= 0 {
			return "no such thing here"
		}
		return ""
	}
	other := meshtest.HostOf("other")
	w.Edit(func(d *mesh.Draft) { d.SetService(other, meshtest.NewService("other", "http", 9080)) })
	w.Connect(f)
	await(t, f.Await(t.Context(), xds.VirtualHostType, "out/reviews:9080"))
	await(t, f.Ask("other:9080"))
	await(t, f.Await(t.Context(), xds.VirtualHostType, "out/other:9080"))
	w.Confirmed(w.Edit(func(d *mesh.Draft) { d.SetEndpoints(other, &mesh.EndpointSet{Host: other}) })) // nothing is in flight
	before := trafficOf(w, view.KindCluster)
	refusals.Store(2)
	revision := w.Edit(func(d *mesh.Draft) {
		d.SetService(reviews, meshtest.NewService("reviews", "http2", 9080))
		d.SetService(other, meshtest.NewService("other", "http2", 9080))
	})
	p := w.Engine.Progress(t.Context(), revision, meshtest.Patience)
	if len(p.Refusals) != 1 {
		t.Fatalf("the proxy refuses %v, want one cluster", p.Refusals)
	}
	// Both together, then each alone, and the one that is refused once more as it was before, which is no change.
	meshtest.Await(t, "the confirmation of what was before", func() bool { return trafficOf(w, view.KindCluster).since(before).acks == 2 })
	if got := trafficOf(w, view.KindCluster).since(before); got.sends != 5 || got.nacks != 2 || got.travels != 1 {
		t.Errorf("the clusters count as %+v, want 5 sent, 2 refusals, 2 confirmations of 1 change", got)
	}
	if s := w.Engine.Size(); s.Refused != 1 {
		t.Errorf("%d resources are refused, want 1", s.Refused)
	}
}

// Streams are counted by what their proxies are, from when they are known until they end.
func TestStreamsAreCounted(t *testing.T) {
	t.Parallel()
	w, f := one(t, push.Config{})
	_, unknown := caller(9, "reviews:9080")
	w.Connect(unknown)
	disconnect := w.Connect(f)
	await(t, f.Await(t.Context(), xds.VirtualHostType, "out/reviews:9080"))
	w.Confirmed(w.Edit(func(d *mesh.Draft) { d.SetEndpoints(reviews, nil) }))
	meshtest.Await(t, "the stream of a proxy that nobody knows", func() bool { return w.Engine.Size().Waiting == 1 })
	s, c := w.Engine.Size(), w.Engine.Counters()
	if s.Proxies[mesh.Sidecar] != 1 || s.Streams[mesh.Sidecar] != 1 || s.Pending != 0 || s.Resources == 0 || s.Bytes == 0 {
		t.Errorf("with one proxy there is %+v", s)
	}
	disconnect()
	meshtest.Await(t, "the end of the stream", func() bool { return c.Closed.Of(string(mesh.Sidecar)) == 1 })
	s = w.Engine.Size()
	if c.Opened.Of(string(mesh.Sidecar)) != 1 || s.Proxies[mesh.Sidecar] != 0 || s.Resources != 0 || s.Bytes != 0 {
		t.Errorf("without proxies there is %+v, and %d streams were opened", s, c.Opened.Of(string(mesh.Sidecar)))
	}
}

// Times are sorted by their bounds, which they may reach.
func TestTimes(t *testing.T) {
	t.Parallel()
	w := meshtest.NewFakeMesh(t, push.Config{})
	callers(t, w)
	c := w.Engine.Counters()
	built, sum, upTo := c.Build.Read()
	if int64(built) != c.Cuts.Load() || sum <= 0 || len(upTo) != len(push.TimeBounds) {
		t.Errorf("%d of %d cuts were timed, in %v", built, c.Cuts.Load(), sum)
	}
	if marshalled, _, _ := c.Marshal.Read(); int64(marshalled) != c.Makes.Load() {
		t.Errorf("%d of %d messages were timed", marshalled, c.Makes.Load())
	}
	if c.Hits.Load()+c.Makes.Load() > c.Cuts.Load() || c.Hits.Load() == 0 {
		t.Errorf("%d known and %d made of %d cuts", c.Hits.Load(), c.Makes.Load(), c.Cuts.Load())
	}
	for i := 1; i < len(upTo); i++ {
		if upTo[i] < upTo[i-1] || upTo[i] > built || push.TimeBounds[i] <= push.TimeBounds[i-1] {
			t.Fatalf("up to %v there are %v of %d", push.TimeBounds, upTo, built)
		}
	}
	var other time.Duration
	tally := push.NewTally("a", "b")
	tally.Add("b", 2)
	tally.Add("c", 3)
	var words []string
	tally.Each(func(word string, n int64) {
		words = append(words, word)
		if word == "other" {
			other += time.Duration(n)
		}
	})
	if len(words) != 3 || other != 3 || tally.Load() != 5 || tally.Of("b") != 2 {
		t.Errorf("counted %v, %d others, %d in all", words, other, tally.Load())
	}
}
