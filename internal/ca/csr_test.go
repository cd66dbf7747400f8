package ca

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"testing"

	"github.com/lateen-mesh/lateen/internal/identity"
	"github.com/lateen-mesh/lateen/internal/identity/identitytest"
)

// rsa512 is a request with a key of RSA with 512 bits, made by OpenSSL: Go makes no such keys.
const rsa512 = "MIG5MGUCAQAwADBcMA0GCSqGSIb3DQEBAQUAA0sAMEgCQQDREoIF5062vDI85MSK/uxOqFKHrbrYSe2Ut23m2qyODH8FacSAyTkx" +
	"KrAy5hogH0IkygGeJbIJTsBa4XhFOA+dAgMBAAGgADANBgkqhkiG9w0BAQsFAANBAGkAKtLex8QK0gfmLySYdpCJiJXdAKegYNV/" +
	"4XApLc7Ob8r+vHPcoIuQ5amUbExOL5KgXQi81PjBcCcK6frpSFo="

// RSA512 returns that request, in DER.
func RSA512() ([]byte, error) { return base64.StdEncoding.DecodeString(rsa512) }

// Whatever is sent, it is refused or is a request by the owner of a good key for the names of one peer.
func FuzzCSR(f *testing.F) {
	small, err := RSA512()
	if err != nil {
		f.Fatal(err)
	}
	peer := identitytest.Peer("cluster.local", "reviews", "127.9.8.1")
	key := identitytest.NewKey(f)
	f.Add(small)
	f.Add(csrOf(f, key, x509.CertificateRequest{}))
	f.Add(csrOf(f, key, x509.CertificateRequest{Subject: pkix.Name{CommonName: "reviews"}}))
	f.Add(csrOf(f, key, x509.CertificateRequest{DNSNames: []string{peer.Workload}}))
	f.Add(csrOf(f, key, x509.CertificateRequest{ExtraExtensions: []pkix.Extension{
		{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: []byte{0x30, 3, 0x88, 1, 0x2a}},
		{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Value: []byte{0x30, 3, 1, 1, 0xff}},
	}}))
	f.Fuzz(func(t *testing.T, der []byte) {
		r, err := parseRequest(der)
		if err == nil {
			err = r.check()
		}
		if err != nil {
			return
		}
		if checkLeafKey(r.csr.PublicKey) != nil || len(der) > MaxCSR {
			t.Errorf("a request of %d bytes with a key of %T is taken", len(der), r.csr.PublicKey)
		}
		if err := r.checkNames(peer); err != nil {
			if !errors.Is(err, errOther) {
				t.Errorf("its names are refused with %v", err)
			}
			return
		}
		for _, name := range r.csr.DNSNames {
			if name != peer.Workload {
				t.Errorf("a request for %q is taken", name)
			}
		}
		for _, uri := range r.csr.URIs {
			if id, err := identity.Parse(uri.String()); err != nil || id != peer.ID {
				t.Errorf("a request for %q is taken", uri)
			}
		}
		if len(r.csr.Subject.Names) > 0 || len(r.csr.EmailAddresses) > 0 {
			t.Errorf("a request for %q, %q is taken", r.csr.Subject, r.csr.EmailAddresses)
		}
	})
}
