// Package attest decides who a caller of the certificate authority is.
//
// What comes in is [Evidence]: what the caller shows. What goes out is whom it proves to be, down to the one workload, or an
// error. There is an [Attestor] for each kind of evidence: [Tokens] (a secret that counts once), [Certificate] (the one that
// is to be renewed), and on Kubernetes attest/kube (the token of a pod's ServiceAccount); [First] puts them together. All pass
// the suite in attesttest, which says what one must do.
//
// Nothing of what a caller says about itself is believed, and an attestor has no names of its own: they are those that
// whoever gave the token out has said, or those in the verified certificate.
package attest

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/lateen-mesh/lateen/internal/identity"
)

// Evidence is what a caller shows.
type Evidence struct {
	Token string // a join token; "": none
	// ServiceAccount is the token of a Kubernetes ServiceAccount, bound to a pod; "": none. It is good until it ends, for any key.
	ServiceAccount string
	Chain          []*x509.Certificate // of the connection, leaf first, verified by nobody yet
	Key            []byte              // the public key that a certificate is wanted for, as PKIX in DER
	// Check returns why a peer may not have what is asked for. Evidence that counts once is not spent by such a request. nil:
	// whoever it is may have it.
	Check func(identity.Peer) error
}

// Attested is who a caller is.
type Attested struct {
	Peer identity.Peer // with a workload, always
	By   string        // what proved it: [ByToken], [ByCertificate], [ByServiceAccount]
}

// What can prove who somebody is.
const (
	ByToken          = "token"
	ByCertificate    = "certificate"
	ByServiceAccount = "service-account"
)

// Attestor decides by one kind of evidence. Its methods may be called from any goroutine.
type Attestor interface {
	// Attest returns who shows the evidence. The error is [ErrNoEvidence] when there is none of the attestor's kind, a
	// [*Refused] when there is some that does not hold, that of the evidence's check, [ErrBusy] when too many ask, and any other when nobody can tell now. One
	// that has to ask somebody else bounds by itself how many wait for that, and for how long.
	Attest(ctx context.Context, e Evidence) (Attested, error)
}

// ErrNoEvidence is the error that a caller shows nothing of the kind that is asked for.
var ErrNoEvidence = errors.New("there is neither a token nor a client certificate")

// ErrBusy is the error that too many wait already to be told who they are, so that it is to be tried later.
var ErrBusy = errors.New("too many wait to prove who they are; try again in a few seconds")

// Refused is the error that evidence does not hold. Its text is for the caller, and holds no secret.
type Refused struct{ Why string }

// Error returns the reason.
func (r *Refused) Error() string { return r.Why }

// Refuse returns a [*Refused] with a reason, for attestors in other packages.
func Refuse(format string, args ...any) error { return refuse(format, args...) }

func refuse(format string, args ...any) error { return &Refused{Why: fmt.Sprintf(format, args...)} }

// First asks one attestor after the other until one has evidence of its kind; its word is final.
func First(attestors ...Attestor) Attestor { return first(attestors) }

type first []Attestor

func (f first) Attest(ctx context.Context, e Evidence) (Attested, error) {
	for _, a := range f {
		if who, err := a.Attest(ctx, e); !errors.Is(err, ErrNoEvidence) {
			return who, err
		}
	}
	return Attested{}, ErrNoEvidence
}

// CheckPeer returns an error unless a workload can be the peer.
func CheckPeer(p identity.Peer) error { return checkPeer(p) }

func checkPeer(p identity.Peer) error {
	switch err := p.Check(); {
	case err != nil:
		return err
	case p.Workload == "":
		return errors.New("it names no workload")
	case p.ID == identity.ControlPlane(p.ID.TrustDomain):
		return errors.New("the identity of the control plane is no workload's")
	}
	return nil
}
