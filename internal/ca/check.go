package ca

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lateen-mesh/lateen/internal/identity"
)

// checkSigned looks at a certificate as those will who get it: from its bytes, and against the order, not the template. It
// knows nothing of how the certificate was made.
func (s *signer) checkSigned(der []byte, o order) (*x509.Certificate, error) {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(checkNames(c, o), checkUse(c, o), checkTimes(c, o, s), checkExtensions(c)); err != nil {
		return nil, err
	}
	if err := s.checkChain(c, o.now); err != nil {
		return nil, err
	}
	return c, nil
}

// checkChain makes sure that the certificate is trusted by the roots and with the chain that go with it.
func (s *signer) checkChain(c *x509.Certificate, now time.Time) error {
	uses := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	chains, err := c.Verify(x509.VerifyOptions{Roots: s.trusted, Intermediates: s.between, CurrentTime: now, KeyUsages: uses})
	if err != nil {
		return err
	}
	return identity.CheckUses(chains, uses...)
}

func checkNames(c *x509.Certificate, o order) error {
	want := identity.Names{URIs: []string{o.id.String()}, DNS: o.dns, Addresses: o.addresses}
	got, err := identity.NamesIn(c.Extensions)
	switch {
	case err != nil:
		return err
	case !got.Equal(want):
		return fmt.Errorf("its names are %v, not %v", got, want)
	case !bytes.Equal(c.RawSubject, []byte{0x30, 0}):
		return errors.New("its subject is not empty")
	}
	return nil
}

func checkUse(c *x509.Certificate, o order) error {
	public, err := x509.MarshalPKIXPublicKey(o.key)
	switch {
	case err != nil:
		return err
	case !bytes.Equal(public, c.RawSubjectPublicKeyInfo):
		return errors.New("its key is not the one that was sent")
	case checkLeafKey(c.PublicKey) != nil:
		return checkLeafKey(c.PublicKey)
	case c.IsCA || !c.BasicConstraintsValid:
		return errors.New("it is an authority's")
	case c.KeyUsage != x509.KeyUsageDigitalSignature:
		return errors.New("its key may be used for more than signatures")
	case len(c.UnknownExtKeyUsage) > 0 || !slices.Equal(slices.Sorted(slices.Values(c.ExtKeyUsage)),
		[]x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}):
		return errors.New("it is not for clients and servers and nothing else")
	case c.Version != 3:
		return errors.New("it is not of version 3")
	case c.SerialNumber.Sign() <= 0 || c.SerialNumber.BitLen() < 64 || c.SerialNumber.BitLen() > 159:
		return errors.New("its serial number is not positive and of 64 to 159 bits")
	}
	return checkAlgorithm(c.SignatureAlgorithm)
}

func checkAlgorithm(a x509.SignatureAlgorithm) error {
	switch a {
	case x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.SHA256WithRSA, x509.SHA384WithRSA:
		return nil
	}
	return fmt.Errorf("it is signed with %s", a)
}

// checkTimes takes a second of rounding, since certificates know no parts of one.
func checkTimes(c *x509.Certificate, o order, s *signer) error {
	switch {
	case c.NotBefore.After(o.now) || c.NotBefore.Before(o.now.Add(-Backdate-time.Second)):
		return fmt.Errorf("it begins to hold at %s", c.NotBefore)
	case !c.NotAfter.After(o.now) || c.NotAfter.After(o.now.Add(o.ttl)):
		return fmt.Errorf("it ends at %s", c.NotAfter)
	case c.NotAfter.After(s.ends()):
		return fmt.Errorf("it ends at %s, after the authority's own", c.NotAfter)
	}
	return nil
}

// checkExtensions makes sure that there are those that a leaf has, once each, and no others.
func checkExtensions(c *x509.Certificate) error {
	critical := map[string]bool{ // whether it must be
		"2.5.29.15": true,  // key usage
		"2.5.29.37": false, // extended key usage
		"2.5.29.19": true,  // basic constraints
		"2.5.29.35": false, // authority key identifier
		"2.5.29.17": true,  // names: the subject is empty (RFC 5280, 4.2.1.6)
	}
	var seen []asn1.ObjectIdentifier
	for _, e := range c.Extensions {
		must, ok := critical[e.Id.String()]
		if !ok || e.Critical != must {
			return fmt.Errorf("it has the extension %s (critical: %t)", e.Id, e.Critical)
		}
		seen = append(seen, e.Id)
	}
	if len(seen) != len(critical) {
		return fmt.Errorf("it has only the extensions %v", seen)
	}
	return nil
}
