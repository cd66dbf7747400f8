package attest

import (
	"context"
	"time"

	"github.com/lateen-mesh/lateen/internal/identity"
)

// Certificate takes the certificate of the connection as proof, so that a workload renews its own.
type Certificate struct {
	// Known returns why a workload that was attested once is not what it was: removed, or of another account or address. nil:
	// there is nobody to ask, and a certificate is renewed for ever.
	Known func(identity.Peer) error

	trust func() identity.Bundle
	now   func() time.Time
}

// NewCertificate returns an attestor that believes certificates of the bundle that trust returns.
func NewCertificate(trust func() identity.Bundle, now func() time.Time) *Certificate {
	return &Certificate{trust: trust, now: now}
}

// Attest implements [Attestor]. TLS has made sure that the caller has the certificate's key.
func (c *Certificate) Attest(_ context.Context, e Evidence) (Attested, error) {
	if len(e.Chain) == 0 {
		return Attested{}, ErrNoEvidence
	}
	peer, err := c.trust().Verify(e.Chain, c.now())
	if err == nil {
		err = checkPeer(peer)
	}
	if err != nil {
		return Attested{}, refuse("the client certificate is not accepted: %v", err)
	}
	if e.Check != nil {
		if err := e.Check(peer); err != nil {
			return Attested{}, err
		}
	}
	if c.Known != nil {
		if err := c.Known(peer); err != nil {
			return Attested{}, refuse("the certificate is not renewed: %v", err)
		}
	}
	return Attested{Peer: peer, By: ByCertificate}, nil
}
