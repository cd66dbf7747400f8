package agent

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/identity"
)

const (
	modelTTL  = time.Hour
	seeds     = 4
	rotations = 250              // for each seed
	modelLoad = 10 * time.Second // the longest that an answer takes
)

// How the authority of the model behaves for a while.
const (
	good    = iota // it signs
	away           // nobody answers
	hangs          // nobody answers until the one who asks gives up
	loses          // it signs, and the answer is lost
	refuses        // it does not know who asks
	lies           // it sends what was not asked for
	behaviours
)

// model is one keeper, the real authority behind a bad network, and what must be true of them.
type model struct {
	t      *testing.T
	random *mathrand.Rand
	direct direct
	keeper *keeper

	mu        sync.Mutex // guards what follows, which the network and the user change
	behaviour int
	tokens    bool          // there are some
	offset    time.Duration // of the keeper's clock on the wall
	kept      []byte        // over a restart
	used      *credential

	attempts, failures, renewals, restarts, expired int
	ended                                           time.Time // the last attempt
	failed                                          bool      // it did
	stepped                                         bool      // the clock on the wall was set since
	inAttempt                                       bool
	begun                                           *credential // from the last success of this run; nil: none yet
}

// A keeper with the real authority, over a thousand rotations: the authority goes away, hangs, loses answers, refuses and lies,
// tokens run out, clocks are set, and the agent is restarted. No expired certificate is ever used, the keeper never stops
// trying, and both jitter and back-off stay within their bounds.
func TestModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := &model{t: t, random: mathrand.New(mathrand.NewPCG(seed, 7)), tokens: true}
				m.direct = newDirect(t, modelTTL)
				m.run()
			})
		})
	}
}

// run lives through what comes until there were enough rotations.
func (m *model) run() {
	for m.renewals < rotations && !m.t.Failed() {
		ctx, cancel := context.WithCancel(m.t.Context())
		done := make(chan struct{})
		m.keeper = m.newKeeper()
		m.mu.Lock()
		m.used, m.ended, m.failed, m.inAttempt, m.begun, m.stepped = nil, time.Now(), false, false, nil, false
		m.mu.Unlock()
		go func() {
			defer close(done)
			m.keeper.run(ctx)
		}()
		for range 1 + m.below(200) {
			<-time.After(m.below(10 * time.Minute))
			synctest.Wait()
			m.look()
		}
		cancel()
		<-done
		m.restarts++
	}
	m.t.Logf("%d rotations, %d attempts, %d failures, %d restarts, %d times without a certificate", m.renewals, m.attempts, m.failures, m.restarts, m.expired)
	if m.failures < rotations/10 || m.restarts < 3 || m.expired == 0 {
		m.t.Error("the model is too kind")
	}
}

// happen changes something.
func (m *model) happen() {
	switch m.random.IntN(20) {
	case 0, 1:
		m.behaviour = m.random.IntN(behaviours)
	case 2, 3, 4, 5, 6, 7:
		m.behaviour = good
	case 10:
		m.tokens = !m.tokens
	case 11:
		m.offset = time.Duration(m.random.Int64N(int64(20*time.Minute))) - 10*time.Minute
		m.stepped = true
	}
}

// look checks what must be true at any moment, and changes something.
func (m *model) look() {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.happen()
	now := time.Now()
	if m.used == nil {
		m.expired++
	}
	longest := time.Minute
	if !m.failed && m.used != nil {
		life := modelTTL + ca.Backdate // one that was kept is known by what it says
		longest = life/2 + life/20
	}
	if !m.inAttempt && now.Sub(m.ended) > longest+time.Second {
		m.t.Errorf("at %v there was no attempt since %v", now, m.ended)
	}
}

// expire checks that nobody uses a certificate of which the time is over.
func (m *model) expire(c *credential) {
	<-time.After(10 * time.Millisecond)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.used == c {
		m.t.Errorf("a certificate is used after %v", c.leaf().NotAfter)
	}
}

// begin notes that an attempt begins, unless it has begun, and checks that it is neither early nor late.
func (m *model) begin() {
	if m.inAttempt {
		return
	}
	m.inAttempt = true
	m.attempts++
	waited := time.Since(m.ended)
	switch {
	case m.failed && (waited < time.Second || waited > time.Minute):
		m.t.Errorf("attempt %v after a failure", waited)
	case !m.failed && m.begun != nil && !m.stepped:
		if least := modelTTL/2 - modelTTL/20; waited < least-modelLoad {
			m.t.Errorf("attempt %v after a success, %v at least", waited, least)
		}
	}
}

func (m *model) end(err error) {
	m.ended, m.failed, m.inAttempt = time.Now(), err != nil, false
	if err != nil {
		m.failures++
	}
}

func (m *model) newKeeper() *keeper {
	return &keeper{
		name: "web", workload: web.Workload, trustDomain: trustDomain, sign: m.sign, tokens: m.token,
		random: func() float64 { return m.below(time.Hour).Hours() }, log: slog.New(slog.DiscardHandler),
		clock: m.clock,
		load: func(trustDomain string) (*credential, error) {
			if m.kept == nil {
				return nil, nil //nolint:nilnil // none
			}
			m.mu.Lock()
			defer m.mu.Unlock()
			m.offset = 0 // whoever has just started has no other clock
			return parseCredential(trustDomain, m.kept)
		},
		save: func(c *credential) (err error) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.kept, err = c.text()
			return err
		},
		use: func(c *credential) error {
			m.mu.Lock()
			defer m.mu.Unlock()
			if c != nil && m.used != nil && c.key == m.used.key {
				m.t.Error("the key of the certificate before is used again")
			}
			m.used = c
			if c != nil {
				time.AfterFunc(time.Until(c.leaf().NotAfter), func() { m.expire(c) })
			}
			return nil
		},
		tell: func(Status) {},
	}
}

// clock is the one on the wall beside the keeper.
func (m *model) clock() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Now().Add(m.offset)
}

// below returns a random time below a bound.
func (m *model) below(d time.Duration) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Duration(m.random.Int64N(int64(d)))
}

// token is the [tokenSource].
func (m *model) token(context.Context) (string, error) {
	needed := m.keeper.good(m.keeper.now()) == 0
	m.mu.Lock()
	defer m.mu.Unlock()
	m.begin()
	if !m.tokens {
		if needed {
			m.end(errNoToken)
		}
		return "", errNoToken
	}
	return m.direct.token(web), nil
}

// sign is the [signer].
func (m *model) sign(ctx context.Context, r request) (c *credential, now time.Time, err error) {
	m.mu.Lock()
	m.begin()
	if r.token == "" && !time.Now().Before(r.current.leaf().NotAfter) {
		m.t.Errorf("asks at %v with a certificate that expired at %v", time.Now(), r.current.leaf().NotAfter)
	}
	behaviour, load := m.behaviour, time.Duration(m.random.Int64N(int64(modelLoad)))
	m.mu.Unlock()
	if behaviour == hangs {
		load = 2 * attemptBound
	}
	select {
	case <-time.After(load):
	case <-ctx.Done():
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	c, now, err = m.answer(ctx, r, behaviour)
	switch {
	case err != nil:
		m.end(err)
	case behaviour == lies:
		m.end(errors.New("a lie"))
	default:
		m.end(nil)
		m.renewals++
		m.begun, m.stepped = c, false
	}
	return c, now, err
}

// answer returns what comes of a request.
func (m *model) answer(ctx context.Context, r request, behaviour int) (c *credential, now time.Time, err error) {
	switch {
	case ctx.Err() != nil:
		return nil, now, status.FromContextError(ctx.Err()).Err()
	case behaviour == away:
		return nil, now, status.Error(codes.Unavailable, "nobody there")
	case behaviour == refuses:
		return nil, now, status.Error(codes.Unauthenticated, "who are you")
	}
	c, now, err = m.direct.sign(ctx, r)
	switch {
	case err != nil:
	case behaviour == loses:
		return nil, now, status.Error(codes.Unavailable, "the answer is lost")
	case behaviour == lies:
		c = m.lie(ctx, c, r.key)
	}
	return c, now, err
}

// lie returns something that must not be taken.
func (m *model) lie(ctx context.Context, c *credential, key crypto.Signer) *credential {
	switch m.random.IntN(3) {
	case 0: // for another key
		key, err := newKey()
		if err != nil {
			m.t.Fatal(err)
		}
		other, _, err := m.direct.sign(ctx, request{key: key, token: m.direct.token(web)})
		if err != nil {
			return &credential{}
		}
		return other
	case 1: // for somebody else
		other := web
		other.Workload = "web-v1-1.default"
		signed, _, err := m.direct.sign(ctx, request{key: key, token: m.direct.token(other)})
		if err != nil {
			return &credential{}
		}
		return signed
	default: // without a root
		return &credential{chain: c.chain, roots: identity.Bundle{TrustDomain: trustDomain}}
	}
}
