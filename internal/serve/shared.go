package serve

import (
	"context"

	"github.com/lateen-mesh/lateen/internal/attest"
	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/peers"
	"github.com/lateen-mesh/lateen/internal/store"
)

// Shared is what the replicas of a control plane have in common. The zero value: there is one, which shares nothing.
type Shared struct {
	Replica   string            // name of this one
	Members   peers.Members     // tells who the others are; nil: there are none
	Root      ca.Storage        // where the authority's root is; nil: in the state folder
	Stances   store.Keeper      // where it is kept how ports are secured; nil: in the state folder
	Attestors []attest.Attestor // whose proofs count beside join tokens and certificates
	// Run does what the parts above need done, until ctx ends; nil: nothing.
	Run func(ctx context.Context) error
}

// Roots returns the roots of the trust domain in PEM; nil: there are no identities.
func (p *Plane) Roots() []byte {
	if p.ca == nil {
		return nil
	}
	return p.ca.Bundle().PEM()
}
