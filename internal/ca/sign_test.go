package ca_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/lateen-mesh/lateen/internal/attest"
	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/identity"
	"github.com/lateen-mesh/lateen/internal/identity/identitytest"
)

func rsaKey(t testing.TB, bits int) crypto.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	must(t, err)
	return key
}

func ecdsaKey(t testing.TB, curve elliptic.Curve) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	must(t, err)
	return key
}

// What a workload gets, whatever key it has, is what SPIFFE, OpenSSL and we take for a certificate of that workload.
func TestLeaf(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, test := range []struct {
		name string
		key  crypto.Signer
		peer identity.Peer
	}{
		{"P-256", ecdsaKey(t, elliptic.P256()), identitytest.Peer(domain, "reviews", "127.9.8.1")},
		{"P-384", ecdsaKey(t, elliptic.P384()), identitytest.Peer(domain, "reviews", "fd00::1")},
		{"RSA", rsaKey(t, 2048), identitytest.Peer(domain, "reviews", "")},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			chain, err := r.Sign(t.Context(), newCSR(t, test.key, x509.CertificateRequest{}), attest.Attested{Peer: test.peer, By: attest.ByToken})
			must(t, err)
			if len(chain) != 1 {
				t.Errorf("the chain has %d certificates; a root has signed it", len(chain))
			}
			checkLeaf(t, r, chain[0], test.peer)
			checkWithOthers(t, r.Bundle(), chain, test.peer, test.key)
			if got, err := r.Bundle().Verify(chain, r.clock.Now()); err != nil || got != test.peer {
				t.Errorf("it speaks for %s, %v", got, err)
			}
		})
	}
}

// checkLeaf looks at what docs/reference/interfaces.md promises.
func checkLeaf(t *testing.T, r *rig, c *x509.Certificate, p identity.Peer) {
	t.Helper()
	now := r.clock.Now()
	critical := false
	for _, e := range c.Extensions {
		if e.Id.String() == "2.5.29.17" {
			critical = e.Critical
		}
	}
	names := len(c.URIs) == 1 && c.URIs[0].String() == p.ID.String() && len(c.DNSNames) == 1 && c.DNSNames[0] == p.Workload
	addresses := len(c.IPAddresses) == 0
	if p.Address.IsValid() {
		addresses = len(c.IPAddresses) == 1 && c.IPAddresses[0].String() == p.Address.String()
	}
	use := len(c.ExtKeyUsage) == 2 && c.KeyUsage == x509.KeyUsageDigitalSignature && !c.IsCA
	times := now.Sub(c.NotBefore).Round(2*time.Second) == 10*time.Minute && c.NotAfter.Sub(now).Round(2*time.Second) == 24*time.Hour
	if !names || !addresses || !use || !times || !critical || len(c.Subject.Names) > 0 {
		t.Errorf("names %t, addresses %t, use %t, times %t, critical names %t, subject %q", names, addresses, use, times, critical, c.Subject)
	}
}

// checkWithOthers has go-spiffe and OpenSSL look at a chain, at the time of now.
func checkWithOthers(t *testing.T, trust identity.Bundle, chain []*x509.Certificate, p identity.Peer, key crypto.Signer) {
	t.Helper()
	bundle := x509bundle.FromX509Authorities(spiffeid.RequireTrustDomainFromString(domain), trust.Roots)
	if id, _, err := x509svid.Verify(chain, bundle); err != nil || id.String() != p.ID.String() {
		t.Errorf("go-spiffe reads %s, %v", id, err)
	}
	if svid, err := x509svid.Parse(identitytest.PEM(chain...), identitytest.KeyPEM(t, key)); err != nil || svid.ID.String() != p.ID.String() {
		t.Errorf("go-spiffe parses %v, %v", svid, err)
	}
	if err := opensslVerify(t, trust, chain); err != nil {
		t.Errorf("openssl verify: %v", err)
	}
}

// OpenSSL's own requests are taken, and it refuses what it should.
func TestOpenSSL(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	dir := t.TempDir()
	key, csr := filepath.Join(dir, "key.pem"), filepath.Join(dir, "csr.pem")
	p := identitytest.Peer(domain, "reviews", "127.9.8.1")
	names := "subjectAltName=URI:" + p.ID.String() + ",DNS:" + p.Workload + ",IP:" + p.Address.String()
	if out, err := openssl(t, "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", csr,
		"-subj", "/", "-addext", names); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text, err := os.ReadFile(csr)
	must(t, err)
	block, _ := pem.Decode(text)
	chain, err := r.Sign(t.Context(), block.Bytes, attest.Attested{Peer: p, By: attest.ByToken})
	must(t, err)
	must(t, opensslVerify(t, r.Bundle(), chain))
	other := newRig(t)
	if err := opensslVerify(t, other.Bundle(), chain); err == nil {
		t.Error("openssl verifies it by another root")
	}
	if err := opensslVerify(t, r.Bundle(), chain, "-attime", "4102444800"); err == nil {
		t.Error("openssl verifies it in the year 2100")
	}
}

// Clocks that are wrong by 5 minutes, the authority's or a workload's, are in nobody's way.
func TestClockSkew(t *testing.T) {
	t.Parallel()
	for _, skew := range []time.Duration{-5 * time.Minute, 0, 5 * time.Minute} {
		r := newRig(t)
		r.clock.move(skew)
		chain := r.leafFor(t, identitytest.Peer(domain, "reviews", "")).Leaf
		for _, theirs := range []time.Duration{-5 * time.Minute, 0, 5 * time.Minute} {
			at := time.Now().Add(theirs)
			if _, err := r.Bundle().Verify([]*x509.Certificate{chain}, at); err != nil {
				t.Errorf("the authority is %s off, a workload %s: %v", skew, theirs, err)
			}
		}
	}
}

// A certificate never holds longer than those above it, and there is none when they have ended.
func TestLeafEndsWithTheAuthority(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	end := r.Bundle().Roots[0].NotAfter
	r.clock.move(end.Sub(r.clock.Now()) - time.Hour)
	if got := r.leafFor(t, identitytest.Peer(domain, "reviews", "")).Leaf.NotAfter; !got.Equal(end) {
		t.Errorf("it ends at %s, the root at %s", got, end)
	}
	if problem := r.Status().Problem; !strings.Contains(problem, "ends at") {
		t.Errorf("the problem is %q", problem)
	}
	r.clock.move(time.Hour + time.Second)
	chain, err := r.Sign(t.Context(), newCSR(t, identitytest.NewKey(t), x509.CertificateRequest{}),
		attest.Attested{Peer: identitytest.Peer(domain, "reviews", "")})
	if err == nil || chain != nil {
		t.Errorf("after the end of the root there is %v, %v", chain, err)
	}
}

func TestTTL(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *ca.Config) { c.TTL = time.Hour })
	if got := r.leafFor(t, identitytest.Peer(domain, "reviews", "")).Leaf.NotAfter.Sub(r.clock.Now()).Round(2 * time.Second); got != time.Hour {
		t.Errorf("it holds for %s", got)
	}
	for _, ttl := range []time.Duration{-1, time.Second, 31 * 24 * time.Hour} {
		if _, err := ca.Open(ca.Config{State: t.TempDir(), TrustDomain: domain, TTL: ttl}); err == nil || !strings.Contains(err.Error(), "10s to 720h") {
			t.Errorf("%s: %v", ttl, err)
		}
	}
	if _, err := ca.Open(ca.Config{State: t.TempDir(), TrustDomain: "No Domain"}); err == nil {
		t.Error("any text is a trust domain")
	}
}

// Nobody is signed for whom no certificate is, however the attestor came to it.
func TestNobodyIsSigned(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	good := identitytest.Peer(domain, "reviews", "")
	nobody, foreign, odd, plane := good, good, good, good
	nobody.Workload = ""
	foreign.ID.TrustDomain = "other.example"
	odd.ID.Account = "../x"
	plane.ID = identity.ControlPlane(domain)
	plane.Workload = "lateen-0.lateen-system"
	csr := newCSR(t, identitytest.NewKey(t), x509.CertificateRequest{})
	for _, p := range []identity.Peer{{}, nobody, foreign, odd, plane} {
		chain, err := r.Sign(t.Context(), csr, attest.Attested{Peer: p, By: attest.ByToken})
		if _, ok := errors.AsType[*ca.Refusal](err); err == nil || ok || chain != nil {
			t.Errorf("%s: %v, %v", p, chain, err)
		}
	}
	if issued := r.Status().Issued[attest.ByToken]; issued != 0 {
		t.Errorf("%d are counted", issued)
	}
}
