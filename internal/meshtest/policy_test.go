package meshtest_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/lateen-mesh/lateen/internal/meshtest"
)

// policy is a DestinationPolicy for reviews.
func policy(name, spec string) string { return policyFor("{name: reviews}", name, spec) }

func policyFor(destination, name, spec string) string {
	return fmt.Sprintf("apiVersion: config.istio.io/v1alpha2\nkind: DestinationPolicy\nmetadata: {name: %s}\n"+
		"spec: {destination: %s, %s}\n", name, destination, spec)
}

// answers returns who answers n requests, one after the other.
func answers(t *testing.T, i *meshtest.Instance, n int) []string {
	t.Helper()
	client := i.Client()
	got := make([]string, n)
	for k := range got {
		body, err := meshtest.Fetch(t.Context(), client, reviews)
		if err != nil {
			t.Fatal(err)
		}
		got[k] = body
	}
	return got
}

// repeats counts the requests that the same endpoint answered as the one before.
func repeats(list []string) int {
	n := 0
	for i := 1; i < len(list); i++ {
		if list[i] == list[i-1] {
			n++
		}
	}
	return n
}

// ROUND_ROBIN takes turns, also when nothing is said; RANDOM does not.
func TestBalancers(t *testing.T) {
	t.Parallel()
	m, caller := reviewsMesh(t)
	if n := repeats(answers(t, caller, 100)); n > 1 {
		t.Errorf("without a policy %d of 100 are repeats", n)
	}
	m.Apply(policy("lb", "loadBalancing: {name: RANDOM}"))
	if n := repeats(answers(t, caller, 200)); n < 50 || n > 150 {
		t.Errorf("RANDOM: %d of 200 are repeats, want about 100", n)
	}
	m.Apply(policy("lb", "loadBalancing: {name: ROUND_ROBIN}"))
	if n := repeats(answers(t, caller, 100)); n > 1 {
		t.Errorf("ROUND_ROBIN: %d of 100 are repeats", n)
	}
}

// held is an application that holds requests until it is let go, and counts those that it has.
type held struct {
	name string
	has  atomic.Int64
	all  atomic.Int64
	free chan struct{}
}

func newHeld(t *testing.T, name string) *held {
	h := &held{name: name, free: make(chan struct{})}
	t.Cleanup(sync.OnceFunc(h.release))
	return h
}

func (h *held) release() {
	select {
	case <-h.free:
	default:
		close(h.free)
	}
}

func (h *held) app() meshtest.App {
	return meshtest.Handler(func(w http.ResponseWriter, r *http.Request) {
		h.all.Add(1)
		h.has.Add(1)
		defer h.has.Add(-1)
		select {
		case <-h.free:
		case <-r.Context().Done():
		}
		_, _ = io.WriteString(w, h.name)
	})
}

// LEAST_CONN gives an endpoint that is busy less than one that is not.
func TestLeastRequests(t *testing.T) {
	t.Parallel()
	m := meshtest.New(t)
	busy := newHeld(t, "v1")
	m.Start("reviews", "v1", busy.app())
	m.Start("reviews", "v2", meshtest.Named("v2"))
	caller := m.Start("caller", "v1", meshtest.Named("caller"))
	m.Apply(policy("lb", "loadBalancing: {name: LEAST_CONN}"))
	var group sync.WaitGroup
	var answered atomic.Int64
	client := caller.Client()
	const all = 120
	for n := range int64(all) {
		group.Go(func() {
			if body, err := meshtest.Fetch(t.Context(), client, reviews); err == nil && body == "v2" {
				answered.Add(1)
			}
		})
		meshtest.Await(t, "the request to be answered or held", func() bool { return answered.Load()+busy.has.Load() == n+1 })
	}
	if n := busy.all.Load(); n > all*45/100 {
		t.Errorf("the busy endpoint got %d of %d", n, all)
	}
	busy.release()
	group.Wait()
}

// crowd sends requests and counts the statuses of the answers.
type crowd struct {
	t       *testing.T
	client  *http.Client
	group   sync.WaitGroup
	refused atomic.Int64 // 503
	good    atomic.Int64
}

func newCrowd(t *testing.T, i *meshtest.Instance) *crowd { return &crowd{t: t, client: i.Client()} }

// send sends n requests at once.
func (c *crowd) send(n int) {
	for range n {
		c.group.Go(func() {
			switch _, err := meshtest.Fetch(c.t.Context(), c.client, reviews); {
			case err == nil:
				c.good.Add(1)
			case strings.Contains(err.Error(), "503"):
				c.refused.Add(1)
			}
		})
	}
}

// A circuit breaker refuses what is beyond its bounds at once, and only for the callers that it is for.
func TestCircuitBreaker(t *testing.T) {
	t.Parallel()
	m := meshtest.New(t)
	app := newHeld(t, "v1")
	m.Start("reviews", "v1", app.app())
	one, other := m.Start("one", "v1", meshtest.Named("one")), m.Start("other", "v1", meshtest.Named("other"))
	m.Apply(policy("breaker", "source: {name: one}, circuitBreaker: {simpleCb: {maxConnections: 2, httpMaxPendingRequests: 1}}"))
	bounded, free := newCrowd(t, one), newCrowd(t, other)
	for n := range int64(2) {
		bounded.send(1)
		meshtest.Await(t, "a connection for each request", func() bool { return app.has.Load() == n+1 })
	}
	bounded.send(8)
	meshtest.Await(t, "all but one of the rest to be refused", func() bool { return bounded.refused.Load() == 7 })
	free.send(10)
	meshtest.Await(t, "another caller's requests", func() bool { return app.has.Load() == 12 })
	app.release()
	bounded.group.Wait()
	free.group.Wait()
	if bounded.good.Load() != 3 || free.good.Load() != 10 {
		t.Errorf("%d of 10 within the bounds of 2 connections and 1 waiting, %d of 10 without bounds", bounded.good.Load(), free.good.Load())
	}
}

// A policy without labels is inherited by the versions that rules name; one for the version's labels goes before it,
// part by part.
func TestPoliciesAreInherited(t *testing.T) {
	t.Parallel()
	m, caller := reviewsMesh(t)
	m.Start("reviews", "v1", meshtest.Named("v1-too"))
	m.Apply(rule("v1", "route: [{labels: {version: v1}}]"))
	if n := repeats(answers(t, caller, 60)); n > 1 {
		t.Errorf("without a policy %d of 60 are repeats", n)
	}
	m.Apply(policy("all", "loadBalancing: {name: RANDOM}"))
	if n := repeats(answers(t, caller, 100)); n < 20 {
		t.Errorf("inherited RANDOM: %d of 100 are repeats", n)
	}
	m.Apply(policyFor("{name: reviews, labels: {version: v1}}", "exact", "circuitBreaker: {simpleCb: {maxConnections: 9}}"))
	if n := repeats(answers(t, caller, 100)); n < 20 {
		t.Errorf("RANDOM beside a policy that does not speak of it: %d of 100 are repeats", n)
	}
	m.Apply(policyFor("{name: reviews, labels: {version: v1}}", "exact", "loadBalancing: {name: ROUND_ROBIN}"))
	if n := repeats(answers(t, caller, 60)); n > 1 {
		t.Errorf("the exact policy says ROUND_ROBIN: %d of 60 are repeats", n)
	}
}

// A policy for a source is for callers of that service only.
func TestPolicyForASource(t *testing.T) {
	t.Parallel()
	m, other := reviewsMesh(t)
	caller := m.Start("caller", "v1", meshtest.Named("caller"))
	m.Apply(policy("for-caller", "source: {name: caller}, loadBalancing: {name: RANDOM}"))
	if n := repeats(answers(t, caller, 100)); n < 20 {
		t.Errorf("the source: %d of 100 are repeats, want about 50", n)
	}
	if n := repeats(answers(t, other, 100)); n > 1 {
		t.Errorf("another caller: %d of 100 are repeats, want none", n)
	}
	m.Delete("DestinationPolicy", "for-caller")
	if n := repeats(answers(t, caller, 100)); n > 1 {
		t.Errorf("without the policy: %d of 100 are repeats", n)
	}
}

// An endpoint that fails again and again is set aside, and the others answer.
func TestOutliersAreSetAside(t *testing.T) {
	t.Parallel()
	m := meshtest.New(t)
	m.Start("reviews", "v1", meshtest.Named("good"))
	m.Start("reviews", "v2", meshtest.Handler(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "bad", http.StatusInternalServerError)
	}))
	caller := m.Start("caller", "v1", meshtest.Named("caller"))
	m.Apply(policy("outliers", "circuitBreaker: {simpleCb: {httpConsecutiveErrors: 3, httpDetectionInterval: 0.1s, sleepWindow: 60s}}"))
	client := caller.Client()
	row := 0
	meshtest.Await(t, "20 good answers in a row", func() bool {
		if body, err := meshtest.Fetch(t.Context(), client, reviews); err != nil || body != "good" {
			row = 0
		} else {
			row++
		}
		return row >= 20
	})
}

// A connection carries as many requests as the policy says.
func TestRequestsPerConnection(t *testing.T) {
	t.Parallel()
	m := meshtest.New(t)
	m.Start("reviews", "v1", meshtest.Named("v1"))
	caller := m.Start("caller", "v1", meshtest.Named("caller"))
	connections := func() int {
		for line := range strings.Lines(string(caller.Admin("/clusters"))) {
			var n int
			_, rest, found := strings.Cut(line, "::cx_total::")
			if strings.HasPrefix(line, "outbound|9080") && found {
				if _, err := fmt.Sscan(rest, &n); err == nil {
					return n
				}
			}
		}
		return -1
	}
	answers(t, caller, 5)
	if n := connections(); n != 1 {
		t.Errorf("5 requests used %d connections, want 1", n)
	}
	m.Apply(policy("one", "circuitBreaker: {simpleCb: {httpMaxRequestsPerConnection: 1}}"))
	answers(t, caller, 5)
	if n := connections(); n < 5 {
		t.Errorf("5 requests at one per connection used %d connections", n)
	}
}
