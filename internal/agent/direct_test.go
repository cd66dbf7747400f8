package agent

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/ca/capb"
	"github.com/lateen-mesh/lateen/internal/identity"
)

// direct is the real authority without a network, for tests whose clock is their own.
type direct struct {
	t         *testing.T
	authority *ca.Authority
	service   *ca.Service
}

func newDirect(t *testing.T, ttl time.Duration) direct {
	t.Helper()
	authority := openAuthority(t, ttl)
	return direct{t: t, authority: authority, service: ca.NewService(authority, authority.Attestor())}
}

// token returns a fresh join token.
func (d direct) token(who identity.Peer) string {
	d.t.Helper()
	token, _, err := d.authority.Tokens().Issue(who, 0)
	if err != nil {
		d.t.Fatal(err)
	}
	return token.Reveal()
}

// sign is a [signer].
func (d direct) sign(ctx context.Context, r request) (*credential, time.Time, error) {
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, r.key)
	if err != nil {
		d.t.Fatal(err)
	}
	var state tls.ConnectionState
	if r.token == "" {
		state.PeerCertificates = r.current.chain
	}
	ctx = peer.NewContext(ctx, &peer.Peer{Addr: nobody{}, AuthInfo: credentials.TLSInfo{State: state}})
	out, err := d.service.Sign(ctx, &capb.SignRequest{Csr: csr, Token: r.token})
	if err != nil {
		return nil, time.Time{}, err
	}
	c := &credential{roots: identity.Bundle{TrustDomain: trustDomain}}
	for _, der := range out.GetChain() {
		c.chain = append(c.chain, d.parse(der))
	}
	for _, der := range out.GetRoots() {
		c.roots.Roots = append(c.roots.Roots, d.parse(der))
	}
	return c, out.GetNow().AsTime(), nil
}

func (d direct) parse(der []byte) *x509.Certificate {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		d.t.Fatal(err)
	}
	return c
}

// credential returns a credential of a workload.
func (d direct) credential(who identity.Peer) *credential {
	d.t.Helper()
	key, err := newKey()
	if err != nil {
		d.t.Fatal(err)
	}
	asked := at(time.Now)
	c, now, err := d.sign(d.t.Context(), request{key: key, token: d.token(who)})
	if err != nil {
		d.t.Fatal(err)
	}
	c.key, c.asked = key, asked
	if err := c.check(who.Workload, now); err != nil {
		d.t.Fatal(err)
	}
	return c
}

// certify returns a chain for a key.
func (d direct) certify(key crypto.Signer) []*x509.Certificate {
	d.t.Helper()
	c, _, err := d.sign(d.t.Context(), request{key: key, token: d.token(web)})
	if err != nil {
		d.t.Fatal(err)
	}
	return c.chain
}

// nobody is an address.
type nobody struct{}

func (nobody) Network() string { return "none" }
func (nobody) String() string  { return "nobody" }
