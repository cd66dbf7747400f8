package attest_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/attest"
	"github.com/lateen-mesh/lateen/internal/attest/attesttest"
	"github.com/lateen-mesh/lateen/internal/disk"
	"github.com/lateen-mesh/lateen/internal/identity"
	"github.com/lateen-mesh/lateen/internal/identity/identitytest"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// openTokens returns the tokens that are kept in a folder.
func openTokens(t testing.TB, dir string, root *x509.Certificate, now func() time.Time) *attest.Tokens {
	t.Helper()
	folder, err := disk.Open(dir)
	must(t, err)
	t.Cleanup(func() { must(t, folder.Close()) })
	return attest.OpenTokens(attest.TokensConfig{
		Folder: folder, TrustDomain: attesttest.TrustDomain, Now: now, Log: slog.New(slog.DiscardHandler),
		Pin: func() attest.Pin { return attest.PinOf(root) },
	})
}

func TestTokensConform(t *testing.T) {
	t.Parallel()
	attesttest.Run(t, func(t *testing.T, clock *attesttest.Clock) attesttest.Subject {
		root := identitytest.New(t, attesttest.TrustDomain, clock.Now())
		return tokensSubject(openTokens(t, t.TempDir(), root.Cert, clock.Now))
	})
}

func tokensSubject(tokens *attest.Tokens) attesttest.Subject {
	return attesttest.Subject{
		Attestor: tokens,
		Once:     true,
		Prove: func(p identity.Peer, life time.Duration, key []byte) (attest.Evidence, error) {
			token, _, err := tokens.Issue(p, life)
			return attest.Evidence{Token: token.Reveal(), Key: key}, err
		},
		Spoil: func(e attest.Evidence) []attest.Evidence {
			var bad []attest.Evidence
			for _, text := range []string{
				"x", "lateen1.a", "lateen1..", e.Token[:len(e.Token)-1], e.Token + "A", e.Token + ".", "L" + e.Token[1:],
				flip(e.Token, len("lateen1.")), flip(e.Token, len(e.Token)-20), e.Token + "\x00", string(bytes.Repeat([]byte("a"), 1<<20)),
			} {
				bad = append(bad, attest.Evidence{Token: text, Key: e.Key})
			}
			return bad
		},
	}
}

// flip makes one letter of a text another one.
func flip(text string, at int) string {
	b := []byte(text)
	if b[at] == 'A' {
		b[at] = 'B'
	} else {
		b[at] = 'A'
	}
	return string(b)
}

func TestCertificateConforms(t *testing.T) {
	t.Parallel()
	attesttest.Run(t, func(t *testing.T, clock *attesttest.Clock) attesttest.Subject {
		root := identitytest.New(t, attesttest.TrustDomain, clock.Now())
		return certificateSubject(t, root, attest.NewCertificate(root.Bundle, clock.Now), clock)
	})
}

func certificateSubject(t *testing.T, root *identitytest.Authority, a attest.Attestor, clock *attesttest.Clock) attesttest.Subject {
	prove := func(p identity.Peer, change ...func(*x509.Certificate)) attest.Evidence {
		return attest.Evidence{Chain: identitytest.Chain(t, root.Leaf(t, p, change...))}
	}
	return attesttest.Subject{
		Attestor: a,
		Prove: func(p identity.Peer, life time.Duration, key []byte) (attest.Evidence, error) {
			now := clock.Now()
			e := prove(p, identitytest.From(now.Add(-10*time.Minute)), identitytest.Until(now.Add(life)))
			e.Key = key
			return e, nil
		},
		Spoil: func(e attest.Evidence) []attest.Evidence {
			leaf := e.Chain[0]
			p, err := identity.PeerOf(leaf)
			must(t, err)
			unsigned := bytes.Clone(leaf.Raw)
			unsigned[len(unsigned)-1] ^= 1
			damaged, err := x509.ParseCertificate(unsigned)
			must(t, err)
			return []attest.Evidence{
				{Chain: []*x509.Certificate{damaged}},
				{Chain: identitytest.Chain(t, identitytest.New(t, attesttest.TrustDomain, clock.Now()).Leaf(t, p))},
				{Chain: []*x509.Certificate{root.Cert}},
				prove(p, func(c *x509.Certificate) { c.URIs = append(c.URIs, c.URIs[0]) }),
				prove(p, func(c *x509.Certificate) { c.DNSNames = nil; c.IPAddresses = nil }),
				prove(p, func(c *x509.Certificate) { c.DNSNames = []string{"lateen", "localhost"} }),
				prove(p, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }),
				prove(p, identitytest.From(clock.Now().Add(time.Minute))),
			}
		},
	}
}

// The combination passes as well, whichever of its parts the evidence is for.
func TestFirstConforms(t *testing.T) {
	t.Parallel()
	for _, token := range []bool{true, false} {
		t.Run(map[bool]string{true: "token", false: "certificate"}[token], func(t *testing.T) {
			t.Parallel()
			attesttest.Run(t, func(t *testing.T, clock *attesttest.Clock) attesttest.Subject {
				root := identitytest.New(t, attesttest.TrustDomain, clock.Now())
				tokens := openTokens(t, t.TempDir(), root.Cert, clock.Now)
				both := attest.First(tokens, attest.NewCertificate(root.Bundle, clock.Now))
				s := certificateSubject(t, root, both, clock)
				if token {
					s = tokensSubject(tokens)
					s.Attestor = both
				}
				return s
			})
		})
	}
}

// A token that does not hold is not made up for by a certificate, and one that holds says who it is.
func TestTokenGoesFirst(t *testing.T) {
	t.Parallel()
	clock := attesttest.NewClock()
	root := identitytest.New(t, attesttest.TrustDomain, clock.Now())
	tokens := openTokens(t, t.TempDir(), root.Cert, clock.Now)
	both := attest.First(tokens, attest.NewCertificate(root.Bundle, clock.Now))
	reviews, ratings := identitytest.Peer(attesttest.TrustDomain, "reviews", ""), identitytest.Peer(attesttest.TrustDomain, "ratings", "")
	token, _, err := tokens.Issue(ratings, 0)
	must(t, err)
	e := attest.Evidence{Token: token.Reveal(), Chain: identitytest.Chain(t, root.Leaf(t, reviews)), Key: []byte("1")}
	if who, err := both.Attest(t.Context(), e); err != nil || who != (attest.Attested{Peer: ratings, By: attest.ByToken}) {
		t.Errorf("it is %+v, %v", who, err)
	}
	e.Key = []byte("2")
	if who, err := both.Attest(t.Context(), e); err == nil {
		t.Errorf("with a token that was used it is %+v", who)
	}
	e.Token = ""
	if who, err := both.Attest(t.Context(), e); err != nil || who != (attest.Attested{Peer: reviews, By: attest.ByCertificate}) {
		t.Errorf("without a token it is %+v, %v", who, err)
	}
}

type failing struct{ error }

func (f failing) Attest(context.Context, attest.Evidence) (attest.Attested, error) {
	return attest.Attested{}, f.error
}

// An attestor that cannot tell now is not passed over.
func TestFirstStopsAtAFailure(t *testing.T) {
	t.Parallel()
	broken := errors.New("the disk is full")
	if _, err := attest.First(failing{attest.ErrNoEvidence}, failing{broken}, failing{attest.ErrNoEvidence}).Attest(t.Context(), attest.Evidence{}); !errors.Is(err, broken) {
		t.Errorf("the error is %v", err)
	}
	if _, err := attest.First().Attest(t.Context(), attest.Evidence{}); !errors.Is(err, attest.ErrNoEvidence) {
		t.Errorf("of nobody the error is %v", err)
	}
}

// A certificate that holds is renewed only as long as its workload is what it was. What else it would be good for is not asked.
func TestRenewalAsksForTheWorkload(t *testing.T) {
	t.Parallel()
	clock := attesttest.NewClock()
	root := identitytest.New(t, attesttest.TrustDomain, clock.Now())
	a := attest.NewCertificate(root.Bundle, clock.Now)
	reviews := identitytest.Peer(attesttest.TrustDomain, "reviews", "127.9.8.1")
	var asked []identity.Peer
	var gone error
	a.Known = func(p identity.Peer) error { asked = append(asked, p); return gone }
	e := attest.Evidence{Chain: identitytest.Chain(t, root.Leaf(t, reviews)), Key: []byte("1")}
	for _, gone = range []error{nil, errors.New("it has left"), nil} {
		who, err := a.Attest(t.Context(), e)
		refused, ok := errors.AsType[*attest.Refused](err)
		if gone == nil && (err != nil || who.Peer != reviews) || gone != nil && (!ok || !strings.Contains(refused.Why, "it has left") || who != (attest.Attested{})) {
			t.Errorf("%v: it is %+v, %v", gone, who, err)
		}
	}
	other := identitytest.New(t, attesttest.TrustDomain, clock.Now())
	if _, err := a.Attest(t.Context(), attest.Evidence{Chain: identitytest.Chain(t, other.Leaf(t, reviews))}); err == nil {
		t.Error("a certificate of another root is renewed")
	}
	if len(asked) != 3 || asked[0] != reviews {
		t.Errorf("asked is for %v", asked)
	}
}
