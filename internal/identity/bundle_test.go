package identity_test

import (
	"crypto/x509"
	"slices"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/identity"
	"github.com/lateen-mesh/lateen/internal/identity/identitytest"
)

func TestBundle(t *testing.T) {
	t.Parallel()
	root, next := identitytest.New(t, domain, now), identitytest.New(t, domain, now)
	leaf := root.Leaf(t, identitytest.Peer(domain, "reviews", "")).Leaf
	pem := identitytest.PEM
	many := slices.Repeat([]*x509.Certificate{root.Cert}, 65)
	tests := []struct {
		name, domain string
		text         []byte
		want         string
	}{
		{"one", domain, pem(root.Cert), ""},
		{"two", domain, pem(root.Cert, next.Cert), ""},
		{"none", domain, nil, "1 to 64 roots: this one has 0"},
		{"too many", domain, pem(many...), "1 to 64 roots: this one has 65"},
		{"a workload's", domain, pem(root.Cert, leaf), "is no authority"},
		{"a key", domain, append(pem(root.Cert), identitytest.KeyPEM(t, root.Key)...), `not "PRIVATE KEY"`},
		{"half", domain, pem(root.Cert, next.Cert)[:len(pem(root.Cert))+40], "more in the trust bundle"},
		{"damaged", domain, []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "read trust bundle"},
		{"trust domain", "Cluster.Local", pem(root.Cert), "only a-z"},
	}
	for _, test := range tests {
		b, err := identity.ParseBundle(test.domain, test.text)
		switch {
		case test.want != "":
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: %v; want %q", test.name, err, test.want)
			}
		case err != nil || string(b.PEM()) != string(test.text):
			t.Errorf("%s: %v; written again it is\n%s", test.name, err, b.PEM())
		}
	}
	one, two := root.Bundle(), root.Bundle()
	two.Roots = append(two.Roots, next.Cert)
	elsewhere := one
	elsewhere.TrustDomain = "other.example"
	if !one.Equal(root.Bundle()) || one.Equal(two) || one.Equal(next.Bundle()) || one.Equal(elsewhere) {
		t.Error("bundles are equal that are not, or the other way round")
	}
	if f := identity.Fingerprint(root.Cert); len(f) != 64 || f == identity.Fingerprint(next.Cert) {
		t.Errorf("the fingerprint of a root is %q", f)
	}
}
