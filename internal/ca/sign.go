package ca

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/lateen-mesh/lateen/internal/attest"
	"github.com/lateen-mesh/lateen/internal/identity"
)

// Sign returns a certificate for who was attested, and those between it and a root: leaf first, without the root. The error is
// a [*Refusal] when the request is to blame.
func (a *Authority) Sign(ctx context.Context, csr []byte, who attest.Attested) ([]*x509.Certificate, error) {
	r, err := parseRequest(csr)
	if err != nil {
		return nil, refusal(ReasonRequest, err)
	}
	if err := a.slots.Acquire(ctx, 1); err != nil {
		return nil, refusal(ReasonBusy, err)
	}
	defer a.slots.Release(1)
	if err := r.check(); err != nil {
		return nil, refusal(ReasonRequest, err)
	}
	return a.sign(r, who)
}

// sign signs a request that was checked. Whoever calls it holds a slot.
func (a *Authority) sign(r request, who attest.Attested) ([]*x509.Certificate, error) {
	if err := who.Peer.Check(); err != nil || who.Peer.Workload == "" {
		return nil, fmt.Errorf("a certificate for %s: %w", who.Peer, errors.Join(err, errWho))
	}
	if who.Peer.ID == identity.ControlPlane(a.c.TrustDomain) || who.Peer.ID.TrustDomain != a.c.TrustDomain {
		return nil, fmt.Errorf("a certificate for %s: %w", who.Peer, errWho)
	}
	if err := r.of(who.Peer); err != nil {
		return nil, err
	}
	if err := a.rate.take(who.Peer.Workload); err != nil {
		return nil, refusal(ReasonRate, err)
	}
	o := order{id: who.Peer.ID, dns: []string{who.Peer.Workload}, addresses: who.Peer.Addresses(), key: r.csr.PublicKey}
	chain, err := a.make(o)
	if err == nil {
		a.counts.issue(who.By)
	}
	return chain, err
}

var errWho = errors.New("it is no workload of this trust domain")

// make makes what is ordered, and returns it only if it is that.
func (a *Authority) make(o order) ([]*x509.Certificate, error) {
	o.now, o.ttl = a.c.Now(), a.c.TTL
	return a.signer.sign(o, a.template)
}

// sign signs what the template makes of an order.
func (s *signer) sign(o order, template func(order) (*x509.Certificate, error)) ([]*x509.Certificate, error) {
	o.ends = s.ends()
	wanted, err := template(o.copied()) // what it does to its order does not change what is checked
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, wanted, s.cert, o.key, s.key)
	if err != nil {
		return nil, err
	}
	c, err := s.checkSigned(der, o)
	if err != nil {
		return nil, fmt.Errorf("a certificate for %s was signed that breaks a rule, and is thrown away: %w", o.id, err)
	}
	return append([]*x509.Certificate{c}, s.chain...), nil
}
