package agent

import (
	"context"
	"crypto"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/identity"
)

// bench is a keeper that a test watches. Its hooks see what it asks and decide what comes of it.
type bench struct {
	direct direct
	keeper *keeper
	log    strings.Builder

	mu     sync.Mutex
	asked  []request
	used   []*credential
	saved  []*credential
	told   Status
	answer func(context.Context, request) (*credential, time.Time, error) // nil: that of the authority
	kept   func(*credential) error                                        // nil: it can be kept
	token  string                                                         // "": always a fresh one
}

// newBench makes a keeper with an authority. Its certificates are good for an hour.
func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{direct: newDirect(t, time.Hour)}
	b.keeper = &keeper{
		name: "web", workload: web.Workload, trustDomain: trustDomain, clock: time.Now, random: func() float64 { return 0.5 },
		log: slog.New(slog.NewTextHandler(&b.log, nil)),
		tokens: func(context.Context) (string, error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			if b.token != "" {
				return b.token, nil
			}
			return b.direct.token(web), nil
		},
		load: func(string) (*credential, error) { return nil, nil },
		sign: func(ctx context.Context, r request) (*credential, time.Time, error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.asked = append(b.asked, r)
			if b.answer != nil {
				return b.answer(ctx, r)
			}
			return b.direct.sign(ctx, r)
		},
		use: func(c *credential) error {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.used = append(b.used, c)
			return nil
		},
		save: func(c *credential) error {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.saved = append(b.saved, c)
			if b.kept != nil {
				return b.kept(c)
			}
			return nil
		},
		tell: func(s Status) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.told = s
		},
	}
	return b
}

// run runs the keeper until the test ends, and returns when it has nothing to do.
func (b *bench) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { b.keeper.run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	synctest.Wait()
}

// change changes what comes of what is asked.
func (b *bench) change(answer func(context.Context, request) (*credential, time.Time, error)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answer = answer
}

// pass lets time pass.
func (b *bench) pass(d time.Duration) {
	b.mu.Lock()   // what the test has looked at, or changed, comes before what the keeper does next
	b.mu.Unlock() //nolint:staticcheck // as above
	<-time.After(d)
	synctest.Wait()
}

// refuse is an answer with an error.
func refuse(code codes.Code, text string) func(context.Context, request) (*credential, time.Time, error) {
	return func(context.Context, request) (*credential, time.Time, error) {
		return nil, time.Time{}, status.Error(code, text)
	}
}

// A certificate for an address that the workload has no more is not used: the control plane has yet to hear of the new one, and is asked again.
func TestCertificateForAnotherAddress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		moved := web
		moved.Address = netip.MustParseAddr("127.1.2.3")
		if moved.Address == web.Address {
			t.Fatal("the workload has not moved")
		}
		b.keeper.address = moved.Address
		known := web
		b.keeper.tokens = func(context.Context) (string, error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.direct.token(known), nil
		}
		b.run(t)
		if len(b.asked) != 1 || len(b.used) > 0 || !strings.Contains(b.told.LastError, "is for the address "+web.Address.String()+", and this is 127.1.2.3") {
			t.Fatalf("asked %d times, used %v, told %q", len(b.asked), b.used, b.told.LastError)
		}
		b.mu.Lock()
		known = moved
		b.mu.Unlock()
		b.pass(time.Minute)
		if len(b.used) != 1 || b.used[0].peer != moved || b.told.LastError != "" {
			t.Errorf("used %v, told %q", b.used, b.told.LastError)
		}
	})
}

// The first certificate comes by a token, the next ones by the certificate before, each at half of its life and with a key of
// its own.
func TestRenewal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.run(t)
		if len(b.asked) != 1 || b.asked[0].token == "" || len(b.used) != 1 || b.used[0].peer != web {
			t.Fatalf("asked %d times, used %v", len(b.asked), b.used)
		}
		b.pass(30*time.Minute - time.Second)
		if len(b.asked) != 1 {
			t.Error("it is renewed before half of its life")
		}
		b.pass(2 * time.Second)
		if len(b.asked) != 2 || b.asked[1].token != "" || b.asked[1].current != b.used[0] {
			t.Fatalf("asked %d times", len(b.asked))
		}
		if len(b.used) != 2 || b.used[1].key == b.used[0].key || b.saved[1] != b.used[1] {
			t.Error("the second certificate is not used, not kept, or has the key of the first")
		}
		if s := b.told; s.Renewals != 2 || s.Failures != 0 || s.LastError != "" || s.Identity != web.ID.String() ||
			!s.NotAfter.Equal(b.used[1].leaf().NotAfter) || !s.RenewAt.After(time.Now().Add(29*time.Minute)) {
			t.Errorf("it tells %+v", s)
		}
	})
}

// An authority that is away is asked again and again, and the certificate stays in use until its last moment. Then it is
// withdrawn, and by a token there is a new one.
func TestAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.run(t)
		first := b.used[0]
		b.change(refuse(codes.Unavailable, "nobody there"))
		b.pass(time.Until(first.leaf().NotAfter) - time.Second)
		if n := len(b.asked); n < 30 || n > 80 {
			t.Errorf("in the second half of an hour it was asked %d times", n)
		}
		if len(b.used) != 1 || !strings.Contains(b.told.LastError, "nobody there") || b.told.LastErrorAt.IsZero() {
			t.Errorf("used %v, told %+v", b.used, b.told)
		}
		b.pass(2 * time.Second)
		if len(b.used) != 2 || b.used[1] != nil {
			t.Fatal("an expired certificate is in use")
		}
		b.change(nil)
		b.pass(3 * time.Minute) // the token that it holds is too old by now
		if len(b.used) != 3 || b.used[2] == nil || b.asked[len(b.asked)-1].token == "" || b.told.LastError != "" {
			t.Errorf("used %v, told %+v", b.used, b.told)
		}
		if n := strings.Count(b.log.String(), "certificate expired"); n != 1 {
			t.Errorf("that it expired is logged %d times", n)
		}
	})
}

// A certificate that the authority does not take makes way for a token, if there is one.
func TestCertificateRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.run(t)
		b.change(func(ctx context.Context, r request) (*credential, time.Time, error) {
			if r.token == "" {
				return nil, time.Time{}, status.Error(codes.Unauthenticated, "who are you")
			}
			return b.direct.sign(ctx, r)
		})
		b.pass(31 * time.Minute)
		if len(b.asked) != 3 || b.asked[1].token != "" || b.asked[2].token == "" || len(b.used) != 2 {
			t.Errorf("asked %d times, used %d certificates", len(b.asked), len(b.used))
		}
		b.keeper.tokens = nil
		b.change(refuse(codes.Unauthenticated, "who are you"))
		before := len(b.asked)
		b.pass(40 * time.Minute)
		if len(b.asked) < before+3 || b.asked[len(b.asked)-1].token != "" {
			t.Error("without tokens it stops asking")
		}
	})
}

// While an answer may have been lost, or the authority is busy, the same token comes with the same key again; and the certificate
// is not taken for refused.
func TestNoAnswer(t *testing.T) {
	t.Parallel()
	for _, code := range []codes.Code{codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t)
			b.answer = func(ctx context.Context, r request) (*credential, time.Time, error) {
				if _, _, err := b.direct.sign(ctx, r); err != nil {
					t.Error(err)
				}
				return nil, time.Time{}, status.Error(code, "not now")
			}
			b.run(t)
			b.change(nil)
			b.pass(2 * time.Second)
			if len(b.asked) != 2 || b.asked[0].token != b.asked[1].token || b.asked[0].key != b.asked[1].key || len(b.used) != 1 {
				t.Errorf("%v: asked %d times, used %v", code, len(b.asked), b.used)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.run(t)
		b.change(refuse(codes.ResourceExhausted, "not now"))
		b.pass(35 * time.Minute)
		for i, r := range b.asked[1:] {
			if r.token != "" {
				t.Errorf("after %d times of being busy it is asked with a token", i)
			}
		}
	})
}

// A token that was refused is not tried again, and what is told says why it was.
func TestSpentToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.token = b.direct.token(web)
		b.answer = refuse(codes.Unauthenticated, "it is too old")
		b.run(t)
		b.pass(time.Hour)
		if len(b.asked) != 1 || b.told.Failures < 60 || !strings.Contains(b.told.LastError, "it is too old") {
			t.Errorf("asked %d times, told %+v", len(b.asked), b.told)
		}
		b.change(nil)
		b.token = b.direct.token(web)
		b.pass(time.Minute)
		if len(b.used) != 1 {
			t.Error("a new token is not taken")
		}
	})
}

// An answer that quotes the token gets it neither into the log nor into the status.
func TestTokenIsHidden(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		var tokens []string
		b.answer = func(_ context.Context, r request) (*credential, time.Time, error) {
			tokens = append(tokens, r.token)
			secret := r.token[strings.LastIndex(r.token, ".")+1:]
			return nil, time.Time{}, status.Errorf(codes.Unauthenticated, "%s, that is %s: no", r.token, secret)
		}
		b.run(t)
		b.pass(10 * time.Minute)
		if len(tokens) < 5 {
			t.Fatalf("asked %d times", len(tokens))
		}
		for _, token := range tokens {
			secret := token[strings.LastIndex(token, ".")+1:]
			if strings.Contains(b.log.String(), secret) || strings.Contains(b.told.LastError, secret) {
				t.Errorf("the secret of a token is told: %s\n%s", b.told.LastError, b.log.String())
			}
		}
		if !strings.Contains(b.told.LastError, "(the token)") {
			t.Errorf("told %q", b.told.LastError)
		}
	})
}

// opaque is a key that can do nothing but sign.
type opaque struct{ key crypto.Signer }

func (o opaque) Public() crypto.PublicKey { return o.key.Public() }

func (o opaque) Sign(random io.Reader, digest []byte, options crypto.SignerOpts) ([]byte, error) {
	return o.key.Sign(random, digest, options)
}

// A certificate is had, and renewed, for a key that nobody can read.
func TestKeyStaysHere(t *testing.T) {
	t.Parallel()
	at := newPlane(t, 0)
	c := Config{ControlPlane: at.address, TrustDomain: trustDomain, Clock: time.Now}
	sign, err := newSigner(&c)
	if err != nil {
		t.Fatal(err)
	}
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []request{{key: opaque{key}, token: at.token(web)}, {key: opaque{key}}} {
		if r.token == "" {
			r.current = &credential{key: opaque{key}, roots: at.authority.Bundle()}
			first, _, err := sign(t.Context(), request{key: opaque{key}, token: at.token(web)})
			if err != nil {
				t.Fatal(err)
			}
			r.current.chain = first.chain
		}
		got, _, err := sign(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		got.key = r.key
		if err := got.check(web.Workload, time.Now()); err != nil || got.peer != web {
			t.Errorf("%+v, %v", got.peer, err)
		}
		if _, err := got.keyPEM(); err == nil {
			t.Error("this key can be read")
		}
	}
}

// A host whose clock is wrong by days gets its certificate renewed: it knows what the authority's clock shows.
func TestRenewalWithWrongClock(t *testing.T) {
	t.Parallel()
	at := newPlane(t, 0)
	const ahead = 72 * time.Hour
	c := Config{ControlPlane: at.address, TrustDomain: trustDomain, Clock: func() time.Time { return time.Now().Add(ahead) }}
	sign, err := newSigner(&c)
	if err != nil {
		t.Fatal(err)
	}
	current := direct{t: t, authority: at.authority, service: ca.NewService(at.authority, at.authority.Attestor())}.credential(web)
	if _, _, err := sign(t.Context(), request{key: current.key, current: current}); err == nil {
		t.Error("a control plane whose certificate has expired is taken")
	}
	current.skew = -ahead
	if _, _, err := sign(t.Context(), request{key: current.key, current: current}); err != nil {
		t.Error(err)
	}
}

// A certificate that cannot be kept for the next run is used nevertheless; it is tried again without asking for another.
func TestUnkept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.kept = func(*credential) error { return errors.New("disk full") }
		b.run(t)
		if len(b.used) != 1 || !strings.Contains(b.told.LastError, "disk full") {
			t.Fatalf("used %v, told %+v", b.used, b.told)
		}
		b.mu.Lock()
		b.kept = nil
		b.mu.Unlock()
		b.pass(2 * time.Minute)
		if len(b.saved) < 2 || b.saved[len(b.saved)-1] != b.used[0] || len(b.asked) != 1 || b.told.LastError != "" {
			t.Errorf("saved %v, asked %d times, told %+v", b.saved, len(b.asked), b.told)
		}
	})
}

// What an earlier run has kept is used at once, and renewed at half of its life. What is for another workload is not.
func TestResume(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		kept := b.direct.credential(web)
		b.keeper.load = func(string) (*credential, error) { return kept, nil }
		b.pass(20 * time.Minute)
		b.run(t)
		if len(b.asked) != 0 || len(b.used) != 1 || b.used[0] != kept {
			t.Fatalf("asked %d times, used %v", len(b.asked), b.used)
		}
		b.pass(11 * time.Minute)
		if len(b.asked) != 1 || b.asked[0].current != kept || b.asked[0].token != "" {
			t.Errorf("asked %+v", b.asked)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		other := web
		other.Workload = "web-v1-1.default"
		b.keeper.load = func(string) (*credential, error) { return b.direct.credential(other), nil }
		b.run(t)
		if len(b.asked) != 1 || b.asked[0].token == "" || len(b.used) != 1 || b.used[0].peer != web {
			t.Errorf("asked %+v, used %v", b.asked, b.used)
		}
	})
}

// What an earlier run has kept is taken up as soon as the clock says that it is good, and what is told says why it was not.
func TestResumeLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		kept := b.direct.credential(web)
		begin := time.Now()
		b.keeper.load = func(string) (*credential, error) { return kept, nil }
		b.keeper.clock = func() time.Time {
			if time.Since(begin) < 5*time.Minute {
				return time.Unix(0, 0)
			}
			return time.Now()
		}
		b.keeper.tokens = nil
		b.run(t)
		if len(b.used) != 0 || !strings.Contains(b.told.LastError, "not yet valid") || !strings.Contains(b.told.LastError, errNoToken.Error()) {
			t.Errorf("used %v, told %+v", b.used, b.told)
		}
		b.pass(7 * time.Minute)
		if len(b.used) != 1 || b.used[0] != kept || len(b.asked) != 0 || b.told.LastError != "" {
			t.Errorf("with the right clock: used %v, asked %d times, told %+v", b.used, len(b.asked), b.told)
		}
	})
}

// A clock that is wrong puts nothing off: the authority's counts, and what it is ahead is told.
func TestWrongClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.keeper.clock = func() time.Time { return time.Now().Add(-5 * time.Minute) }
		b.run(t)
		if len(b.used) != 1 || b.told.SkewSeconds != 300 {
			t.Errorf("used %v, told a skew of %v s", b.used, b.told.SkewSeconds)
		}
		b.pass(31 * time.Minute)
		if len(b.used) != 2 {
			t.Error("it was not renewed")
		}
	})
}

// What is told of a certificate is what it says.
func TestDescribe(t *testing.T) {
	t.Parallel()
	d := newDirect(t, 0)
	var s Status
	c := d.credential(web)
	s.describe(c, time.Now())
	roots, err := identity.ParseBundle(trustDomain, []byte(s.Roots))
	if err != nil || !roots.Equal(d.authority.Bundle()) || s.Workload != web.Workload || s.Address != web.Address.String() {
		t.Errorf("%v, %+v", err, s)
	}
}
