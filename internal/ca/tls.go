package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/internal/identity"
)

// ownLeaf counts the certificates of the control plane itself.
const ownLeaf = "own"

// ServerTLS returns how the control plane's own listener speaks TLS: with a certificate for [identity.ControlPlane] that has the
// hosts (names of DNS and IP addresses) too and is renewed by itself, and with callers that show a good certificate of a
// workload of this trust domain, or none: one that is expired, foreign or no workload's ends the handshake. Behind it the chain
// has the root, so that who knows only its fingerprint can verify it.
func (a *Authority) ServerTLS(hosts ...string) *tls.Config {
	return a.serverTLS(a.verifyClient, hosts...)
}

// ReplicaTLS returns how this control plane speaks to another replica of it: both show that they are the control plane.
func (a *Authority) ReplicaTLS() *tls.Config {
	own := &ownCertificate{authority: a}
	own.order.dns = []string{"lateen"}
	return &tls.Config{
		MinVersion:           tls.VersionTLS12,
		NextProtos:           []string{"h2"},
		Time:                 a.c.Now,
		InsecureSkipVerify:   true, // whoever is at an address does not matter: its SPIFFE ID does
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own.get(nil) },
		VerifyConnection: func(state tls.ConnectionState) error {
			return a.Bundle().VerifyControlPlane(state.PeerCertificates, a.c.Now())
		},
	}
}

// PublicTLS returns how a listener speaks TLS whose callers prove nothing: with the same certificate as that of [Authority.ServerTLS]. What they
// show is not looked at.
func (a *Authority) PublicTLS(hosts ...string) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, Time: a.c.Now, GetCertificate: a.ownFor(hosts).get}
}

// ownFor returns the control plane's own certificate for hosts.
func (a *Authority) ownFor(hosts []string) *ownCertificate {
	own := &ownCertificate{authority: a}
	for _, host := range hosts {
		if address, err := netip.ParseAddr(host); err == nil {
			own.order.addresses = append(own.order.addresses, address.Unmap())
		} else {
			own.order.dns = append(own.order.dns, host)
		}
	}
	return own
}

// serverTLS returns the same for callers whom verify lets in. All connections share it, since the roots of an authority do not change.
func (a *Authority) serverTLS(verify func(tls.ConnectionState) error, hosts ...string) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS12,
		NextProtos:             []string{"h2"},
		Time:                   a.c.Now,
		GetCertificate:         a.ownFor(hosts).get,
		ClientAuth:             tls.VerifyClientCertIfGiven,
		ClientCAs:              a.signer.trusted,
		SessionTicketsDisabled: true, // each connection shows its certificate
		VerifyConnection:       verify,
	}
}

// verifyCaller lets in another replica of the control plane as well.
func (a *Authority) verifyCaller(state tls.ConnectionState) error {
	if a.isReplica(state) {
		return nil
	}
	return a.verifyClient(state)
}

// isReplica tells whether a caller is the control plane.
func (a *Authority) isReplica(state tls.ConnectionState) bool {
	return len(state.PeerCertificates) > 0 && a.Bundle().VerifyControlPlane(state.PeerCertificates, a.c.Now()) == nil
}

// verifyClient looks at what a caller has shown with our own rules. The handshake has verified it, by the roots and at the time of now.
func (a *Authority) verifyClient(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return nil
	}
	p, err := a.Bundle().PeerOfVerified(state.VerifiedChains)
	if err != nil {
		return err
	}
	if p.Workload == "" || p.ID == identity.ControlPlane(a.c.TrustDomain) {
		return fmt.Errorf("the certificate of %s is no workload's", p)
	}
	return nil
}

// ownCertificate is the control plane's own, renewed when half of its time is over and somebody connects.
type ownCertificate struct {
	authority *Authority
	order     order // without what differs from one to the next

	mu      sync.Mutex
	current *tls.Certificate
	renew   time.Time
}

func (o *ownCertificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.authority.c.Now()
	if o.current != nil && now.Before(o.renew) && !now.Before(o.current.Leaf.NotBefore) {
		return o.current, nil
	}
	next, err := o.make()
	switch {
	case err == nil:
		o.current, o.renew = next, now.Add(next.Leaf.NotAfter.Sub(now)/2)
	case o.current != nil && now.Before(o.current.Leaf.NotAfter):
		o.authority.c.Log.Error("the control plane's own certificate cannot be renewed yet", "err", err)
	default:
		return nil, err
	}
	return o.current, nil
}

func (o *ownCertificate) make() (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	order := o.order
	order.id, order.key = identity.ControlPlane(o.authority.c.TrustDomain), key.Public()
	chain, err := o.authority.make(order)
	if err != nil {
		return nil, err
	}
	o.authority.counts.issue(ownLeaf)
	c := &tls.Certificate{PrivateKey: key, Leaf: chain[0]}
	for _, one := range append(chain, o.authority.signer.top) {
		c.Certificate = append(c.Certificate, one.Raw)
	}
	return c, nil
}
