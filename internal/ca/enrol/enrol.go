// Package enrol gets a workload its certificate from the control plane.
//
// What comes in: where the control plane is, how to know it, the workload's key, and a join token, the token of a pod's
// ServiceAccount, or the certificate that is to be renewed. What goes out: a chain for that key, and the roots of the trust domain, verified against each other. The key
// stays where it is. The other side is always verified: as the control plane of the trust domain, by roots that are known, or by
// the one whose pin the token has.
package enrol

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/lateen-mesh/lateen/internal/attest"
	"github.com/lateen-mesh/lateen/internal/ca/capb"
	"github.com/lateen-mesh/lateen/internal/identity"
)

// Ask is a request for a certificate.
type Ask struct {
	Address     string           // HOST:PORT of the control plane
	TrustDomain string           // of the mesh
	Trust       *identity.Bundle // roots by which the control plane is known; nil: the token's pin says which
	Key         crypto.Signer    // of the workload. Keep it for further tries with the same token: it counts for one key
	Workload    string           // that it is for, "reviews-v2-0.default": a token for another one is refused, and not spent; "": whichever
	Token       string           // join token; "": none
	// ServiceAccount is the token of a Kubernetes ServiceAccount; it needs Trust. "": none.
	ServiceAccount string
	Renew          *tls.Certificate // the certificate that is to be renewed, with its own key; nil: none. One of the three is given
	Now            func() time.Time // nil: [time.Now]
}

// Answer is what the control plane gave.
type Answer struct {
	Chain []*x509.Certificate // the workload's own first, without the root
	Peer  identity.Peer       // whom it speaks for
	Trust identity.Bundle     // the roots of the trust domain
	Now   time.Time           // the clock of the authority
}

// ErrExpired is the error that the certificate to renew does not hold any more: it takes a join token now.
var ErrExpired = errors.New("the certificate that is to be renewed has expired: a join token is needed")

// Request asks once. Errors of the control plane are statuses of gRPC, as ca.proto says; others say what is wrong here.
func Request(ctx context.Context, ask Ask) (Answer, error) {
	if ask.Now == nil {
		ask.Now = time.Now
	}
	if err := ask.checkOne(); err != nil {
		return Answer{}, err
	}
	if err := ask.checkRenew(); err != nil {
		return Answer{}, err
	}
	verify, err := ask.verifier()
	if err != nil {
		return Answer{}, err
	}
	var names x509.CertificateRequest
	if ask.Workload != "" {
		names.DNSNames = []string{ask.Workload}
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &names, ask.Key)
	if err != nil {
		return Answer{}, err
	}
	connection, err := grpc.NewClient("passthrough:///"+ask.Address, grpc.WithTransportCredentials(credentials.NewTLS(ask.tls(verify))),
		grpc.WithNoProxy(), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)))
	if err != nil {
		return Answer{}, err
	}
	defer connection.Close() //nolint:errcheck // the answer is there
	out, err := capb.NewCertificateAuthorityClient(connection).Sign(ctx, &capb.SignRequest{Csr: csr, Token: ask.Token, ServiceAccountToken: ask.ServiceAccount})
	if err != nil {
		return Answer{}, err
	}
	return ask.read(out)
}

// checkOne makes sure that there is one proof of who asks.
func (a Ask) checkOne() error {
	n := 0
	for _, there := range []bool{a.Token != "", a.ServiceAccount != "", a.Renew != nil} {
		if there {
			n++
		}
	}
	if n != 1 {
		return errors.New("either a token or a certificate to renew is needed")
	}
	if a.ServiceAccount != "" && a.Trust == nil {
		return errors.New("the token of a ServiceAccount is shown to nobody without roots by which the control plane is known")
	}
	return nil
}

// checkRenew looks at the certificate that is to be renewed: with one that has expired there is no connection, and no word why.
func (a Ask) checkRenew() error {
	if a.Renew == nil {
		return nil
	}
	held, err := parse(a.Renew.Certificate)
	if err == nil && len(held) == 0 {
		err = errors.New("there is none")
	}
	if err != nil {
		return fmt.Errorf("the certificate that is to be renewed: %w", err)
	}
	if a.Now().After(held[0].NotAfter) {
		return ErrExpired
	}
	return nil
}

// maxAnswer bounds an answer in bytes.
const maxAnswer = 1 << 20

// tls returns how the control plane is spoken to. Its host name does not matter: verify looks at its SPIFFE ID.
func (a Ask) tls(verify func([]*x509.Certificate) error) *tls.Config {
	config := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		Time:               a.Now,
		InsecureSkipVerify: true,
		VerifyConnection:   func(state tls.ConnectionState) error { return verify(state.PeerCertificates) },
	}
	if a.Renew != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return a.Renew, nil }
	}
	return config
}

// verifier returns how the control plane is verified.
func (a Ask) verifier() (func([]*x509.Certificate) error, error) {
	if a.Trust != nil {
		if err := a.Trust.Check(); err != nil {
			return nil, err
		}
		if a.Trust.TrustDomain != a.TrustDomain {
			return nil, fmt.Errorf("roots of %s do not tell who is of %s", a.Trust.TrustDomain, a.TrustDomain)
		}
		return func(chain []*x509.Certificate) error { return a.Trust.VerifyControlPlane(chain, a.Now()) }, nil
	}
	token, err := attest.ParseToken(a.Token)
	if err != nil {
		return nil, fmt.Errorf("without roots the control plane is known by a join token only: %w", err)
	}
	return func(chain []*x509.Certificate) error {
		for _, c := range chain {
			if c.IsCA && attest.PinOf(c) == token.Pin {
				return identity.Bundle{TrustDomain: a.TrustDomain, Roots: []*x509.Certificate{c}}.VerifyControlPlane(chain, a.Now())
			}
		}
		return errors.New("the control plane is not the one that the join token is for: it does not show that one's root")
	}, nil
}

// read looks at what came, as if somebody else had sent it.
func (a Ask) read(out *capb.SignResponse) (Answer, error) {
	answer := Answer{Trust: identity.Bundle{TrustDomain: a.TrustDomain}, Now: out.GetNow().AsTime()}
	var err error
	if answer.Chain, err = parse(out.GetChain()); err != nil {
		return Answer{}, err
	}
	if answer.Trust.Roots, err = parse(out.GetRoots()); err != nil {
		return Answer{}, err
	}
	if err := answer.Trust.Check(); err != nil {
		return Answer{}, err
	}
	// The clock that counts is the authority's: with its own, a host whose clock is wrong would be told something else.
	if answer.Peer, err = answer.Trust.Verify(answer.Chain, answer.Now); err != nil {
		return Answer{}, err
	}
	if public, ok := a.Key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(answer.Chain[0].PublicKey) {
		return Answer{}, errors.New("the certificate that came is for another key")
	}
	return answer, nil
}

// maxChain bounds the certificates of a list.
const maxChain = 64

func parse(list [][]byte) ([]*x509.Certificate, error) {
	if len(list) > maxChain {
		return nil, fmt.Errorf("%d certificates came: at most %d are taken", len(list), maxChain)
	}
	var all []*x509.Certificate
	for _, der := range list {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("a certificate that came: %w", err)
		}
		all = append(all, c)
	}
	return all, nil
}
