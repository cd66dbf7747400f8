package agent

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/lateen-mesh/lateen/internal/identity"
)

const (
	keyBlock         = "PRIVATE KEY"
	certificateBlock = "CERTIFICATE"
	// maxChain bounds the certificates between a workload's and a root, its own included.
	maxChain = 8
)

// credential is a key with a certificate for it, and the roots by which others are trusted. It is never changed.
type credential struct {
	key   crypto.Signer
	chain []*x509.Certificate // leaf first
	roots identity.Bundle
	peer  identity.Peer // whom the certificate speaks for

	asked moment        // when it was asked for, so that it is not taken for younger than it is
	skew  time.Duration // what the authority's clock was ahead of this machine's then, at most
}

// newKey makes a private key.
func newKey() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// leaf is the certificate itself.
func (c *credential) leaf() *x509.Certificate { return c.chain[0] }

// check returns an error unless the credential is whole and good at a moment, and is for the workload ("": whichever).
func (c *credential) check(workload string, now time.Time) error {
	if len(c.chain) == 0 || len(c.chain) > maxChain {
		return fmt.Errorf("a chain of %d certificates: 1 to %d are taken", len(c.chain), maxChain)
	}
	if err := c.roots.Check(); err != nil {
		return err
	}
	public, ok := c.key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(c.leaf().PublicKey) {
		return errors.New("the certificate is for another key")
	}
	peer, err := c.roots.Verify(c.chain, now)
	if err != nil {
		return err
	}
	if workload != "" && peer.Workload != workload {
		return fmt.Errorf("the certificate is for %q, and this is %s", peer.Workload, workload)
	}
	c.peer = peer
	return nil
}

// isOf returns an error unless the credential holds at an address; none: anywhere. The control plane may not have heard yet that a workload has
// another address than before, as a pod has whose sandbox was made anew: with the one of before its proxy would be refused.
func (c *credential) isOf(address netip.Addr) error {
	all := c.peer.Addresses()
	if !address.IsValid() || len(all) == 0 || slices.Contains(all, address) {
		return nil
	}
	return fmt.Errorf("the certificate is for the address %s, and this is %s: the control plane has not heard of it yet", all[0], address)
}

// certificate returns the credential as a TLS client shows it.
func (c *credential) certificate() tls.Certificate {
	shown := tls.Certificate{PrivateKey: c.key, Leaf: c.leaf()}
	for _, link := range c.chain {
		shown.Certificate = append(shown.Certificate, link.Raw)
	}
	return shown
}

// chainPEM returns the chain, leaf first.
func (c *credential) chainPEM() []byte {
	var text bytes.Buffer
	for _, link := range c.chain {
		_ = pem.Encode(&text, &pem.Block{Type: certificateBlock, Bytes: link.Raw}) // a buffer takes everything
	}
	return text.Bytes()
}

// keyPEM returns the private key.
func (c *credential) keyPEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(c.key)
	if err != nil {
		return nil, fmt.Errorf("write private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: keyBlock, Bytes: der}), nil
}

// remaining returns for how long the certificate is still good, negative for one that has expired.
func (c *credential) remaining(now moment) time.Duration {
	life := c.leaf().NotAfter.Sub(c.asked.wall.Add(c.skew))
	return min(life-now.steady.Sub(c.asked.steady), c.leaf().NotAfter.Sub(now.wall.Add(c.skew)))
}
