package handover_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lateen-mesh/lateen/internal/handover"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/store"
)

// proxies are as a test says they are.
type proxies struct {
	mu       sync.Mutex
	standing handover.Standing
	asked    [2]int64 // of the last question
	changed  chan struct{}
}

func (p *proxies) Standing(first, last int64) (handover.Standing, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = [2]int64{first, last}
	return p.standing, p.changed
}

func (p *proxies) set(s handover.Standing) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.Reached, s.Proxies = true, 3
	p.standing = s
	close(p.changed)
	p.changed = make(chan struct{})
}

// plane is a store with a runner, whose clock is that of a test's bubble.
type plane struct {
	*store.Store
	*handover.Runner
	t       *testing.T
	proxies *proxies
	log     bytes.Buffer

	mu        sync.Mutex
	published []*mesh.Snapshot
	failing   error // of the next step
}

func (p *plane) AdvanceStances(ctx context.Context, confirmed []handover.Confirmed) (int64, error) {
	p.mu.Lock()
	err := p.failing
	p.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return p.Store.AdvanceStances(ctx, confirmed)
}

func newPlane(t *testing.T) *plane {
	t.Helper()
	p := &plane{t: t, proxies: &proxies{changed: make(chan struct{})}}
	p.Store = store.New(store.Config{
		Domain: realm.Domain, Realm: realm, Sources: []string{"local"}, Log: slog.New(slog.DiscardHandler),
		Publish: func(s *mesh.Snapshot, _ []mesh.Key) {
			p.mu.Lock()
			p.published = append(p.published, s)
			p.mu.Unlock()
			p.Published()
		},
	})
	p.Runner = handover.New(handover.Config{Store: p, Proxies: p.proxies, Log: slog.New(slog.NewTextHandler(&p.log, nil))})
	p.proxies.set(handover.Standing{})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	for _, run := range []func(context.Context) error{p.Store.Run, p.Runner.Run} {
		go func() { ended <- run(ctx) }()
	}
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, <-ended); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	return p
}

// policy says that there are n hosts with a policy, whose endpoints have some accounts.
func (p *plane) policy(n int, policy mesh.AuthPolicy, accounts ...string) int64 {
	p.t.Helper()
	r := mesh.Registry{Settings: &mesh.Settings{AuthPolicy: policy}}
	for i := range n {
		svc := service("")
		svc.Host = mesh.Host(fmt.Sprintf("h%03d", i))
		set := endpoints(accounts...)
		set.Host = svc.Host
		for j := range set.Endpoints {
			set.Endpoints[j].Address = fmt.Sprintf("10.0.0.%d", j)
		}
		r.Services, r.Endpoints = append(r.Services, svc), append(r.Endpoints, set)
	}
	revision, err := p.SetRegistry(p.t.Context(), "local", r)
	if err != nil {
		p.t.Fatal(err)
	}
	return revision
}

// ports returns how many hosts take and speak what: "3 both/plain", sorted.
func (p *plane) ports() string {
	counts := map[string]int{}
	for _, h := range p.Snapshot().Services() {
		port := p.Snapshot().Stance(h).Port(80)
		counts[fmt.Sprintf("%s/%s", port.Accept, port.Speak)]++
	}
	var all []string
	for what, n := range counts {
		all = append(all, fmt.Sprint(n, " ", what))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// after lets time pass and returns the ports.
func (p *plane) after(d time.Duration) string {
	<-time.After(d)
	synctest.Wait()
	return p.ports()
}

// publications returns how many snapshots were published since it was last asked.
func (p *plane) publications() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.published)
	p.published = nil
	return n
}

// All hosts go together: each step a moment after everybody has confirmed the one before, and in one publication. Whoever waits
// for the revision that began it waits for the end.
func TestHostsMoveTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPlane(t)
		p.policy(500, mesh.AuthNone, "x")
		if got := p.after(5 * time.Second); got != "500 plain/plain" || p.publications() != 1 || p.Count() != 0 {
			t.Errorf("at rest: %s, %d on their way", got, p.Count())
		}
		began := p.policy(500, mesh.AuthMutualTLS, "x")
		over := make(chan []handover.Moving, 1)
		go func() { over <- p.Await(t.Context(), began, time.Minute) }()
		for _, step := range []struct {
			after time.Duration
			want  string
		}{
			{0, "500 both/plain"},
			{999 * time.Millisecond, "500 both/plain"},
			{time.Millisecond, "500 both/mtls"},
			{999 * time.Millisecond, "500 both/mtls"},
			{time.Millisecond, "500 mtls/mtls"},
		} {
			if got := p.after(step.after); got != step.want {
				t.Errorf("%s, want %s", got, step.want)
			}
		}
		if p.Count() != 500 || len(over) > 0 {
			t.Errorf("the last step is not confirmed for long enough, and %d of 500 are on their way", p.Count())
		}
		if left := p.Await(t.Context(), began, 0); len(left) != 500 || left[7].Host != "h007" || left[7].Words() != "servers take only mutual TLS; confirmed by all proxies" {
			t.Errorf("%d are waited for", len(left))
		}
		if left := p.Await(t.Context(), began-1, time.Minute); left != nil {
			t.Errorf("a revision that moves nothing waits for %d", len(left))
		}
		if got := p.after(time.Second); got != "500 mtls/mtls" || p.Count() != 0 {
			t.Errorf("in the end %s, %d on their way", got, p.Count())
		}
		if left := <-over; left != nil {
			t.Errorf("in the end %d are waited for", len(left))
		}
		if n := p.publications(); n != 3 {
			t.Errorf("%d publications", n)
		}
		if said := p.log.String(); strings.Count(said, "handover begins") != 21 || strings.Count(said, "handover is over") != 21 {
			t.Errorf("said %d lines: %.3000s", strings.Count(said, "\n"), said)
		}
	})
}

// One proxy that is waited for, away or refuses holds up what concerns it, by name, and as long as it does. What is published
// meanwhile neither hurries nor delays the step.
func TestProxiesHoldUp(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		standing handover.Standing
		held     string
		words    string
	}{
		"waiting": {handover.Standing{Waiting: []mesh.ProxyID{"slow"}}, "2 both/plain", "servers take both; waiting for 1 of 3 proxies"},
		"away":    {handover.Standing{Away: []mesh.ProxyID{"gone"}}, "2 both/plain", "servers take both; waiting for 1 of 3 proxies, gone away"},
		"refuses": {
			handover.Standing{Refused: []handover.Refusal{{Proxy: "stubborn", Hosts: []mesh.Host{"h000", "other"}, Reason: "no"}}},
			"1 both/plain, 1 mtls/mtls", "servers take both; refused by stubborn",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := newPlane(t)
				p.policy(2, mesh.AuthNone, "x")
				p.after(5 * time.Second)
				p.proxies.set(c.standing)
				began := p.policy(2, mesh.AuthMutualTLS, "x")
				for i := range 30 {
					p.after(time.Second)
					if _, err := p.EditRegistry(t.Context(), "local", mesh.RegistryEdit{Services: []*mesh.Service{{Host: "new", Name: fmt.Sprint("n", i)}}}); err != nil {
						t.Fatal(err)
					}
				}
				p.EditRegistry(t.Context(), "local", mesh.RegistryEdit{RemovedServices: []mesh.Host{"new"}}) //nolint:errcheck // seen below
				if got := p.after(0); got != c.held {
					t.Errorf("held up: %s, want %s", got, c.held)
				}
				if asked := p.proxies.asked; asked != [2]int64{began, began} {
					t.Errorf("it is waited for the revisions %v, want %d", asked, began)
				}
				moving := p.Moving()
				if len(moving) == 0 || moving[0].Host != "h000" || moving[0].Step(80) != c.words {
					t.Errorf("moving: %d, %s", len(moving), moving[0].Step(80))
				}
				if left := p.Await(t.Context(), began, 0); len(left) == 0 || left[0].Words() != c.words {
					t.Errorf("waiting for %d", len(left))
				}
				if said := p.log.String(); strings.Count(said, "handover waits") != 1 || !strings.Contains(said, strings.TrimPrefix(c.words, "servers take both; ")) {
					t.Errorf("said %s", said)
				}
				p.proxies.set(handover.Standing{})
				if got := p.after(4 * time.Second); got != "2 mtls/mtls" || p.Count() != 0 {
					t.Errorf("let go: %s, %d moving", got, p.Count())
				}
			})
		})
	}
}

// A proxy that has been away for longer than one takes to come back holds up how ports are secured, and not which identities are called.
func TestWhoIsLostHoldsUpNoIdentities(t *testing.T) {
	t.Parallel()
	const gone = "gone"
	away := handover.Standing{Away: []mesh.ProxyID{gone}}
	lost := handover.Standing{Away: []mesh.ProxyID{gone}, Lost: []mesh.ProxyID{gone}}
	const before, after = "80 PERMISSIVE both/mtls; accepts x y, calls x", "80 PERMISSIVE both/mtls; accepts y, calls y"
	for name, c := range map[string]struct {
		standing handover.Standing
		want     string
		moving   int
	}{
		"just away":         {away, before, 1},
		"for long":          {lost, after, 0},
		"another one waits": {handover.Standing{Away: lost.Away, Lost: lost.Lost, Waiting: []mesh.ProxyID{"slow"}}, before, 1},
		"two, one for long": {handover.Standing{Away: []mesh.ProxyID{gone, "just"}, Lost: lost.Lost}, before, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := newPlane(t)
				p.policy(1, mesh.AuthPermissive, "x")
				p.after(5 * time.Second)
				p.proxies.set(c.standing)
				p.policy(1, mesh.AuthPermissive, "y")
				p.after(30 * time.Second)
				if got := show(p.Snapshot().Stance("h000")); got != c.want || p.Count() != c.moving {
					t.Errorf("it is at %s, %d moving, want %s", got, p.Count(), c.want)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		p := newPlane(t)
		p.policy(1, mesh.AuthPermissive, "x")
		p.after(5 * time.Second)
		p.proxies.set(lost)
		began := p.policy(1, mesh.AuthMutualTLS, "y")
		p.after(30 * time.Second)
		const held = "80 MUTUAL_TLS both/mtls; accepts y, calls y"
		if got := show(p.Snapshot().Stance("h000")); got != held || p.Count() != 1 {
			t.Errorf("a policy and identities: it is at %s, %d moving, want %s", got, p.Count(), held)
		}
		if left := p.Await(t.Context(), began, 0); len(left) != 1 || !strings.HasSuffix(left[0].Words(), gone+" away") {
			t.Errorf("who waits for it is told %+v", left)
		}
		if n := p.publications(); n > 6 {
			t.Errorf("%d publications", n)
		}
		p.proxies.set(handover.Standing{})
		p.after(5 * time.Second)
		if got := show(p.Snapshot().Stance("h000")); !strings.HasPrefix(got, "80 MUTUAL_TLS mtls/mtls") || p.Count() != 0 {
			t.Errorf("when it is back: %s, %d moving", got, p.Count())
		}
	})
}

// A host about which something is new all the time gets on as fast as the others.
func TestChangesDoNotStarve(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPlane(t)
		p.policy(1, mesh.AuthNone, "x")
		p.after(5 * time.Second)
		accounts := []string{"x"}
		for i := range 40 {
			accounts = append(accounts, fmt.Sprint("y", i))
			p.policy(1, mesh.AuthMutualTLS, accounts...)
			p.after(100 * time.Millisecond)
		}
		stance := p.Snapshot().Stance("h000")
		if got := p.ports(); got != "1 mtls/mtls" || len(stance.Admitted) < 20 {
			t.Errorf("after 4 s with something new in each tenth: %s, %d of %d identities are called", got, len(stance.Admitted), len(accounts))
		}
		if p.after(3 * time.Second); len(p.Snapshot().Stance("h000").Admitted) != len(accounts) || p.Count() != 0 {
			t.Errorf("in the end %d of %d identities are called, %d moving", len(stance.Admitted), len(accounts), p.Count())
		}
	})
}

// A step that the store cannot take is tried again, and told once.
func TestStepsAreTriedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPlane(t)
		p.policy(1, mesh.AuthNone, "x")
		p.after(5 * time.Second)
		p.mu.Lock()
		p.failing = errors.New("no room")
		p.mu.Unlock()
		p.policy(1, mesh.AuthPermissive, "x")
		if got := p.after(20 * time.Second); got != "1 both/plain" || strings.Count(p.log.String(), "no room") != 1 {
			t.Errorf("%s, said %s", got, p.log.String())
		}
		p.mu.Lock()
		p.failing = nil
		p.mu.Unlock()
		if got := p.after(3 * time.Second); got != "1 both/mtls" || p.Count() != 0 {
			t.Errorf("%s, %d moving", got, p.Count())
		}
	})
}

// What a host is on the way to is said of each port and of the identities.
func TestWords(t *testing.T) {
	t.Parallel()
	stance := func(accept, speak mesh.Transport, identities, admitted string) *mesh.Stance {
		return &mesh.Stance{
			Ports:      []mesh.PortStance{{Port: 80, Policy: mesh.AuthMutualTLS, Accept: accept, Speak: speak}},
			Identities: strings.Fields(identities), Admitted: strings.Fields(admitted),
		}
	}
	target := func(policy mesh.AuthPolicy, identities string) handover.Target {
		return handover.Target{Ports: []mesh.PortStance{mesh.PortStance{Port: 80, Policy: policy}.Settled(false)}, Identities: strings.Fields(identities)}
	}
	for _, c := range []struct {
		now    *mesh.Stance
		want   handover.Target
		port   int
		words  string
		waits  handover.Standing
		unsent bool
	}{
		{now: stance(mesh.Both, mesh.Plain, "", ""), want: target(mesh.AuthMutualTLS, ""), port: 80, words: "servers take both; confirmed by all proxies"},
		{now: stance(mesh.Both, mesh.TLS, "", ""), want: target(mesh.AuthMutualTLS, ""), port: 80, words: "callers speak mutual TLS; confirmed by all proxies"},
		{now: stance(mesh.Both, mesh.TLS, "", ""), want: target(mesh.AuthPermissive, ""), port: 80, words: "servers take both, callers speak mutual TLS; confirmed by all proxies"},
		{now: stance(mesh.Plain, mesh.Plain, "", ""), want: target(mesh.AuthNone, ""), port: 80, words: "servers take only plain text; not sent yet", unsent: true},
		{now: stance(mesh.Both, mesh.TLS, "", ""), port: 80, words: "the port goes; confirmed by all proxies"},
		{now: stance(mesh.Both, mesh.TLS, "", ""), port: 81, words: "the port is gone; confirmed by all proxies"},
		{now: nil, words: "nothing is secured any more; confirmed by all proxies"},
		{now: stance(mesh.Both, mesh.TLS, "a b", "a"), want: target(mesh.AuthPermissive, "b"), words: "callers accept b, whose endpoints are not called yet; confirmed by all proxies"},
		{now: stance(mesh.Both, mesh.TLS, "a b", "b"), want: target(mesh.AuthPermissive, "b"), words: "endpoints of other identities are not called any more; confirmed by all proxies"},
		{
			now: stance(mesh.Both, mesh.TLS, "b", "b"), want: target(mesh.AuthPermissive, "b"), words: "callers accept only b; waiting for 6 of 9 proxies, a, b, c, 1 more away",
			waits: handover.Standing{Waiting: []mesh.ProxyID{"x", "y"}, Away: []mesh.ProxyID{"a", "b", "c", "d"}, Proxies: 9},
		},
	} {
		c.waits.Reached = !c.unsent
		m := handover.Moving{Course: &handover.Course{Now: c.now, Want: c.want}, Standing: c.waits}
		if got := m.Step(c.port); got != c.words {
			t.Errorf("%q, want %q", got, c.words)
		}
	}
}
