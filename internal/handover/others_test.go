package handover_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lateen-mesh/lateen/internal/handover"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/store"
)

// fleet is several control planes, with proxies that confirm what they get after a while, each with its own.
type fleet struct {
	t      *testing.T
	planes []*member

	mu     sync.Mutex
	random *rand.Rand
	slow   int // seconds that a proxy takes at most
	story  []string
}

// member is one of them.
type member struct {
	*store.Store
	*handover.Runner
	fleet *fleet
	name  string
	log   bytes.Buffer

	// Under the fleet's lock.
	versions  []*mesh.Snapshot
	confirmed int // index of the version that all its proxies have, or a later one
	changed   chan struct{}
	silent    bool
	stuck     bool // its proxies confirm nothing
	away      []mesh.ProxyID
	lost      []mesh.ProxyID // those of them that have been so for long
}

func newFleet(t *testing.T, n int, seed uint64) *fleet {
	t.Helper()
	f := &fleet{t: t, random: rand.New(rand.NewPCG(seed, 2)), slow: 2} //nolint:gosec // a model needs no secrets
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for i := range n {
		m := &member{fleet: f, name: fmt.Sprint("r", i), changed: make(chan struct{}), versions: []*mesh.Snapshot{nil}}
		m.Store = store.New(store.Config{
			Domain: realm.Domain, Realm: realm, Sources: []string{"local"}, Log: slog.New(slog.DiscardHandler),
			Publish: func(s *mesh.Snapshot, _ []mesh.Key) { m.publish(s); m.Published() },
		})
		m.Runner = handover.New(handover.Config{Store: m, Proxies: m, Others: m, Log: slog.New(slog.NewTextHandler(&m.log, nil))})
		f.planes = append(f.planes, m)
		for _, run := range []func(context.Context) error{m.Store.Run, m.Runner.Run} {
			running.Go(func() {
				if err := run(ctx); !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			})
		}
	}
	t.Cleanup(func() { cancel(); running.Wait() })
	return f
}

// publish has the proxies of a member confirm a version some time later, and makes sure that whoever has it understands all that
// anybody may have.
func (m *member) publish(s *mesh.Snapshot) {
	f := m.fleet
	f.mu.Lock()
	defer f.mu.Unlock()
	at := len(m.versions)
	m.versions = append(m.versions, s)
	f.story = append(f.story, fmt.Sprintf("%s %d: %s", m.name, at, show(s.Stance("h000"))))
	for _, o := range f.planes {
		for i := o.confirmed; i < len(o.versions); i++ {
			v := o.versions[i]
			if v == nil || s.Stance("h000") == nil || v.Stance("h000") == nil {
				continue
			}
			if !handover.Compatible(s.Stance("h000"), v.Stance("h000")) {
				f.t.Errorf("a proxy of %s with %d does not understand one of %s with %d:\n%s", m.name, at, o.name, i, strings.Join(f.story, "\n"))
			}
		}
	}
	delay := time.Duration(f.random.IntN(1+f.slow*1000)) * time.Millisecond
	time.AfterFunc(delay, func() { m.confirm(at) })
}

func (m *member) confirm(at int) {
	m.fleet.mu.Lock()
	defer m.fleet.mu.Unlock()
	if m.stuck {
		time.AfterFunc(time.Second, func() { m.confirm(at) })
		return
	}
	m.confirmed = max(m.confirmed, at)
	close(m.changed)
	m.changed = make(chan struct{})
}

// Standing implements [handover.Proxies].
func (m *member) Standing(_, last int64) (handover.Standing, <-chan struct{}) {
	m.fleet.mu.Lock()
	defer m.fleet.mu.Unlock()
	s := handover.Standing{Proxies: 1, Away: m.away, Lost: m.lost}
	newest := m.versions[len(m.versions)-1]
	s.Reached = newest != nil && newest.Revision() >= last
	if c := m.versions[m.confirmed]; c == nil || c.Revision() < last {
		s.Waiting = []mesh.ProxyID{mesh.ProxyID("proxy of " + m.name)}
	}
	return s, m.changed
}

// Ask implements [handover.Others]. What is answered is old when it comes.
func (m *member) Ask(ctx context.Context, hosts []mesh.Host, missing []mesh.ProxyID) (answers []handover.Answer) {
	f := m.fleet
	for _, o := range f.planes {
		if o == m {
			continue
		}
		f.mu.Lock()
		silent, delay := o.silent || m.silent, time.Duration(f.random.IntN(300))*time.Millisecond
		here := []mesh.ProxyID{}
		for _, id := range missing {
			if string(id) == "p-"+o.name {
				here = append(here, id)
			}
		}
		f.mu.Unlock()
		a := handover.Answer{Replica: o.name, Here: here}
		if silent {
			a.Silent = "cut off"
		} else {
			a.Reports = o.Report(hosts)
		}
		answers = append(answers, a)
		select {
		case <-time.After(delay):
		case <-ctx.Done():
		}
	}
	return answers
}

// tell tells one member what there is.
func (m *member) tell(policy mesh.AuthPolicy, accounts []string) {
	svc := service("")
	svc.Host = "h000"
	set := endpoints(accounts...)
	set.Host = svc.Host
	for i := range set.Endpoints {
		set.Endpoints[i].Address = fmt.Sprintf("10.0.0.%d", i)
	}
	r := mesh.Registry{Settings: &mesh.Settings{AuthPolicy: policy}, Services: []*mesh.Service{svc}, Endpoints: []*mesh.EndpointSet{set}}
	if _, err := m.SetRegistry(m.fleet.t.Context(), "local", r); err != nil && m.fleet.t.Context().Err() == nil {
		m.fleet.t.Error(err)
	}
}

// all tells all, each after some time up to so long.
func (f *fleet) all(policy mesh.AuthPolicy, lag time.Duration, accounts ...string) {
	var telling sync.WaitGroup
	for _, m := range f.planes {
		f.mu.Lock()
		f.story = append(f.story, fmt.Sprintf("%s is told %s %v", m.name, policy, accounts))
		delay := time.Duration(f.random.Int64N(int64(lag) + 1))
		f.mu.Unlock()
		telling.Go(func() {
			<-time.After(delay)
			m.tell(policy, accounts)
		})
	}
	telling.Wait()
}

// settled makes sure that all are where they are wanted.
func (f *fleet) settled(policy mesh.AuthPolicy, accounts ...string) {
	f.t.Helper()
	want := handover.Want("h000", &mesh.Service{Host: "h000", Name: "a", Namespace: "default", Ports: []mesh.Port{{Name: "http", Number: 80}}},
		endpoints(accounts...), &mesh.Settings{AuthPolicy: policy}, realm)
	for _, m := range f.planes {
		if now := m.Snapshot().Stance("h000"); !handover.Reached(now, want) || m.Count() != 0 {
			words := m.words()
			f.mu.Lock()
			f.t.Errorf("%s is at %s, %d on their way: %s\n%s", m.name, show(now), m.Count(), words, strings.Join(f.story, "\n"))
			f.mu.Unlock()
		}
	}
}

func (m *member) words() string {
	var words []string
	for _, moving := range m.Moving() {
		words = append(words, moving.Words())
	}
	return strings.Join(words, "; ")
}

// Whatever replicas are told, in whichever order and how late, no proxy of one meets a proxy of another that it does not understand,
// and in the end all are where they are wanted.
func TestReplicasGoTogether(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) {
			f := newFleet(t, 2+int(seed%2), seed)
			policies, accounts := mesh.AuthPolicies(), []string{"x"}
			f.all(policies[seed%3], 0, accounts...)
			<-time.After(10 * time.Second)
			var policy mesh.AuthPolicy
			for range 8 {
				f.mu.Lock()
				policy = policies[f.random.IntN(len(policies))]
				if f.random.IntN(2) == 0 {
					accounts = [][]string{{"x"}, {"y"}, {"x", "y"}, {"z", "y"}}[f.random.IntN(4)]
				}
				pause := time.Duration(f.random.IntN(6000)) * time.Millisecond
				f.mu.Unlock()
				f.all(policy, 3*time.Second, accounts...)
				<-time.After(pause)
			}
			<-time.After(2 * time.Minute)
			synctest.Wait()
			f.settled(policy, accounts...)
		})
	}
}

// One whose proxies do not confirm, one that has not heard, and one that cannot be asked hold a step up, and are named; those
// that are connected to another one do not.
func TestReplicasHoldUp(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		hold, free func(*member)
		words      string
	}{
		"partitioned": {func(m *member) { m.silent = true }, func(m *member) { m.silent = false }, "replica r1 cannot be asked (cut off)"},
		"its proxies": {func(m *member) { m.stuck = true }, func(m *member) { m.stuck = false }, "replica r1: waiting for 1 of 1 proxies"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, 2, 1)
				f.slow = 0
				a, b := f.planes[0], f.planes[1]
				a.away = []mesh.ProxyID{"p-r1"}
				b.away = []mesh.ProxyID{"p-r0"}
				f.all(mesh.AuthNone, 0, "x")
				<-time.After(10 * time.Second)
				f.mu.Lock()
				c.hold(b)
				f.mu.Unlock()
				f.all(mesh.AuthMutualTLS, 0, "x")
				<-time.After(time.Minute)
				if got := show(a.Snapshot().Stance("h000")); !strings.Contains(got, "both/plain") || !strings.Contains(a.words(), c.words) {
					t.Errorf("it is at %s: %s", got, a.words())
				}
				if n := strings.Count(a.log.String(), "security handover waits"); n != 1 || !strings.Contains(a.log.String(), "r1") {
					t.Errorf("it is told %d times: %s", n, &a.log)
				}
				f.mu.Lock()
				c.free(b)
				f.mu.Unlock()
				<-time.After(20 * time.Second)
				f.settled(mesh.AuthMutualTLS, "x")
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 2, 1)
		f.slow = 0
		a, b := f.planes[0], f.planes[1]
		f.all(mesh.AuthNone, 0, "x")
		<-time.After(10 * time.Second)
		a.tell(mesh.AuthMutualTLS, []string{"x"})
		<-time.After(time.Minute)
		if got := show(a.Snapshot().Stance("h000")); !strings.Contains(got, "both/plain") || !strings.Contains(a.words(), "replica r1 has not come as far") {
			t.Errorf("the other has not heard, and it is at %s: %s", got, a.words())
		}
		f.mu.Lock()
		a.away = []mesh.ProxyID{"p-r1", "nowhere"}
		f.mu.Unlock()
		b.tell(mesh.AuthMutualTLS, []string{"x"})
		<-time.After(time.Minute)
		if got := show(a.Snapshot().Stance("h000")); !strings.Contains(got, "both/plain") || !strings.Contains(a.words(), "nowhere away") {
			t.Errorf("one is nowhere, and it is at %s: %s", got, a.words())
		}
		f.all(mesh.AuthMutualTLS, 0, "y")
		f.mu.Lock()
		a.lost = []mesh.ProxyID{"p-r1"} // which the other has
		f.mu.Unlock()
		<-time.After(time.Minute)
		if got := show(a.Snapshot().Stance("h000")); !strings.HasSuffix(got, "calls x") {
			t.Errorf("one has just gone, and it is at %s", got)
		}
		f.mu.Lock()
		a.lost = []mesh.ProxyID{"nowhere", "p-r1"}
		f.mu.Unlock()
		<-time.After(time.Minute)
		for _, m := range f.planes {
			if got := show(m.Snapshot().Stance("h000")); !strings.Contains(got, "both/") || !strings.HasSuffix(got, "accepts y, calls y") {
				t.Errorf("one has long been nowhere, and %s is at %s", m.name, got)
			}
		}
		if !strings.Contains(a.words(), "nowhere away") {
			t.Errorf("one has long been nowhere: %s", a.words())
		}
		f.mu.Lock()
		a.away = nil
		f.mu.Unlock()
		<-time.After(20 * time.Second)
		f.settled(mesh.AuthMutualTLS, "y")
	})
}
