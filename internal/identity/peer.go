package identity

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Peer is whom a certificate speaks for.
type Peer struct {
	ID       ID
	Workload string     // the instance it was given to, "reviews-v2-0.default"; "": it is no instance's
	Address  netip.Addr // of that instance; invalid: not known when it was given
}

// PeerOf returns whom a leaf certificate speaks for. It must have exactly one URI, and at most one workload name and one
// address (X509-SVID, 2). It does not verify the certificate.
func PeerOf(leaf *x509.Certificate) (Peer, error) {
	if len(leaf.URIs) != 1 {
		return Peer{}, fmt.Errorf("the certificate names %d URIs: a workload's names one, its SPIFFE ID", len(leaf.URIs))
	}
	id, err := Parse(leaf.URIs[0].String())
	if err != nil {
		return Peer{}, fmt.Errorf("the certificate: %w", err)
	}
	if leaf.IsCA {
		return Peer{}, errors.New("the certificate is an authority's and speaks for no workload")
	}
	p := Peer{ID: id}
	switch {
	case len(leaf.DNSNames) > 1 || len(leaf.IPAddresses) > 1 || len(leaf.EmailAddresses) > 0:
		return Peer{}, errors.New("the certificate has further names: a workload's has its SPIFFE ID, its name and its address")
	case len(leaf.DNSNames) == 1:
		if p.Workload = leaf.DNSNames[0]; !strings.HasSuffix(p.Workload, "."+id.Namespace) {
			return Peer{}, fmt.Errorf("the certificate names workload %q, which is not of the namespace of %s", p.Workload, id)
		}
	}
	if len(leaf.IPAddresses) == 1 {
		address, ok := netip.AddrFromSlice(leaf.IPAddresses[0])
		if !ok {
			return Peer{}, errors.New("the certificate has an address that is none")
		}
		p.Address = address.Unmap()
	}
	return p, nil
}
