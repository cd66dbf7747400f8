package kubewrite_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lateen-mesh/lateen/internal/cache"
	"github.com/lateen-mesh/lateen/internal/testkit"
)

// What the leader saves a start finds at once. The others save nothing, and what one has is written when it becomes the leader.
func TestStances(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.replica(t, "a", calm)
	testkit.Await(t, "it leads", a.Leading)
	b := c.replica(t, "b", calm)
	load := func() string {
		var text string
		_, err := b.Stances().Load("stances", &text)
		if errors.Is(err, fs.ErrNotExist) {
			return "nothing"
		}
		must(t, err)
		return text
	}
	if got := load(); got != "nothing" {
		t.Errorf("at first there is %q", got)
	}
	testkit.Await(t, "it knows who leads", func() bool { return b.Leader() == "a" })
	must(t, b.Stances().Save("stances", "b1"))
	if got := load(); got != "nothing" {
		t.Errorf("one that does not lead has saved %q", got)
	}
	for i := range 3 {
		want := fmt.Sprint("a", i)
		must(t, a.Stances().Save("stances", want))
		if got := load(); got != want {
			t.Errorf("saved is %q, want %q", got, want)
		}
	}
	a.Stances().Keep("stances", func() any { return "later" })
	testkit.Await(t, "what is kept is written", func() bool { return load() == "later" })
	a.stop()
	testkit.Await(t, "the next one writes what it has", func() bool { return load() == "b1" })
	b.cut.Store(true)
	if err := b.Stances().Save("stances", "b2"); err == nil {
		t.Error("it cannot be saved, and nothing is said")
	}
	b.cut.Store(false)
	testkit.Await(t, "it is written later", func() bool { return load() == "b2" })
	if err := b.Stances().Save("stances", rand.Text()+noise(2<<20)); err == nil || !strings.Contains(err.Error(), "more than an object") {
		t.Errorf("too much: %v", err)
	}
	configs := c.admin.CoreV1().ConfigMaps("lateen-system")
	b.stop()
	there, err := configs.Get(t.Context(), "lateen-stances", metav1.GetOptions{})
	must(t, err)
	there.BinaryData["stances.json.gz"] = there.BinaryData["stances.json.gz"][:20]
	_, err = configs.Update(t.Context(), there, metav1.UpdateOptions{})
	must(t, err)
	var text string
	if _, err := a.Stances().Load("stances", &text); err == nil {
		t.Error("what is damaged is read")
	} else if _, ok := errors.AsType[*cache.Refused](err); !ok {
		t.Errorf("what is damaged: %v", err)
	}
}

func noise(n int) string {
	b := make([]byte, n/2)
	_, _ = rand.Read(b) // it does not fail
	return fmt.Sprintf("%x", b)
}

// Where nobody can tell who leads, nothing counts as kept: else all replicas would take steps that a start knows nothing of.
func TestNobodyLeads(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.replica(t, "a", calm)
	testkit.Await(t, "it leads", a.Leading)
	b := c.replica(t, "b", calm)
	testkit.Await(t, "the other knows that", func() bool { return b.Leader() == "a" })
	a.cut.Store(true)
	b.cut.Store(true)
	testkit.Await(t, "it does not lead any more", func() bool { return !a.Leading() })
	for name, r := range map[string]*replica{"the former leader": a, "the other": b} {
		testkit.Await(t, name+" knows of no leader", func() bool { return r.Stances().Save("stances", name) != nil })
	}
}

// A leader that lost its Lease while it was about to write, and did not notice, writes nothing over what the next one wrote.
func TestFormerLeaderWritesNothing(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.replica(t, "a", beat)
	testkit.Await(t, "it leads", a.Leading)
	must(t, a.Stances().Save("stances", "a1"))
	b := c.replica(t, "b", beat)
	load := func() (text string) {
		_, err := b.Stances().Load("stances", &text)
		must(t, err)
		return text
	}
	h := a.hold()
	saved := make(chan error, 1)
	go func() { saved <- a.Stances().Save("stances", "a2") }()
	<-h.came
	a.cut.Store(true)
	testkit.Await(t, "the other leads", b.Leading)
	testkit.Await(t, "it saves", func() bool { return b.Stances().Save("stances", "b1") == nil })
	a.cut.Store(false)
	close(h.on)
	if err := <-saved; err == nil {
		t.Error("the former leader is told that it has saved")
	}
	if got := load(); got != "b1" {
		t.Errorf("saved is %q", got)
	}
	// Also where the Lease is removed, and with it what is known of former leaders, who leads can save.
	leases := c.admin.CoordinationV1().Leases("lateen-system")
	must(t, leases.Delete(t.Context(), "lateen-leader", metav1.DeleteOptions{}))
	testkit.Await(t, "somebody has a new Lease, and has renewed it", func() bool {
		l, err := leases.Get(t.Context(), "lateen-leader", metav1.GetOptions{})
		return err == nil && l.Spec.RenewTime.After(l.Spec.AcquireTime.Time)
	})
	testkit.Await(t, "one saves without the former Lease", func() bool {
		for _, r := range []*replica{a, b} {
			if r.Leading() && r.Stances().Save("stances", r.name+"3") == nil && load() == r.name+"3" {
				return true
			}
		}
		return false
	})
}
