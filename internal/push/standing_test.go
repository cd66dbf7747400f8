package push_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/lateen-mesh/lateen/internal/handover"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// standing waits until it is as wanted: "waiting, away, refused about reviews, of proxies".
func standing(t *testing.T, w *meshtest.FakeMesh, first, last int64, want string) {
	t.Helper()
	var got string
	meshtest.Await(t, want, func() bool {
		s, _ := w.Engine.Standing(first, last)
		var refused []mesh.ProxyID
		for _, r := range s.Refused {
			if slices.Contains(r.Hosts, reviews) {
				refused = append(refused, r.Proxy)
			}
		}
		got = fmt.Sprint(s.Reached, s.Waiting, s.Away, refused, s.Proxies)
		return got == want
	})
}

// running makes a caller of reviews known that takes requests.
func running(w *meshtest.FakeMesh, n int, hosts ...string) (*mesh.Workload, *meshtest.FakeProxy) {
	workload, fake := caller(n, hosts...)
	workload.Running = true
	w.Edit(func(d *mesh.Draft) { d.SetWorkload(workload.ID(), workload) })
	return workload, fake
}

// Everybody counts who is connected, or runs and is not: until all have confirmed, whatever comes later.
func TestStanding(t *testing.T) {
	t.Parallel()
	w, first := one(t, push.Config{})
	_, second := running(w, 1, "reviews:9080")
	w.Connect(first)
	leave := w.Connect(second)
	await(t, first.Await(t.Context(), xds.EndpointsType, subset("")))
	await(t, second.Await(t.Context(), xds.EndpointsType, subset("")))
	now := w.Snapshot.Revision()
	standing(t, w, 1, now, "true [] [] [] 2")
	standing(t, w, 1, now+1, "false [] [] [] 2")
	change := w.Edit(toVersion("v1"))
	standing(t, w, change, change, "true [] [] [] 2")

	leave()
	id := second.Node.ID()
	standing(t, w, change, change, fmt.Sprintf("true [] [%s] [] 2", id))
	for range 3 { // later revisions are not waited for, and change nothing
		w.Edit(toVersion("v2"))
		w.Edit(toVersion("v1"))
	}
	standing(t, w, change, change, fmt.Sprintf("true [] [%s] [] 2", id))
	w.Connect(second)
	standing(t, w, change, change, "true [] [] [] 2")

	stopped := *w.Snapshot.Workload(id)
	stopped.Running = false
	w.Edit(func(d *mesh.Draft) { d.SetWorkload(id, &stopped) })
	standing(t, w, change, w.Snapshot.Revision(), "true [] [] [] 2")
}

// A proxy that does not answer is waited for, and one that does not run and has never taken anything is not.
func TestStandingOfSilentProxies(t *testing.T) {
	t.Parallel()
	w, f := one(t, push.Config{})
	c := settled(t, w, f)
	id := f.Node.ID()
	change := w.Edit(func(d *mesh.Draft) { d.SetEndpoints(reviews, nil) })
	standing(t, w, change, change, fmt.Sprintf("true [%s] [] [] 1", id))
	other := w.Edit(func(d *mesh.Draft) {
		d.SetService("other.default.svc.cluster.local", meshtest.NewService("other", "http", 80))
	})
	standing(t, w, other, other, "true [] [] [] 1")
	standing(t, w, change-1, change-1, "true [] [] [] 1")
	c.answer(c.next())
	standing(t, w, change, change, "true [] [] [] 1")

	_, fresh := caller(1)
	workload, _ := caller(1)
	w.Edit(func(d *mesh.Draft) { d.SetWorkload(workload.ID(), workload) })
	newConversation(t, w, fresh)
	standing(t, w, change, w.Snapshot.Revision(), "true [] [] [] 2")
	workload.Running = true
	w.Edit(func(d *mesh.Draft) { d.SetWorkload(workload.ID(), new(*workload)) })
	standing(t, w, change, change, fmt.Sprintf("true [%s] [] [] 2", workload.ID()))
}

// A proxy that never answers is waited for, also when its revisions are too many to remember.
func TestStandingBeyondMemory(t *testing.T) {
	t.Parallel()
	w, f := one(t, push.Config{})
	settled(t, w, f)
	change := w.Edit(toVersion("v2"))
	for i := range 1100 {
		w.Edit(toVersion(fmt.Sprint("v", 1+i%2)))
	}
	standing(t, w, change, change, fmt.Sprintf("true [%s] [] [] 1", f.Node.ID()))
}

// Who refuses what a host's stance is told by holds up that host, and no other.
func TestStandingOfRefusals(t *testing.T) {
	t.Parallel()
	w, f := one(t, push.Config{})
	c := settled(t, w, f)
	change := w.Edit(func(d *mesh.Draft) { d.SetService(reviews, meshtest.NewService("reviews", "http2", 9080)) })
	sent := c.next()
	clusters := of(sent, xds.ClusterType)
	for _, r := range sent {
		if r != clusters[0] {
			c.answer(c.say(ack(r)))
		}
	}
	c.answer(c.say(nack(clusters[0], "no good")))
	standing(t, w, change, change, fmt.Sprintf("true [] [] [%s] 1", f.Node.ID()))
	s, _ := w.Engine.Standing(change, change)
	want := []handover.Refusal{{Proxy: f.Node.ID(), Hosts: []mesh.Host{reviews}, Reason: "no good"}}
	if len(s.Refused) != 1 || !slices.Equal(s.Refused[0].Hosts, want[0].Hosts) || s.Refused[0].Reason != want[0].Reason {
		t.Errorf("refused: %+v", s.Refused)
	}
	mended := w.Edit(func(d *mesh.Draft) { d.SetService(reviews, meshtest.NewService("reviews", "http", 9080)) })
	c.answer(c.next())
	standing(t, w, change, mended, "true [] [] [] 1")
}
