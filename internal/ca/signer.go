package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lateen-mesh/lateen/internal/identity"
)

// signer is what certificates are signed with. It does not change.
type signer struct {
	cert  *x509.Certificate // that signs
	key   crypto.Signer
	chain []*x509.Certificate // from the one that signs up to the root, without it; empty when the root signs
	roots []*x509.Certificate // that the trust domain trusts
	top   *x509.Certificate   // the one of them that the chain leads to

	trusted, between *x509.CertPool // roots and chain, for verifying what was signed
}

// root returns the root that the chain leads to.
func (s *signer) root() *x509.Certificate { return s.top }

// ends returns the moment at which the first certificate of the chain ends: none that is signed may hold longer.
func (s *signer) ends() time.Time {
	end := s.top.NotAfter
	for _, c := range append([]*x509.Certificate{s.cert}, s.chain...) {
		if c.NotAfter.Before(end) {
			end = c.NotAfter
		}
	}
	return end
}

// newSigner puts together what belongs together, or says why it does not: the certificate that signs, its key, those between
// it and a root, in any order and maybe with more than that, and the roots.
func newSigner(cert *x509.Certificate, key crypto.Signer, between []*x509.Certificate, trust identity.Bundle, now time.Time) (*signer, error) {
	if err := checkAuthorityKey(key.Public()); err != nil {
		return nil, err
	}
	if public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(cert.PublicKey) {
		return nil, errors.New("the key is not that of the certificate")
	}
	if !cert.IsCA || !cert.BasicConstraintsValid || cert.KeyUsage&x509.KeyUsageCertSign == 0 {
		return nil, fmt.Errorf("the certificate %s may not sign others", cert.Subject)
	}
	if len(cert.SubjectKeyId) == 0 {
		return nil, fmt.Errorf("the certificate %s has no subject key identifier, by which those that it signs name it (RFC 5280, 4.2.1.2)", cert.Subject)
	}
	if err := trust.Check(); err != nil {
		return nil, err
	}
	trusted := pool(trust.Roots)
	chains, err := cert.Verify(x509.VerifyOptions{
		Roots: trusted, Intermediates: pool(between), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return nil, fmt.Errorf("the certificate %s: %w", cert.Subject, err)
	}
	chain := slices.MinFunc(chains, func(a, b []*x509.Certificate) int { return len(a) - len(b) })
	s := &signer{cert: cert, key: key, chain: chain[:len(chain)-1], roots: trust.Roots, top: chain[len(chain)-1], trusted: trusted}
	s.between = pool(s.chain)
	return s, s.try(trust.TrustDomain, now)
}

func pool(certificates []*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, c := range certificates {
		p.AddCert(c)
	}
	return p
}

// try signs something, since an authority above may have bounds that only show then.
func (s *signer) try(trustDomain string, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	o := order{id: identity.ControlPlane(trustDomain), dns: []string{"lateen"}, key: key.Public(), now: now, ttl: ShortestTTL}
	if _, err := s.sign(o, leafTemplate); err != nil {
		return fmt.Errorf("nothing that %s signs can be used: %w", s.cert.Subject, err)
	}
	return nil
}

// checkAuthorityKey returns an error unless a public key can be an authority's.
func checkAuthorityKey(key crypto.PublicKey) error {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		if key.Curve == elliptic.P256() || key.Curve == elliptic.P384() {
			return nil
		}
	case *rsa.PublicKey:
		if n := key.N.BitLen(); n >= minRSA && n <= maxRSA {
			return nil
		}
	}
	return fmt.Errorf("the key of an authority is ECDSA on P-256 or P-384, or RSA of %d to %d bits", minRSA, maxRSA)
}
