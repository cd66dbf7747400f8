package identity

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// PeerOf returns whom a leaf certificate speaks for (X509-SVID, 2 and 4). Its names are exactly one URI, at most one workload
// and at most one address of each family, and nothing else of any kind. It does not verify the certificate.
func PeerOf(leaf *x509.Certificate) (Peer, error) {
	if leaf.IsCA || leaf.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0 {
		return Peer{}, errors.New("the certificate is an authority's and speaks for no workload")
	}
	names, err := NamesIn(leaf.Extensions)
	if err != nil {
		return Peer{}, err
	}
	if len(names.URIs) != 1 {
		return Peer{}, fmt.Errorf("the certificate names %d URIs: a workload's names one, its SPIFFE ID", len(names.URIs))
	}
	var p Peer
	if p.ID, err = Parse(names.URIs[0]); err != nil {
		return Peer{}, fmt.Errorf("the certificate: %w", err)
	}
	if len(names.DNS) > 1 || len(names.Addresses) > 2 {
		return Peer{}, errors.New("the certificate has further names: a workload's has its SPIFFE ID, its name and its address")
	}
	if len(names.DNS) == 1 {
		p.Workload = names.DNS[0]
	}
	if len(names.Addresses) > 0 {
		p.Address = names.Addresses[0]
	}
	if len(names.Addresses) > 1 {
		p.Further = names.Addresses[1]
	}
	if err := p.Check(); err != nil {
		return Peer{}, fmt.Errorf("the certificate: %w", err)
	}
	return p, nil
}

// Names are the alternative names of a certificate, letter by letter. What [x509.Certificate] has of them is not exact: it
// leaves out kinds that it does not know and writes URIs in another way.
type Names struct {
	URIs      []string
	DNS       []string
	Addresses []netip.Addr
}

// Equal tells whether two have the same names in the same order.
func (n Names) Equal(o Names) bool {
	return slices.Equal(n.URIs, o.URIs) && slices.Equal(n.DNS, o.DNS) && slices.Equal(n.Addresses, o.Addresses)
}

// Tags of a GeneralName (RFC 5280, 4.2.1.6).
const (
	tagDNS     = 2
	tagURI     = 6
	tagAddress = 7
)

// NamesIn returns the names that the extensions of a certificate, or of a request for one, hold. A kind of name that no workload
// has is an error. crypto/x509 reads nothing that has an extension twice.
func NamesIn(extensions []pkix.Extension) (Names, error) {
	alternative := asn1.ObjectIdentifier{2, 5, 29, 17}
	for _, e := range extensions {
		if e.Id.Equal(alternative) {
			return parseNames(e.Value)
		}
	}
	return Names{}, nil
}

// maxNames bounds the extension in bytes.
const maxNames = 8 << 10

var errNames = errors.New("the names of the certificate cannot be read")

func parseNames(der []byte) (Names, error) {
	var list asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &list); len(der) > maxNames || err != nil || len(rest) > 0 ||
		list.Class != asn1.ClassUniversal || list.Tag != asn1.TagSequence || !list.IsCompound {
		return Names{}, errNames
	}
	var n Names
	for rest := list.Bytes; len(rest) > 0; {
		var name asn1.RawValue
		var err error
		if rest, err = asn1.Unmarshal(rest, &name); err != nil || name.Class != asn1.ClassContextSpecific {
			return Names{}, errNames
		}
		if err := n.add(name); err != nil {
			return Names{}, err
		}
	}
	return n, nil
}

func (n *Names) add(name asn1.RawValue) error {
	if name.IsCompound || name.Tag != tagAddress && slices.Contains(name.Bytes, 0) {
		return errNames // a zero byte ends a text for some who read it
	}
	switch name.Tag {
	case tagURI:
		n.URIs = append(n.URIs, string(name.Bytes))
	case tagDNS:
		n.DNS = append(n.DNS, string(name.Bytes))
	case tagAddress:
		address, ok := netip.AddrFromSlice(name.Bytes)
		if !ok {
			return errors.New("the certificate has an address that is none")
		}
		n.Addresses = append(n.Addresses, address)
	default:
		return errors.New("the certificate has a name of a kind that no workload has")
	}
	return nil
}
