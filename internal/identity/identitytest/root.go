// Package identitytest makes roots and certificates for tests, good ones and bad ones.
//
// It shares no code with the certificate authority, so that what is tested with both is seen by two pairs of eyes.
package identitytest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/identity"
)

// Authority signs whatever a test wants.
type Authority struct {
	TrustDomain string
	Cert        *x509.Certificate
	Key         crypto.Signer
	Above       *Authority // that signed it; nil: it is a root
	now         time.Time
}

// New returns a root of a trust domain that holds from a day before now to a year after.
func New(t testing.TB, trustDomain string, now time.Time) *Authority {
	t.Helper()
	a := &Authority{TrustDomain: trustDomain, Key: NewKey(t), now: now}
	template := authorityTemplate("test root of "+trustDomain, now)
	a.Cert = create(t, template, template, a.Key.Public(), a.Key)
	return a
}

// Below returns an authority that this one has signed. Changes are made to its template.
func (a *Authority) Below(t testing.TB, name string, change ...func(*x509.Certificate)) *Authority {
	t.Helper()
	below := &Authority{TrustDomain: a.TrustDomain, Key: NewKey(t), Above: a, now: a.now}
	template := authorityTemplate(name, a.now)
	for _, c := range change {
		c(template)
	}
	below.Cert = create(t, template, a.Cert, below.Key.Public(), a.Key)
	return below
}

// NewKey returns a key.
func NewKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func authorityTemplate(name string, now time.Time) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: name},
		NotBefore: now.AddDate(0, 0, -1), NotAfter: now.AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
}

func serial() *big.Int {
	b := make([]byte, 15)
	rand.Read(b)
	b[0] |= 1
	return new(big.Int).SetBytes(b)
}

func create(t testing.TB, template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Bundle returns what trusts the authority's root.
func (a *Authority) Bundle() identity.Bundle {
	root := a
	for root.Above != nil {
		root = root.Above
	}
	return identity.Bundle{TrustDomain: a.TrustDomain, Roots: []*x509.Certificate{root.Cert}}
}

// Leaf returns a good certificate for a peer, with a key, that holds from an hour before now to a day after, unless the changes
// to its template make something else of it.
func (a *Authority) Leaf(t testing.TB, p identity.Peer, change ...func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key := NewKey(t)
	leaf := a.LeafFor(t, p, key.Public(), change...)
	c := tls.Certificate{PrivateKey: key, Leaf: leaf, Certificate: [][]byte{leaf.Raw}}
	for above := a; above.Above != nil; above = above.Above {
		c.Certificate = append(c.Certificate, above.Cert.Raw)
	}
	return c
}

// LeafFor returns the same for a key that somebody else has.
func (a *Authority) LeafFor(t testing.TB, p identity.Peer, key crypto.PublicKey, change ...func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: serial(), NotBefore: a.now.Add(-time.Hour), NotAfter: a.now.AddDate(0, 0, 1),
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		URIs:        []*url.URL{p.ID.URL()},
	}
	if p.Workload != "" {
		template.DNSNames = []string{p.Workload}
	}
	for _, a := range p.Addresses() {
		template.IPAddresses = append(template.IPAddresses, net.IP(a.AsSlice()))
	}
	for _, c := range change {
		c(template)
	}
	return create(t, template, a.Cert, key, a.Key)
}

// Until ends a certificate at a moment.
func Until(end time.Time) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.NotAfter = end }
}

// From begins a certificate at a moment.
func From(begin time.Time) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.NotBefore = begin }
}

// Chain returns the certificates of one for TLS, leaf first.
func Chain(t testing.TB, c tls.Certificate) []*x509.Certificate {
	t.Helper()
	var chain []*x509.Certificate
	for _, der := range c.Certificate {
		one, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, one)
	}
	return chain
}

// PEM returns certificates as text.
func PEM(all ...*x509.Certificate) []byte {
	var text []byte
	for _, c := range all {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return text
}

// KeyPEM returns a key as text.
func KeyPEM(t testing.TB, key crypto.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// Peer returns a workload "NAME-v1-0.default" with account NAME. An address of "" is not known.
func Peer(trustDomain, name, address string) identity.Peer {
	p := identity.Peer{
		ID:       identity.ID{TrustDomain: trustDomain, Namespace: "default", Account: name},
		Workload: name + "-v1-0.default",
	}
	if address != "" {
		p.Address = netip.MustParseAddr(address)
	}
	return p
}
