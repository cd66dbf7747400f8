package kubewrite_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lateen-mesh/lateen/internal/testkit"
)

// Replicas find each other. Who stops is gone at once, who was killed when its Lease has expired, and who comes back is there.
func TestReplicas(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a, b, d := c.replica(t, "a", beat), c.replica(t, "b", beat), c.replica(t, "d", beat)
	testkit.Await(t, "all see each other", func() bool { return a.sees("b", "d") && b.sees("a", "d") && d.sees("a", "b") })
	d.stop()
	testkit.Await(t, "one that has stopped is gone", func() bool { return a.sees("b") && b.sees("a") })
	if list, err := c.admin.CoordinationV1().Leases("lateen-system").List(t.Context(), metav1.ListOptions{LabelSelector: "lateen.dev/replica=true"}); err != nil || len(list.Items) != 2 {
		t.Errorf("%d Leases are left, %v", len(list.Items), err)
	}
	b.cut.Store(true)
	begun := time.Now()
	testkit.Await(t, "one that was killed is gone", func() bool { return a.sees() })
	if took := time.Since(begun); took < beat {
		t.Errorf("it was forgotten after %s", took)
	}
	b.cut.Store(false)
	testkit.Await(t, "it is back", func() bool { return a.sees("b") && b.sees("a") })
	if said := a.log.String(); strings.Count(said, "is gone") != 2 || strings.Count(said, "is there") != 3 {
		t.Errorf("said is\n%s", said)
	}
}

// While the API server is away nobody is forgotten, however long that takes, nor in the moment when it is back.
func TestServerAwayForgetsNobody(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a, b := c.replica(t, "a", beat), c.replica(t, "b", beat)
	testkit.Await(t, "both see each other", func() bool { return a.sees("b") && b.sees("a") })
	c.server.Stop(t)
	testkit.Await(t, "it is told", func() bool {
		return strings.Contains(a.log.String(), "cannot be looked at") && strings.Contains(b.log.String(), "cannot be looked at")
	})
	away := time.After(10 * beat)
	for on := true; on; {
		select {
		case <-away:
			on = false
		case <-time.After(beat / 10):
			if !a.sees("b") || !b.sees("a") {
				t.Fatal("somebody is forgotten")
			}
		}
	}
	c.server.Resume(t)
	testkit.Await(t, "both are told", func() bool {
		if !a.sees("b") || !b.sees("a") {
			t.Fatal("somebody is forgotten when it is back")
		}
		return strings.Contains(a.log.String(), "can be looked at again") && strings.Contains(b.log.String(), "can be looked at again")
	})
	for range 8 { // beats
		<-time.After(beat)
		if !a.sees("b") || !b.sees("a") {
			t.Fatal("somebody is forgotten afterwards")
		}
	}
}

// One leads, never two, and another one when that has stopped or was killed.
func TestOneLeads(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	all := []*replica{}
	for i := range 4 {
		all = append(all, c.replica(t, fmt.Sprint("r", i), beat))
	}
	leader := func() *replica {
		var found *replica
		for _, r := range all {
			if r.Leading() {
				found = r
			}
		}
		return found
	}
	done := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			var leading []string
			for _, r := range all {
				if r.Leading() {
					leading = append(leading, r.name)
				}
			}
			if len(leading) > 1 {
				t.Errorf("%v lead", leading)
				return
			}
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
			}
		}
	})
	testkit.Await(t, "one leads", func() bool { return leader() != nil })
	first := leader()
	testkit.Await(t, "all know it", func() bool {
		for _, r := range all {
			if r.Leader() != first.name {
				return false
			}
		}
		return true
	})
	first.cut.Store(true)
	testkit.Await(t, "another one leads", func() bool { l := leader(); return l != nil && l != first })
	second := leader()
	first.cut.Store(false)
	testkit.Await(t, "the first knows it", func() bool { return first.Leader() == second.name && !first.Leading() })
	second.stop()
	testkit.Await(t, "a third one leads", func() bool { l := leader(); return l != nil && l != second })
	c.server.Stop(t)
	testkit.Await(t, "nobody leads without the API server", func() bool { return leader() == nil })
	c.server.Resume(t)
	testkit.Await(t, "one leads again", func() bool { return leader() != nil })
	close(done)
	watching.Wait()
}
