package identity_test

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/lateen-mesh/lateen/internal/identity"
	"github.com/lateen-mesh/lateen/internal/identity/identitytest"
)

var now = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

const domain = "cluster.local"

// name is one alternative name as it stands in a certificate.
func name(tag int, value string) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: []byte(value)}
}

// named has a certificate hold exactly these names, which crypto/x509 would not write.
func named(t testing.TB, names ...asn1.RawValue) func(*x509.Certificate) {
	t.Helper()
	der, err := asn1.Marshal(names)
	if err != nil {
		t.Fatal(err)
	}
	return func(c *x509.Certificate) {
		c.URIs, c.DNSNames, c.IPAddresses = nil, nil, nil
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: true, Value: der}}
	}
}

func TestPeerOf(t *testing.T) {
	t.Parallel()
	root := identitytest.New(t, domain, now)
	reviews := identitytest.Peer(domain, "reviews", "127.9.8.1")
	dual := reviews
	dual.Further = netip.MustParseAddr("fd00::1")
	id := reviews.ID.String()
	tests := []struct {
		name   string
		peer   identity.Peer
		change func(*x509.Certificate)
		want   string // of the error; "": it is the peer
	}{
		{"whole", reviews, nil, ""},
		{"without an address", identitytest.Peer(domain, "reviews", ""), nil, ""},
		{"an address of IPv6", identitytest.Peer(domain, "reviews", "fd00::1"), nil, ""},
		{"no instance's", identity.Peer{ID: reviews.ID}, nil, ""},
		{"no names", reviews, named(t), "names 0 URIs"},
		{"no URI", reviews, named(t, name(2, reviews.Workload)), "names 0 URIs"},
		{"two URIs", reviews, func(c *x509.Certificate) { c.URIs = append(c.URIs, c.URIs[0]) }, "names 2 URIs"},
		{"another URI", reviews, func(c *x509.Certificate) { c.URIs = []*url.URL{{Scheme: "https", Host: "a"}} }, "not of the form"},
		{"an empty fragment", reviews, named(t, name(6, id+"#")), "only letters"},
		{"another spelling of the scheme", reviews, named(t, name(6, "SPIFFE"+strings.TrimPrefix(id, "spiffe"))), "not of the form"},
		{"two workloads", reviews, func(c *x509.Certificate) { c.DNSNames = append(c.DNSNames, "a.default") }, "has further names"},
		{"two addresses of one family", reviews, func(c *x509.Certificate) { c.IPAddresses = append(c.IPAddresses, net.IP{127, 0, 0, 1}) }, "none of another family"},
		{"three addresses", dual, func(c *x509.Certificate) { c.IPAddresses = append(c.IPAddresses, net.IP{127, 0, 0, 1}) }, "has further names"},
		{"an address of each family", dual, nil, ""},
		{"an e-mail address", reviews, func(c *x509.Certificate) { c.EmailAddresses = []string{"a@b.c"} }, "a kind that no workload has"},
		{"a kind that crypto/x509 leaves out", reviews, named(t, name(6, id), name(8, "\x2a")), "a kind that no workload has"},
		{"a workload of another namespace", reviews, func(c *x509.Certificate) { c.DNSNames = []string{"reviews-v1-0.other"} }, "not of the namespace"},
		{"a namespace only", reviews, func(c *x509.Certificate) { c.DNSNames = []string{".default"} }, "not of the namespace"},
		{"a wildcard", reviews, func(c *x509.Certificate) { c.DNSNames = []string{"*.default"} }, "only a-z"},
		{"an empty label", reviews, func(c *x509.Certificate) { c.DNSNames = []string{"a..default"} }, "no name of DNS"},
		{"a long workload", reviews, func(c *x509.Certificate) { c.DNSNames = []string{strings.Repeat("a.", 160) + "default"} }, "at most 317"},
		{"an address for nobody", reviews, named(t, name(6, id), name(7, "\x7f\x00\x00\x01")), "an address is a workload's"},
		{"the address of all", reviews, func(c *x509.Certificate) { c.IPAddresses = []net.IP{{0, 0, 0, 0}} }, "no workload's address"},
		{"an authority's", reviews, func(c *x509.Certificate) { c.IsCA = true }, "an authority's"},
		{"a key that signs certificates", reviews, func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }, "an authority's"},
		{"an ID of another form", reviews, func(c *x509.Certificate) { c.URIs = []*url.URL{{Scheme: "spiffe", Host: domain, Path: "/reviews"}} }, "not of the form"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if test.change == nil {
				test.change = func(*x509.Certificate) {}
			}
			leaf := root.Leaf(t, test.peer, test.change).Leaf
			got, err := identity.PeerOf(leaf)
			switch {
			case test.want == "" && (err != nil || got != test.peer):
				t.Errorf("it is %s, %v; want %s", got, err, test.peer)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want) || got != identity.Peer{}):
				t.Errorf("it is %s, %v; want an error with %q", got, err, test.want)
			}
		})
	}
}

// What crypto/x509 does not read is not read here either, should it ever let it through.
func TestNamesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	const id = "spiffe://cluster.local/ns/default/sa/reviews"
	compound := name(6, id)
	compound.IsCompound = true
	universal := name(6, id)
	universal.Class = asn1.ClassUniversal
	for _, test := range []struct {
		name  string
		names []asn1.RawValue
		want  string
	}{
		{"a zero byte in a URI", []asn1.RawValue{name(6, id+"\x00.evil")}, "cannot be read"},
		{"a zero byte in a workload", []asn1.RawValue{name(6, id), name(2, "a\x00.default")}, "cannot be read"},
		{"an address of 3 bytes", []asn1.RawValue{name(6, id), name(7, "abc")}, "an address that is none"},
		{"a URI in parts", []asn1.RawValue{compound}, "cannot be read"},
		{"another class", []asn1.RawValue{universal}, "cannot be read"},
		{"too much", []asn1.RawValue{name(6, id), name(2, strings.Repeat("a", 8<<10))}, "cannot be read"},
	} {
		c := new(x509.Certificate)
		template := new(x509.Certificate)
		named(t, test.names...)(template)
		c.Extensions = template.ExtraExtensions
		if p, err := identity.PeerOf(c); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: it is %s, %v; want an error with %q", test.name, p, err, test.want)
		}
	}
	trailing := &x509.Certificate{Extensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: []byte{0x30, 0, 0}}}}
	if p, err := identity.PeerOf(trailing); err == nil {
		t.Errorf("with something behind the names it is %s", p)
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	root, other := identitytest.New(t, domain, now), identitytest.New(t, domain, now)
	between := root.Below(t, "between")
	short := root.Below(t, "short", identitytest.Until(now.Add(time.Minute)))
	reviews := identitytest.Peer(domain, "reviews", "127.9.8.1")
	bundle, both := root.Bundle(), root.Bundle()
	both.Roots = append(both.Roots, other.Cert)
	chain := func(a *identitytest.Authority, p identity.Peer, change ...func(*x509.Certificate)) []*x509.Certificate {
		return identitytest.Chain(t, a.Leaf(t, p, change...))
	}
	tests := []struct {
		name   string
		bundle identity.Bundle
		chain  []*x509.Certificate
		at     time.Time
		want   string
	}{
		{"good", bundle, chain(root, reviews), now, ""},
		{"by one between", bundle, chain(between, reviews), now, ""},
		{"by the second root", both, chain(other, reviews), now, ""},
		{"nothing", bundle, nil, now, "there is no certificate"},
		{"without the one between", bundle, chain(between, reviews)[:1], now, "unknown authority"},
		{"of another root", bundle, chain(other, reviews), now, "unknown authority"},
		{"of another trust domain", bundle, chain(root, identitytest.Peer("other.example", "reviews", "")), now, "not of the trust domain"},
		{"expired", bundle, chain(root, reviews, identitytest.Until(now.Add(-time.Second))), now, "expired"},
		{"in its last second", bundle, chain(root, reviews, identitytest.Until(now)), now, ""},
		{"not yet", bundle, chain(root, reviews, identitytest.From(now.Add(time.Second))), now, "not yet valid"},
		{"the one between is expired", bundle, chain(short, reviews), now.Add(2 * time.Minute), "expired"},
		{"for servers only", bundle, chain(root, reviews, usedFor(x509.ExtKeyUsageServerAuth)), now, "incompatible key usage"},
		{"for clients only", bundle, chain(root, reviews, usedFor(x509.ExtKeyUsageClientAuth)), now, "incompatible key usage"},
		{"the one between is for servers only", bundle, chain(root.Below(t, "servers", usedFor(x509.ExtKeyUsageServerAuth)), reviews), now, "incompatible key usage"},
		{"the one between is for clients only", bundle, chain(root.Below(t, "clients", usedFor(x509.ExtKeyUsageClientAuth)), reviews), now, "incompatible key usage"},
		{"the one between is for everything", bundle, chain(root.Below(t, "everything", usedFor(x509.ExtKeyUsageAny)), reviews), now, ""},
		{"the root itself", bundle, []*x509.Certificate{root.Cert}, now, "an authority's"},
		{"signed by a workload", bundle, signedByLeaf(t, root, reviews), now, "certificate"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			check := func(got identity.Peer, err error) {
				t.Helper()
				switch {
				case test.want == "" && (err != nil || got != reviews):
					t.Errorf("it speaks for %s, %v", got, err)
				case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want) || got != identity.Peer{}):
					t.Errorf("it speaks for %s, %v; want an error with %q", got, err, test.want)
				}
			}
			check(test.bundle.Verify(test.chain, test.at))
			if verified, err := handshake(test.bundle, test.chain, test.at); err != nil {
				check(identity.Peer{}, err)
			} else {
				check(test.bundle.PeerOfVerified(verified))
			}
		})
	}
}

// handshake verifies a chain as a server does that shakes hands.
func handshake(b identity.Bundle, chain []*x509.Certificate, at time.Time) ([][]*x509.Certificate, error) {
	if len(chain) == 0 {
		return nil, nil // that is left to who asks
	}
	o := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for _, root := range b.Roots {
		o.Roots.AddCert(root)
	}
	for _, c := range chain[1:] {
		o.Intermediates.AddCert(c)
	}
	return chain[0].Verify(o)
}

func usedFor(use x509.ExtKeyUsage) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{use} }
}

// signedByLeaf returns a chain in which a workload has signed the certificate of another.
func signedByLeaf(t *testing.T, root *identitytest.Authority, p identity.Peer) []*x509.Certificate {
	t.Helper()
	mallory := root.Leaf(t, identitytest.Peer(p.ID.TrustDomain, "mallory", ""))
	below := &identitytest.Authority{TrustDomain: domain, Cert: mallory.Leaf, Key: mallory.PrivateKey.(crypto.Signer), Above: root}
	return identitytest.Chain(t, below.Leaf(t, p, identitytest.From(now.Add(-time.Hour)), identitytest.Until(now.Add(time.Hour))))
}

func TestVerifyControlPlane(t *testing.T) {
	t.Parallel()
	root := identitytest.New(t, domain, now)
	plane := identity.Peer{ID: identity.ControlPlane(domain)}
	hosts := func(c *x509.Certificate) {
		c.DNSNames, c.IPAddresses = []string{"localhost", "lateen"}, []net.IP{{127, 0, 0, 1}}
	}
	tests := []struct {
		name  string
		chain []*x509.Certificate
		want  string
	}{
		{"good", identitytest.Chain(t, root.Leaf(t, plane, hosts)), ""},
		{"nothing", nil, "there is no certificate"},
		{"a workload", identitytest.Chain(t, root.Leaf(t, identitytest.Peer(domain, "reviews", ""))), "not for the control plane"},
		{"two URIs", identitytest.Chain(t, root.Leaf(t, plane, func(c *x509.Certificate) {
			c.URIs = append(c.URIs, identitytest.Peer(domain, "reviews", "").ID.URL())
		})), "not for the control plane"},
		{"another root's", identitytest.Chain(t, identitytest.New(t, domain, now).Leaf(t, plane, hosts)), "unknown authority"},
		{"another trust domain's", identitytest.Chain(t, root.Leaf(t, identity.Peer{ID: identity.ControlPlane("other.example")})), "not for the control plane"},
		{"expired", identitytest.Chain(t, root.Leaf(t, plane, hosts, identitytest.Until(now.Add(-time.Second)))), "expired"},
		{"for clients", identitytest.Chain(t, root.Leaf(t, plane, hosts, usedFor(x509.ExtKeyUsageClientAuth))), "incompatible key usage"},
		{"an authority", identitytest.Chain(t, root.Leaf(t, plane, hosts, func(c *x509.Certificate) { c.IsCA = true })), "not for the control plane"},
	}
	for _, test := range tests {
		err := root.Bundle().VerifyControlPlane(test.chain, now)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v; want %q", test.name, err, test.want)
		}
	}
}

// go-spiffe reads our certificates as we do.
func TestGoSPIFFEAgrees(t *testing.T) {
	t.Parallel()
	at := time.Now() // go-spiffe has no other clock here
	root := identitytest.New(t, domain, at)
	between := root.Below(t, "between")
	bundle := x509bundle.FromX509Authorities(spiffeid.RequireTrustDomainFromString(domain), root.Bundle().Roots)
	good := identitytest.Peer(domain, "reviews", "127.9.8.1")
	for _, test := range []struct {
		name  string
		chain []*x509.Certificate
	}{
		{"good", identitytest.Chain(t, between.Leaf(t, good))},
		{"expired", identitytest.Chain(t, between.Leaf(t, good, identitytest.Until(at.Add(-time.Second))))},
		{"an authority", identitytest.Chain(t, between.Leaf(t, good, func(c *x509.Certificate) { c.IsCA = true }))},
		{"signs", identitytest.Chain(t, between.Leaf(t, good, func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCRLSign }))},
		{"two URIs", identitytest.Chain(t, between.Leaf(t, good, func(c *x509.Certificate) { c.URIs = append(c.URIs, c.URIs[0]) }))},
		{"another root's", identitytest.Chain(t, identitytest.New(t, domain, at).Leaf(t, good))},
		{"another trust domain's", identitytest.Chain(t, root.Leaf(t, identitytest.Peer("other.example", "reviews", "")))},
	} {
		id, _, theirs := x509svid.Verify(test.chain, bundle)
		peer, ours := root.Bundle().Verify(test.chain, at)
		if (theirs == nil) != (ours == nil) || ours == nil && id.String() != peer.ID.String() {
			t.Errorf("%s: we say %s, %v; go-spiffe says %s, %v", test.name, peer, ours, id, theirs)
		}
	}
}

// Whatever stands in a certificate is read in one way or refused.
func FuzzPeerOf(f *testing.F) {
	root := identitytest.New(f, domain, now)
	f.Add(root.Leaf(f, identitytest.Peer(domain, "reviews", "127.9.8.1")).Leaf.Raw)
	f.Add(root.Leaf(f, identitytest.Peer(domain, "reviews", ""), named(f, name(6, "spiffe://a/ns/b/sa/c#"), name(8, "x"))).Leaf.Raw)
	f.Add(root.Cert.Raw)
	f.Fuzz(func(t *testing.T, der []byte) {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		checkPeer(t, c)
	})
}

// The names alone, since random changes to a certificate seldom hit them.
func FuzzNames(f *testing.F) {
	add := func(names ...asn1.RawValue) {
		der, err := asn1.Marshal(names)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(der)
	}
	add(name(6, "spiffe://cluster.local/ns/default/sa/reviews"), name(2, "reviews-v1-0.default"), name(7, "\x7f\x09\x08\x01"))
	add(name(6, "spiffe://cluster.local/ns/default/sa/reviews"), name(4, "0"))
	add()
	f.Fuzz(func(t *testing.T, der []byte) {
		checkPeer(t, &x509.Certificate{Extensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: der}}})
	})
}

// checkPeer makes sure that who is read from a certificate is exactly what its bytes say.
func checkPeer(t *testing.T, c *x509.Certificate) {
	t.Helper()
	p, err := identity.PeerOf(c)
	if err != nil {
		if p != (identity.Peer{}) {
			t.Errorf("refused with %v, and is %s", err, p)
		}
		return
	}
	if err := p.Check(); err != nil {
		t.Errorf("%s is read, and is wrong: %v", p, err)
	}
	again, err := identity.Parse(p.ID.String())
	if err != nil || again != p.ID {
		t.Errorf("%s is not read again: %s, %v", p.ID, again, err)
	}
	var san []byte
	for _, e := range c.Extensions {
		if e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 17}) {
			san = e.Value
		}
	}
	for _, text := range []string{p.ID.String(), p.Workload, string(p.Address.AsSlice())} {
		if !strings.Contains(string(san), text) {
			t.Errorf("%q does not stand in the certificate", text)
		}
	}
}
