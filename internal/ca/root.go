package ca

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net/url"
	"time"

	"github.com/lateen-mesh/lateen/internal/identity"
)

const (
	rootLife = 10 * 365 * 24 * time.Hour
	// rootBackdate is more than that of leaves, so that who trusts a leaf early trusts the root too.
	rootBackdate = 24 * time.Hour
	// rootPath is how many authorities may stand below the root, one behind the other.
	rootPath = 1
)

// makeRoot makes a root that signs itself. Its name of SPIFFE is the trust domain (X509-SVID, 3.1).
func makeRoot(trustDomain string, now time.Time) (*signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{Organization: []string{"Lateen"}, CommonName: "root of " + shortName(trustDomain)},
		NotBefore:             now.Add(-rootBackdate),
		NotAfter:              now.Add(rootLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLen:            rootPath,
		URIs:                  []*url.URL{{Scheme: "spiffe", Host: trustDomain}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return ownSigner(root, key, trustDomain, now)
}

// ParseRoot reads a root in DER.
func ParseRoot(der []byte) (*x509.Certificate, error) {
	root, err := x509.ParseCertificate(der)
	if err == nil && !root.IsCA {
		err = errors.New("it is no authority's")
	}
	return root, err
}

// shortName keeps a common name within its 64 bytes (RFC 5280, A.1).
func shortName(name string) string { return name[:min(len(name), 50)] }

// ownSigner returns a signer with a root that signs itself and is of the trust domain.
func ownSigner(root *x509.Certificate, key crypto.Signer, trustDomain string, now time.Time) (*signer, error) {
	if len(root.URIs) != 1 || root.URIs[0].String() != "spiffe://"+trustDomain {
		return nil, errors.New("the root is not of the trust domain " + trustDomain)
	}
	return newSigner(root, key, nil, identity.Bundle{TrustDomain: trustDomain, Roots: []*x509.Certificate{root}}, now)
}

// newSerial returns 127 random bits, positive in any reading (RFC 5280, 4.1.2.2).
func newSerial() (*big.Int, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	return serial.SetBit(serial, 126, 1), nil
}

const (
	certificateBlock = "CERTIFICATE"
	keyBlock         = "PRIVATE KEY"
)

// encodeRoot writes a root and its key, for a file that nobody else reads.
func encodeRoot(s *signer) ([]byte, error) {
	key, err := x509.MarshalPKCS8PrivateKey(s.key)
	if err != nil {
		return nil, err
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: certificateBlock, Bytes: s.cert.Raw}),
		pem.EncodeToMemory(&pem.Block{Type: keyBlock, Bytes: key})...), nil
}

// decodeRoot reads what [encodeRoot] wrote: one certificate, one key, nothing else. Errors hold nothing of the key.
func decodeRoot(text []byte) (*x509.Certificate, crypto.Signer, error) {
	first, rest := pem.Decode(text)
	if first == nil || first.Type != certificateBlock {
		return nil, nil, errors.New("it does not begin with a certificate")
	}
	cert, err := x509.ParseCertificate(first.Bytes)
	if err != nil {
		return nil, nil, err
	}
	second, rest := pem.Decode(rest)
	if second == nil || second.Type != keyBlock || len(bytes.TrimSpace(rest)) > 0 {
		return nil, nil, errors.New("there is not exactly one key behind the certificate")
	}
	key, err := parseKey(second)
	return cert, key, err
}

// errKey says nothing of what was read, which may be a key.
var errKey = errors.New("the key cannot be read: it is PKCS #8, PKCS #1 or SEC 1, in PEM and not encrypted")

func parseKey(block *pem.Block) (crypto.Signer, error) {
	var key any
	var err error
	switch block.Type {
	case keyBlock:
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		return nil, errKey
	}
	signer, ok := key.(crypto.Signer)
	if err != nil || !ok {
		return nil, errKey
	}
	return signer, nil
}
