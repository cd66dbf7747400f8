// Package ca is the certificate authority of a mesh: it gives workloads the certificates that prove who they are.
//
// What comes in: requests for certificates (PKCS #10) with evidence of who asks. What goes out: certificates of SPIFFE
// (X509-SVID), and the roots by which they are trusted. The steps are apart: who asks ([attest.Attestor]), what the certificate
// is to be (template.go), the signature (sign.go), a check of what was signed by other code than made it (check.go), and what
// callers may burden it with (limit.go). A certificate that breaks a rule is never returned, whatever the template says.
//
// The root is made at the first start and kept in a file for its owner only, or plugged in. One that is lost is never replaced
// silently: [Open] refuses. While an authority runs it works from memory, and puts the file back ([Authority.Run]). A key is in
// no log, message or status.
package ca

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/lateen-mesh/lateen/internal/attest"
	"github.com/lateen-mesh/lateen/internal/disk"
	"github.com/lateen-mesh/lateen/internal/identity"
)

// Bounds of the time that a workload's certificate holds.
const (
	DefaultTTL  = 24 * time.Hour
	ShortestTTL = 10 * time.Second
	LongestTTL  = 30 * 24 * time.Hour
)

// openBound bounds how long it takes to read what is kept, or to make it.
const openBound = time.Minute

// Config is what an Authority is made with.
type Config struct {
	State       string        // folder of the control plane; made if need be
	TrustDomain string        // of all identities
	TTL         time.Duration // how long a workload's certificate holds; 0: [DefaultTTL]
	Plugged     Plugged       // the zero value: what the storage has, or a root of its own
	Storage     Storage       // of the root; nil: files in State
	// Known returns why the certificate of a workload is not to be renewed; nil: every one is that holds.
	Known func(identity.Peer) error
	Now   func() time.Time
	Log   *slog.Logger
}

func (c *Config) check() error {
	if c.TTL == 0 {
		c.TTL = DefaultTTL
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.TTL < ShortestTTL || c.TTL > LongestTTL {
		return fmt.Errorf("a certificate that holds for %s: it can be %s to %s", c.TTL, ShortestTTL, LongestTTL)
	}
	return identity.CheckTrustDomain(c.TrustDomain)
}

// Authority signs certificates. Its methods may be called from any goroutine.
type Authority struct {
	c       Config
	folder  *disk.Folder
	lock    *os.File
	storage Storage
	keeper  keeper
	signer  *signer
	tokens  *attest.Tokens
	counts  *counts
	rate    *rates
	slots   *semaphore.Weighted
	// template says what a certificate is to be. What it says is not believed: see check.go.
	template func(order) (*x509.Certificate, error)
}

// Open reads the authority's root, or makes it at the very first start. The error is [*Unusable] when somebody has to decide
// what is to become of it. [Authority.Close] gives the folder back.
func Open(c Config) (*Authority, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	folder, lock, err := openState(c.State)
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	a := &Authority{
		c: c, folder: folder, lock: lock, storage: c.Storage, counts: newCounts(), rate: newRates(c.Now, min(refill, c.TTL/4)), slots: newSlots(),
		template: leafTemplate,
	}
	if a.storage == nil {
		a.storage = NewFiles(folder)
	}
	ctx, cancel := context.WithTimeout(context.Background(), openBound) //nolint:forbidigo // nothing goes on before it is open, and it is bounded
	defer cancel()
	if a.signer, a.keeper, err = a.load(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("certificate authority: %w", err), a.Close())
	}
	a.tokens = attest.OpenTokens(attest.TokensConfig{
		Folder: folder, TrustDomain: c.TrustDomain, Now: c.Now, Log: c.Log,
		Pin: func() attest.Pin { return attest.PinOf(a.signer.root()) },
	})
	return a, nil
}

// Close gives the state folder back. Signing goes on to work, but tokens do not.
func (a *Authority) Close() error { return errors.Join(unlock(a.lock), a.folder.Close()) }

// Run looks after the file of the root until ctx ends.
func (a *Authority) Run(ctx context.Context) error {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			a.Look(ctx)
		}
	}
}

// Bundle returns the roots by which certificates of the trust domain are trusted.
func (a *Authority) Bundle() identity.Bundle {
	return identity.Bundle{TrustDomain: a.c.TrustDomain, Roots: a.signer.roots}
}

// Tokens returns the join tokens by which workloads prove who they are the first time.
func (a *Authority) Tokens() *attest.Tokens { return a.tokens }

// Attestor returns what the authority believes: what is given, else a join token, else the certificate that is to be renewed.
func (a *Authority) Attestor(before ...attest.Attestor) attest.Attestor {
	renewal := attest.NewCertificate(a.Bundle, a.c.Now)
	renewal.Known = a.c.Known
	return attest.First(append(slices.Clone(before), a.tokens, renewal)...)
}
