package agent

import (
	"context"
	"crypto"
	"fmt"
	"time"

	"github.com/lateen-mesh/lateen/internal/ca/enrol"
	"github.com/lateen-mesh/lateen/internal/disk"
	"github.com/lateen-mesh/lateen/internal/identity"
)

// request is what an authority needs to sign.
type request struct {
	key     crypto.Signer // that the certificate is to be for
	token   string        // "": the present certificate says who asks
	current *credential   // nil: there was none yet
}

// signer asks the authority once. It returns a credential without its key, and what the authority's clock shows. The error
// is a gRPC status, or says that nobody answers.
type signer func(context.Context, request) (*credential, time.Time, error)

// maxRoots bounds a file of roots in bytes.
const maxRoots = 256 << 10

// newSigner returns what asks the control plane.
func newSigner(c *Config) (signer, error) {
	if c.ServiceAccountToken == "" { // else the file may still come: a volume is filled when its ConfigMap is there
		if _, err := c.roots(); err != nil {
			return nil, err
		}
	}
	return func(ctx context.Context, r request) (*credential, time.Time, error) {
		ask := enrol.Ask{Address: c.ControlPlane, TrustDomain: c.TrustDomain, Key: r.key, Workload: c.Node, Now: c.Clock}
		if r.current != nil {
			ask.Now = func() time.Time { return c.Clock().Add(r.current.skew) } // its clock counts
		}
		if r.token == "" {
			shown := r.current.certificate()
			ask.Trust, ask.Renew = &r.current.roots, &shown
		} else if err := c.show(&ask, r.token); err != nil {
			return nil, time.Time{}, err
		}
		answer, err := enrol.Request(ctx, ask)
		return &credential{chain: answer.Chain, roots: answer.Trust}, answer.Now, err
	}, nil
}

// show has a request made by a token, to a control plane that is known by the roots of this moment.
func (c *Config) show(ask *enrol.Ask, token string) (err error) {
	if c.ServiceAccountToken == "" {
		ask.Token = token
	} else {
		ask.ServiceAccount = token
	}
	ask.Trust, err = c.roots()
	return err
}

// roots reads the roots by which the control plane is trusted; nil: a token tells.
func (c *Config) roots() (*identity.Bundle, error) {
	if c.RootCert == "" {
		return nil, nil //nolint:nilnil // there are none
	}
	text, err := disk.ReadFile(c.RootCert, maxRoots)
	if err != nil {
		return nil, fmt.Errorf("roots of the control plane: %w", err)
	}
	bundle, err := identity.ParseBundle(c.TrustDomain, text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.RootCert, err)
	}
	return &bundle, nil
}
