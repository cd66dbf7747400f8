package ca

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/attest"
	"github.com/lateen-mesh/lateen/internal/identity/identitytest"
)

// A certificate that breaks a rule is never returned, whatever the template says.
func TestWrongTemplates(t *testing.T) {
	t.Parallel()
	names := func(texts ...string) []byte {
		var all []asn1.RawValue
		for _, text := range texts {
			all = append(all, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: int(text[0] - '0'), Bytes: []byte(text[1:])})
		}
		der, err := asn1.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	san := func(c *x509.Certificate, critical bool, value []byte) {
		c.URIs, c.DNSNames, c.IPAddresses = nil, nil, nil
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: critical, Value: value}}
	}
	const id, workload = "6spiffe://cluster.local/ns/default/sa/reviews", "2reviews-v1-0.default"
	now := time.Now()
	tests := []struct {
		name   string
		change func(c *x509.Certificate)
		want   string
	}{
		{"nothing is wrong", func(*x509.Certificate) {}, ""},
		{"names as they are, by hand", func(c *x509.Certificate) { san(c, true, names(workload, "7\x7f\x09\x08\x01", id)) }, ""},
		{"an authority", func(c *x509.Certificate) { c.IsCA = true; c.KeyUsage |= x509.KeyUsageCertSign }, "authority's"},
		{"no basic constraints", func(c *x509.Certificate) { c.BasicConstraintsValid = false }, "authority's"},
		{"signs certificates", func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }, "more than signatures"},
		{"enciphers keys", func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageKeyEncipherment }, "more than signatures"},
		{"no use", func(c *x509.Certificate) { c.KeyUsage = 0 }, "more than signatures"},
		{"any use", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }, "for clients and servers"},
		{"code signing too", func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageCodeSigning) }, "for clients and servers"},
		{"an unknown use", func(c *x509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 2, 3}} }, "for clients and servers"},
		{"servers only", func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] }, "for clients and servers"},
		{"no extended use", func(c *x509.Certificate) { c.ExtKeyUsage = nil }, "for clients and servers"},
		{"a subject", func(c *x509.Certificate) { c.Subject.CommonName = "reviews" }, "subject"},
		{"another identity", func(c *x509.Certificate) { c.URIs[0].Path = "/ns/default/sa/ratings" }, "its names are"},
		{"another spelling", func(c *x509.Certificate) { san(c, true, names(workload, "7\x7f\x09\x08\x01", id+"#")) }, "its names are"},
		{"another workload", func(c *x509.Certificate) { c.DNSNames[0] = "reviews-v1-1.default" }, "its names are"},
		{"another address", func(c *x509.Certificate) { c.IPAddresses[0] = net.IP{127, 9, 8, 2} }, "its names are"},
		{"no workload", func(c *x509.Certificate) { c.DNSNames = nil }, "its names are"},
		{"no address", func(c *x509.Certificate) { c.IPAddresses = nil }, "its names are"},
		{"a second identity", func(c *x509.Certificate) { c.URIs = append(c.URIs, &url.URL{Scheme: "spiffe", Host: "x"}) }, "its names are"},
		{"a second workload", func(c *x509.Certificate) { c.DNSNames = append(c.DNSNames, "*") }, "its names are"},
		{"an e-mail address", func(c *x509.Certificate) { c.EmailAddresses = []string{"a@b.c"} }, "a kind that no workload has"},
		{"a name that crypto/x509 leaves out", func(c *x509.Certificate) {
			san(c, true, names(workload, "7\x7f\x09\x08\x01", id, "8\x2a"))
		}, "a kind that no workload has"},
		{"names that are not critical", func(c *x509.Certificate) { san(c, false, names(workload, "7\x7f\x09\x08\x01", id)) }, "critical: false"},
		{"begins too early", func(c *x509.Certificate) { c.NotBefore = now.Add(-time.Hour) }, "begins to hold"},
		{"begins later", func(c *x509.Certificate) { c.NotBefore = now.Add(time.Hour) }, "begins to hold"},
		{"holds too long", func(c *x509.Certificate) { c.NotAfter = c.NotAfter.Add(time.Minute) }, "it ends at"},
		{"has ended", func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }, "it ends at"},
		{"a small serial number", func(c *x509.Certificate) { c.SerialNumber = big.NewInt(1) }, "serial number"},
		{"a large serial number", func(c *x509.Certificate) { c.SerialNumber = new(big.Int).Lsh(big.NewInt(1), 159) }, "serial number"},
		{"one more extension", func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: []byte{5, 0}}}
		}, "the extension 1.2.3"},
		{"a policy", func(c *x509.Certificate) { c.OCSPServer = []string{"http://a"} }, "the extension 1.3.6.1.5.5.7.1.1"},
		{"name constraints", func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"a"} }, "the extension 2.5.29.30"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			a := open(t, func() time.Time { return now })
			a.template = func(o order) (*x509.Certificate, error) {
				c, err := leafTemplate(o)
				test.change(c)
				return c, err
			}
			chain, err := a.Sign(t.Context(), csrOf(t, identitytest.NewKey(t), x509.CertificateRequest{}),
				attest.Attested{Peer: identitytest.Peer("cluster.local", "reviews", "127.9.8.1"), By: attest.ByToken})
			switch {
			case test.want == "" && (err != nil || len(chain) != 1):
				t.Errorf("it is refused: %v", err)
			case test.want != "" && (chain != nil || err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("it is %v, %v; want an error with %q", chain, err, test.want)
			}
			if n := a.Status().Issued[attest.ByToken]; (n == 1) != (test.want == "") {
				t.Errorf("%d are counted", n)
			}
		})
	}
}

// Nor one that holds longer than those above it.
func TestTemplateThatForgetsTheEnd(t *testing.T) {
	t.Parallel()
	now := time.Now()
	a := open(t, func() time.Time { return now })
	now = a.signer.ends().Add(-time.Hour)
	a.template = func(o order) (*x509.Certificate, error) {
		o.ends = o.now.Add(o.ttl)
		return leafTemplate(o)
	}
	chain, err := a.Sign(t.Context(), csrOf(t, identitytest.NewKey(t), x509.CertificateRequest{}),
		attest.Attested{Peer: identitytest.Peer("cluster.local", "reviews", ""), By: attest.ByToken})
	if chain != nil || err == nil || !strings.Contains(err.Error(), "after the authority's own") {
		t.Errorf("it is returned (%t), %v", chain != nil, err)
	}
}

// The other parts of what is checked: that the key is the sender's, and that those above are ours.
func TestWrongSignatures(t *testing.T) {
	t.Parallel()
	now := time.Now()
	a, other := open(t, time.Now), open(t, time.Now)
	peer := identitytest.Peer("cluster.local", "reviews", "")
	o := order{id: peer.ID, dns: []string{peer.Workload}, key: identitytest.NewKey(t).Public(), now: now, ttl: time.Hour}
	der := func(s *signer, o order) []byte {
		chain, err := s.sign(o, leafTemplate)
		if err != nil {
			t.Fatal(err)
		}
		return chain[0].Raw
	}
	good := der(a.signer, o)
	if _, err := a.signer.checkSigned(good, o); err != nil {
		t.Errorf("a good one: %v", err)
	}
	another := o
	another.key = identitytest.NewKey(t).Public()
	for name, c := range map[string][]byte{
		"another key": der(a.signer, another), "another root": der(other.signer, o), "half": good[:len(good)/2], "nothing": nil,
		"a damaged signature": append(good[:len(good)-1:len(good)-1], good[len(good)-1]^1),
	} {
		if c, err := a.signer.checkSigned(c, o); err == nil || c != nil {
			t.Errorf("%s: it is returned (%t), %v", name, c != nil, err)
		}
	}
	for _, algorithm := range []x509.SignatureAlgorithm{x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.MD5WithRSA, x509.UnknownSignatureAlgorithm} {
		if checkAlgorithm(algorithm) == nil {
			t.Errorf("%s is good enough", algorithm)
		}
	}
}

func open(t testing.TB, now func() time.Time) *Authority {
	t.Helper()
	a, err := Open(Config{State: t.TempDir(), TrustDomain: "cluster.local", Now: now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

func csrOf(t testing.TB, key crypto.Signer, template x509.CertificateRequest) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &template, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}
