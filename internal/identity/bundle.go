package identity

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Bundle holds the roots by which certificates of a trust domain are trusted. While one root takes the place of another
// there are several.
type Bundle struct {
	TrustDomain string
	Roots       []*x509.Certificate
}

// maxRoots bounds the roots of a bundle.
const maxRoots = 64

// ParseBundle reads roots from PEM. There must be at least one, and each must be an authority.
func ParseBundle(trustDomain string, text []byte) (Bundle, error) {
	b := Bundle{TrustDomain: trustDomain}
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return Bundle{}, fmt.Errorf("a trust bundle holds certificates, not %q", block.Type)
		}
		root, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return Bundle{}, fmt.Errorf("read trust bundle: %w", err)
		}
		b.Roots = append(b.Roots, root)
	}
	if len(bytes.TrimSpace(text)) > 0 {
		return Bundle{}, errors.New("there is more in the trust bundle than certificates")
	}
	return b, b.Check()
}

// Check returns an error unless the bundle can be trusted by.
func (b Bundle) Check() error {
	if len(b.Roots) == 0 || len(b.Roots) > maxRoots {
		return fmt.Errorf("a trust bundle holds 1 to %d roots: this one has %d", maxRoots, len(b.Roots))
	}
	for _, root := range b.Roots {
		if !root.BasicConstraintsValid || !root.IsCA {
			return fmt.Errorf("%s in the trust bundle is no authority", root.Subject)
		}
	}
	return CheckTrustDomain(b.TrustDomain)
}

// PEM returns what [ParseBundle] reads.
func (b Bundle) PEM() []byte {
	var text []byte
	for _, root := range b.Roots {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Raw})...)
	}
	return text
}

// Equal tells whether two bundles trust the same.
func (b Bundle) Equal(o Bundle) bool {
	return b.TrustDomain == o.TrustDomain &&
		slices.EqualFunc(b.Roots, o.Roots, func(a, c *x509.Certificate) bool { return bytes.Equal(a.Raw, c.Raw) })
}

// Verify returns whom a chain speaks for, leaf first: it must lead to a root of the bundle, be good at the given moment for
// clients and for servers, and its leaf must be of the bundle's trust domain.
func (b Bundle) Verify(chain []*x509.Certificate, now time.Time) (Peer, error) {
	if len(chain) == 0 {
		return Peer{}, errors.New("there is no certificate")
	}
	peer, err := b.peerOf(chain[0])
	if err != nil {
		return Peer{}, err
	}
	if err := b.verify(chain, now, x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth); err != nil {
		return Peer{}, fmt.Errorf("the certificate of %s: %w", peer.ID, err)
	}
	return peer, nil
}

// PeerOfVerified is Verify for chains that were verified already, at this moment and by the roots of the bundle, as a handshake leaves
// them: leaf first and with the root. It checks what is left, and no signature.
func (b Bundle) PeerOfVerified(chains [][]*x509.Certificate) (Peer, error) {
	if len(chains) == 0 {
		return Peer{}, errors.New("there is no certificate that was verified")
	}
	peer, err := b.peerOf(chains[0][0])
	if err != nil {
		return Peer{}, err
	}
	if err := CheckUses(chains, x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth); err != nil {
		return Peer{}, fmt.Errorf("the certificate of %s: %w", peer.ID, err)
	}
	return peer, nil
}

// peerOf returns whom a leaf speaks for, who must be of the trust domain.
func (b Bundle) peerOf(leaf *x509.Certificate) (Peer, error) {
	peer, err := PeerOf(leaf)
	if err == nil && peer.ID.TrustDomain != b.TrustDomain {
		return Peer{}, fmt.Errorf("%s is not of the trust domain %s", peer.ID, b.TrustDomain)
	}
	return peer, err
}

// VerifyControlPlane returns an error unless a chain speaks for the control plane of the trust domain. It has names for its
// hosts as well, and so is no [Peer].
func (b Bundle) VerifyControlPlane(chain []*x509.Certificate, now time.Time) error {
	if len(chain) == 0 {
		return errors.New("there is no certificate")
	}
	names, err := NamesIn(chain[0].Extensions)
	if err != nil {
		return err
	}
	want := ControlPlane(b.TrustDomain)
	if chain[0].IsCA || len(names.URIs) != 1 || names.URIs[0] != want.String() {
		return fmt.Errorf("the certificate of the other side is for %.500q, not for the control plane, %s", names.URIs, want)
	}
	if err := b.verify(chain, now, x509.ExtKeyUsageServerAuth); err != nil {
		return fmt.Errorf("the certificate of the control plane: %w", err)
	}
	return nil
}

// verify makes sure that a chain leads to a root, for all of the uses.
func (b Bundle) verify(chain []*x509.Certificate, now time.Time, uses ...x509.ExtKeyUsage) error {
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	for _, root := range b.Roots {
		roots.AddCert(root)
	}
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	chains, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: now, KeyUsages: uses})
	if err != nil {
		return err
	}
	return CheckUses(chains, uses...)
}

// CheckUses returns an error unless, for each of the uses, one of the chains that lead from a leaf to roots allows it.
// [x509.Certificate.Verify] asks for any of several uses, and verifies all signatures each time that it is asked.
func CheckUses(chains [][]*x509.Certificate, uses ...x509.ExtKeyUsage) error {
	for _, use := range uses {
		allowed := func(chain []*x509.Certificate) bool {
			return !slices.ContainsFunc(chain, func(c *x509.Certificate) bool { return !allows(c, use) })
		}
		if !slices.ContainsFunc(chains, allowed) {
			return x509.CertificateInvalidError{Cert: chains[0][0], Reason: x509.IncompatibleUsage}
		}
	}
	return nil
}

// allows tells whether a certificate, or one below it, may be used in a way. One that says nothing of that allows everything.
func allows(c *x509.Certificate, use x509.ExtKeyUsage) bool {
	return len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) == 0 ||
		slices.Contains(c.ExtKeyUsage, use) || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny)
}

// Fingerprint returns the SHA-256 of a certificate in hexadecimal.
func Fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}
