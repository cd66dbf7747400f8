// Package attesttest is what every attestor must do: run [Run] in the tests of one.
package attesttest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/attest"
	"github.com/lateen-mesh/lateen/internal/identity"
)

// TrustDomain is that of the attestors under test.
const TrustDomain = "cluster.local"

// Subject is an attestor under test, and somebody who gives out what it believes.
type Subject struct {
	Attestor attest.Attestor
	// Prove returns evidence that holds so long, by which the owner of a key proves to be a peer. An error is as good as
	// evidence that is refused.
	Prove func(peer identity.Peer, life time.Duration, key []byte) (attest.Evidence, error)
	// Spoil returns what evidence can be made into by somebody who may not give any out: none of it may hold.
	Spoil func(attest.Evidence) []attest.Evidence
	// Once: evidence counts for one key. Other evidence shows by itself that its sender has the key, or is good for any.
	Once bool
	// Placed: a workload has an address, always, and its name is that of one at a time: evidence of the one before holds no more.
	Placed bool
	// Namespace is that of the workloads; "": default.
	Namespace string
}

// Clock is the time of the attestors under test.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock returns a clock that stands.
func NewClock() *Clock { return &Clock{now: time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)} }

// Now returns its time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Move sets it forward, or back.
func (c *Clock) Move(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(by)
}

// Run tests attestors that subject makes. Each has nothing in common with the one before but the clock.
func Run(t *testing.T, subject func(t *testing.T, clock *Clock) Subject) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, s Subject, clock *Clock)
	}{
		{"everybody gets its own names", ownNames},
		{"no evidence", noEvidence},
		{"evidence expires", expires},
		{"clocks that differ by 5 minutes", skewed},
		{"spoiled evidence", spoiled},
		{"evidence counts for one key", once},
		{"nobody is the control plane, nor of elsewhere", outsiders},
		{"all at once", crowd},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			clock := NewClock()
			test.run(t, subject(t, clock), clock)
		})
	}
	t.Run("evidence of another authority", func(t *testing.T) {
		t.Parallel()
		clock := NewClock()
		here, elsewhere := subject(t, clock), subject(t, clock)
		refused(t, here, prove(t, elsewhere, elsewhere.peer("reviews", "v1", ""), time.Hour))
	})
}

func (s Subject) peer(account, version, address string) identity.Peer {
	namespace := cmp.Or(s.Namespace, "default")
	p := identity.Peer{
		ID:       identity.ID{TrustDomain: TrustDomain, Namespace: namespace, Account: account},
		Workload: account + "-" + version + "-0." + namespace,
	}
	if s.Placed && address == "" {
		address = "127.9.8.9"
	}
	if address != "" {
		if err := p.Address.UnmarshalText([]byte(address)); err != nil {
			panic(err)
		}
	}
	return p
}

const key = "a public key"

func prove(t *testing.T, s Subject, p identity.Peer, life time.Duration) attest.Evidence {
	t.Helper()
	e, err := s.Prove(p, life, []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// refused makes sure that evidence does not hold, and that nothing secret is told of it.
func refused(t *testing.T, s Subject, e attest.Evidence) {
	t.Helper()
	who, err := s.Attestor.Attest(t.Context(), e)
	if _, ok := errors.AsType[*attest.Refused](err); !ok || who != (attest.Attested{}) {
		t.Errorf("it is %s, %v; want it refused", who.Peer, err)
		return
	}
	for _, token := range []string{e.Token, e.ServiceAccount} {
		if token != "" && strings.Contains(err.Error(), token) {
			t.Errorf("the error tells the token: %v", err)
		}
	}
}

func accepted(t *testing.T, s Subject, e attest.Evidence, want identity.Peer) {
	t.Helper()
	who, err := s.Attestor.Attest(t.Context(), e)
	if err != nil || who.Peer != want || who.By == "" {
		t.Errorf("it is %s by %q, %v; want %s", who.Peer, who.By, err, want)
	}
}

// ownNames has peers that differ in one thing each.
func ownNames(t *testing.T, s Subject, _ *Clock) {
	peers := []identity.Peer{
		s.peer("reviews", "v1", "127.9.8.1"), s.peer("reviews", "v1", "127.9.8.2"), s.peer("reviews", "v1", ""), s.peer("reviews", "v2", ""),
		s.peer("ratings", "v1", ""), s.peer("reviews", "v1", "fd00::1"),
	}
	other := s.peer("reviews", "v1", "")
	other.ID.Account = "ratings"
	peers = append(peers, other)
	var evidence []attest.Evidence
	for _, p := range peers {
		e := prove(t, s, p, time.Hour)
		evidence = append(evidence, e)
		if s.Placed {
			accepted(t, s, e, p)
		}
	}
	for i, p := range peers {
		before := slices.ContainsFunc(peers[i+1:], func(o identity.Peer) bool { return o.Workload == p.Workload })
		if s.Placed && before {
			refused(t, s, evidence[i])
			continue
		}
		accepted(t, s, evidence[i], p)
	}
}

func noEvidence(t *testing.T, s Subject, _ *Clock) {
	for _, e := range []attest.Evidence{{}, {Key: []byte(key)}} {
		if who, err := s.Attestor.Attest(t.Context(), e); !errors.Is(err, attest.ErrNoEvidence) || who != (attest.Attested{}) {
			t.Errorf("it is %s, %v; want %v", who.Peer, err, attest.ErrNoEvidence)
		}
	}
}

func expires(t *testing.T, s Subject, clock *Clock) {
	p := s.peer("reviews", "v1", "")
	short, long := prove(t, s, p, time.Minute), prove(t, s, p, time.Hour)
	clock.Move(time.Minute - time.Second)
	last := prove(t, s, p, time.Second)
	accepted(t, s, last, p)
	clock.Move(2 * time.Second)
	refused(t, s, short)
	refused(t, s, last)
	accepted(t, s, long, p)
	clock.Move(time.Hour)
	refused(t, s, long)
}

// skewed has evidence given out while the clock was wrong by 5 minutes, and looked at when it is right.
func skewed(t *testing.T, s Subject, clock *Clock) {
	p := s.peer("reviews", "v1", "")
	for _, by := range []time.Duration{5 * time.Minute, -5 * time.Minute} {
		clock.Move(by)
		e := prove(t, s, p, 10*time.Minute)
		clock.Move(-by)
		accepted(t, s, e, p)
	}
}

func spoiled(t *testing.T, s Subject, _ *Clock) {
	good := prove(t, s, s.peer("reviews", "v1", "127.9.8.1"), time.Hour)
	bad := s.Spoil(good)
	if len(bad) == 0 {
		t.Error("nothing is spoiled")
	}
	for i, e := range bad {
		t.Run(fmt.Sprint(i), func(t *testing.T) { refused(t, s, e) })
	}
	accepted(t, s, good, s.peer("reviews", "v1", "127.9.8.1"))
}

func once(t *testing.T, s Subject, _ *Clock) {
	p := s.peer("reviews", "v1", "")
	e := prove(t, s, p, time.Hour)
	accepted(t, s, e, p)
	accepted(t, s, e, p) // the answer was lost, and the same sender asks again
	if s.Once {
		e.Key = []byte("another public key")
		refused(t, s, e)
	}
}

func outsiders(t *testing.T, s Subject, _ *Clock) {
	plane := identity.Peer{ID: identity.ControlPlane(TrustDomain), Workload: "lateen-0.lateen-system"}
	elsewhere := s.peer("reviews", "v1", "")
	elsewhere.ID.TrustDomain = "other.example"
	nobody := s.peer("reviews", "v1", "")
	nobody.Workload = ""
	for _, p := range []identity.Peer{plane, elsewhere, nobody} {
		if e, err := s.Prove(p, time.Hour, []byte(key)); err == nil {
			refused(t, s, e)
		}
	}
}

// crowd has many come at the same time: each is who it is, and evidence that counts once counts once.
func crowd(t *testing.T, s Subject, _ *Clock) {
	const many = 64
	var all sync.WaitGroup
	for i := range many {
		p := s.peer("reviews", fmt.Sprintf("v%d", i), "")
		e := prove(t, s, p, time.Hour)
		all.Go(func() { accepted(t, s, e, p) })
	}
	all.Wait()
	if !s.Once {
		return
	}
	p := s.peer("reviews", "v1", "")
	e := prove(t, s, p, time.Hour)
	var mu sync.Mutex
	taken := 0
	for i := range many {
		mine := e
		mine.Key = fmt.Appendf(nil, "public key %d", i)
		all.Go(func() {
			if _, err := s.Attestor.Attest(t.Context(), mine); err == nil {
				mu.Lock()
				defer mu.Unlock()
				taken++
			}
		})
	}
	all.Wait()
	if taken != 1 {
		t.Errorf("of %d who race for it %d have it", many, taken)
	}
}
