package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"

	"github.com/lateen-mesh/lateen/internal/identity"
)

// Bounds of a request for a certificate.
const (
	MaxCSR = 8 << 10 // bytes
	minRSA = 2048    // bits
	maxRSA = 4096
)

// request is a request for a certificate that may be looked at.
type request struct {
	csr *x509.CertificateRequest
	key []byte // the public key as PKIX in DER
}

// parseRequest reads a request as far as it costs little. Its signature is checked later ([request.check]).
func parseRequest(der []byte) (request, error) {
	if len(der) == 0 || len(der) > MaxCSR {
		return request{}, fmt.Errorf("the request for a certificate has %d bytes: it can be 1 to %d", len(der), MaxCSR)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return request{}, errors.New("the request for a certificate cannot be read: it is PKCS #10 in DER")
	}
	if err := checkLeafKey(csr.PublicKey); err != nil {
		return request{}, err
	}
	return request{csr: csr, key: csr.RawSubjectPublicKeyInfo}, nil
}

// checkLeafKey returns an error unless a public key can be a workload's.
func checkLeafKey(key any) error {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		if key.Curve == elliptic.P256() || key.Curve == elliptic.P384() {
			return nil
		}
	case *rsa.PublicKey:
		// A large exponent makes each verification dear.
		if n := key.N.BitLen(); n >= minRSA && n <= maxRSA && key.E == 65537 {
			return nil
		}
	}
	return fmt.Errorf("the key of a workload is ECDSA on P-256 or P-384, or RSA of %d to %d bits with exponent 65537", minRSA, maxRSA)
}

// check makes sure that who asks has the key, and asks for nothing that is not the caller's to say.
func (r request) check() error {
	for _, e := range r.csr.Extensions {
		if !e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 17}) { // names: see checkNames
			return fmt.Errorf("the request for a certificate wants the extension %s", e.Id)
		}
	}
	switch r.csr.SignatureAlgorithm {
	case x509.MD5WithRSA, x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.UnknownSignatureAlgorithm:
		return fmt.Errorf("the request for a certificate is signed with %s", r.csr.SignatureAlgorithm)
	}
	if err := r.csr.CheckSignature(); err != nil {
		return errors.New("the request for a certificate is not signed with its key")
	}
	return nil
}

// errOther is the error that a request names somebody else than the evidence.
var errOther = errors.New("the request for a certificate has other names than its sender")

// checkNames refuses a request that asks for names of others. Names are not needed; those that are there are exactly the ones
// that the certificate will have, and a subject has none.
func (r request) checkNames(who identity.Peer) error {
	if len(r.csr.Subject.Names) > 0 {
		return fmt.Errorf("%w: its subject is not empty", errOther)
	}
	names, err := identity.NamesIn(r.csr.Extensions)
	if err != nil {
		return fmt.Errorf("%w: %w", errOther, err)
	}
	for _, uri := range names.URIs {
		if uri != who.ID.String() {
			return fmt.Errorf("%w: %s is not %s", errOther, clip(uri), who.ID)
		}
	}
	for _, name := range names.DNS {
		if name != who.Workload {
			return fmt.Errorf("%w: %s is not %s", errOther, clip(name), who.Workload)
		}
	}
	for _, address := range names.Addresses {
		if !slices.Contains(who.Addresses(), address) {
			return fmt.Errorf("%w: %s is not its address", errOther, address)
		}
	}
	return nil
}

// of refuses a request that is not its sender's: see checkNames.
func (r request) of(who identity.Peer) error {
	if err := r.checkNames(who); err != nil {
		return refusal(ReasonOther, err)
	}
	return nil
}

// clip shortens what somebody else has written and quotes it.
func clip(text string) string { return fmt.Sprintf("%.200q", text) }
