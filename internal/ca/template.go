package ca

import (
	"crypto"
	"crypto/x509"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"github.com/lateen-mesh/lateen/internal/identity"
)

// Backdate is how long before it is signed a certificate begins to hold, for those whose clocks are behind.
const Backdate = 10 * time.Minute

// order says what a certificate is to be.
type order struct {
	id        identity.ID
	dns       []string
	addresses []netip.Addr
	key       crypto.PublicKey
	now       time.Time
	ttl       time.Duration
	ends      time.Time // of the authority itself: a certificate ends then at the latest
}

// copied returns an order that shares nothing that could be changed.
func (o order) copied() order {
	o.dns, o.addresses = slices.Clone(o.dns), slices.Clone(o.addresses)
	return o
}

// leafTemplate returns the certificate that is ordered. Its subject is empty, so crypto/x509 makes the names critical (RFC
// 5280, 4.2.1.6).
func leafTemplate(o order) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	end := o.now.Add(o.ttl)
	if o.ends.Before(end) {
		end = o.ends
	}
	c := &x509.Certificate{
		SerialNumber:          serial,
		NotBefore:             o.now.Add(-Backdate),
		NotAfter:              end,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		URIs:                  []*url.URL{o.id.URL()},
		DNSNames:              o.dns,
	}
	for _, address := range o.addresses {
		c.IPAddresses = append(c.IPAddresses, net.IP(address.AsSlice()))
	}
	return c, nil
}
