package serve

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"

	"github.com/lateen-mesh/lateen/internal/admin"
	"github.com/lateen-mesh/lateen/internal/attest"
	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/handover"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/peers"
	"github.com/lateen-mesh/lateen/internal/store"
)

// Shared is what the replicas of a control plane have in common. The zero value: there is one, which shares nothing.
type Shared struct {
	Replica   string            // name of this one
	Members   peers.Members     // tells who the others are; nil: there are none
	Root      ca.Storage        // where the authority's root is; nil: in the state folder
	Leads     func() bool       // tells whether this one writes what is for all; nil: it does not
	Stances   store.Keeper      // where it is kept how ports are secured; nil: in the state folder
	Attestors []attest.Attestor // whose proofs count beside join tokens and certificates
	// Answers counts what was answered to the API server of a cluster; nil: it is answered nothing.
	Answers func() map[Answer]uint64
	// Run does what the parts above need done, until ctx ends; nil: nothing.
	Run func(ctx context.Context) error
}

// Answer is one sort of answers to the API server of a cluster: where it asked, and what became of the object.
type Answer struct{ Path, Result string }

// Roots returns the roots of the trust domain in PEM; nil: there are no identities.
func (p *Plane) Roots() []byte {
	if p.ca == nil {
		return nil
	}
	return p.ca.Bundle().PEM()
}

// Ingress returns which Ingress objects are for the door; false: nobody knows yet.
func (p *Plane) Ingress() (mesh.IngressSettings, bool) {
	s := p.store.Snapshot()
	return s.Settings().Ingress, s.Revision() > 0
}

// PublicTLS returns how the control plane speaks TLS to callers who prove nothing, as an API server does that has a webhook asked: with
// a certificate of its authority for the name of its Service. nil: there are no identities.
func (p *Plane) PublicTLS() *tls.Config {
	if p.ca == nil {
		return nil
	}
	return p.ca.PublicTLS(mesh.SystemName + "." + mesh.SystemNamespace + ".svc")
}

// withPeers makes the peers, and has handovers ask them. Without identities there are none: nobody could prove to be a replica.
func (p *Plane) withPeers(c handover.Config) handover.Config {
	if p.config.Shared.Members == nil || p.config.Secure == nil {
		return c
	}
	own := sync.OnceValue(func() *tls.Config { return p.ca.ReplicaTLS() })
	var reaches peers.Reaches
	if p.judge != nil {
		reaches = p.judge.feed
	}
	p.peers = peers.New(peers.Config{
		Reaches: reaches,
		Replica: p.config.Shared.Replica, Members: p.config.Shared.Members, Engine: p.engine, Log: p.config.Log,
		Dial: peers.DialTLS(func(ctx context.Context, raw net.Conn) (net.Conn, error) {
			connection := tls.Client(raw, own())
			return connection, connection.HandshakeContext(ctx)
		}),
		Report:  func(hosts []mesh.Host) map[mesh.Host]handover.Report { return p.handovers.Report(hosts) },
		Reading: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.admin.Alone().ServeHTTP(w, r) }),
	})
	c.Others = p.peers
	return c
}

// peersOrNil returns no interface where there are no peers, since an interface of a nil pointer is not nil.
func (p *Plane) peersOrNil() admin.Peers {
	if p.peers == nil {
		return nil
	}
	return p.peers
}
