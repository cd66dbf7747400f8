package enrol_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/lateen-mesh/lateen/internal/attest"
	"github.com/lateen-mesh/lateen/internal/attest/attesttest"
	"github.com/lateen-mesh/lateen/internal/ca/capb"
	"github.com/lateen-mesh/lateen/internal/ca/enrol"
	"github.com/lateen-mesh/lateen/internal/disk"
	"github.com/lateen-mesh/lateen/internal/identity"
	"github.com/lateen-mesh/lateen/internal/identity/identitytest"
)

const domain = attesttest.TrustDomain

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// plane is a control plane that says what a test wants.
type plane struct {
	capb.UnimplementedCertificateAuthorityServer
	asked  atomic.Int32
	answer func(key any) *capb.SignResponse
}

func (p *plane) Sign(_ context.Context, in *capb.SignRequest) (*capb.SignResponse, error) {
	p.asked.Add(1)
	csr, err := x509.ParseCertificateRequest(in.GetCsr())
	if err != nil {
		return nil, err
	}
	return p.answer(csr.PublicKey), nil
}

// serve serves it with a certificate, and returns the address.
func (p *plane) serve(t *testing.T, c tls.Certificate) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{c}, MinVersion: tls.VersionTLS12})))
	capb.RegisterCertificateAuthorityServer(server, p)
	ended := make(chan error)
	go func() { ended <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		must(t, <-ended)
	})
	return l.Addr().String()
}

// tokenFor returns a join token of the authority with this root.
func tokenFor(t *testing.T, root *x509.Certificate) string {
	t.Helper()
	folder, err := disk.Open(t.TempDir())
	must(t, err)
	t.Cleanup(func() { must(t, folder.Close()) })
	tokens := attest.OpenTokens(attest.TokensConfig{
		Folder: folder, TrustDomain: domain, Now: time.Now, Pin: func() attest.Pin { return attest.PinOf(root) },
	})
	token, _, err := tokens.Issue(identitytest.Peer(domain, "reviews", ""), 0)
	must(t, err)
	return token.Reveal()
}

// planeLeaf returns a certificate of the control plane, with its root behind it.
func planeLeaf(t *testing.T, root *identitytest.Authority, change ...func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	c := root.Leaf(t, identity.Peer{ID: identity.ControlPlane(root.TrustDomain)}, change...)
	c.Certificate = append(c.Certificate, root.Cert.Raw)
	return c
}

// Nothing is sent to somebody who is not the control plane that the token or the roots are for.
func TestOnlyTheControlPlaneIsAsked(t *testing.T) {
	t.Parallel()
	now := time.Now()
	root, mallory := identitytest.New(t, domain, now), identitytest.New(t, domain, now)
	token := tokenFor(t, root.Cert)
	trust := root.Bundle()
	elsewhere := identitytest.New(t, "other.example", now)
	behind := planeLeaf(t, mallory) // it shows the right root as well, which has not signed it
	behind.Certificate = append(behind.Certificate, root.Cert.Raw)
	for _, test := range []struct {
		name   string
		server tls.Certificate
		trust  *identity.Bundle
		want   string
	}{
		{"another root, by token", planeLeaf(t, mallory), nil, "does not show that one's root"},
		{"another root, by roots", planeLeaf(t, mallory), &trust, "unknown authority"},
		{"the right root behind another one", behind, nil, "unknown authority"},
		{"without its root, by token", root.Leaf(t, identity.Peer{ID: identity.ControlPlane(domain)}), nil, "does not show that one's root"},
		{"a workload, by token", withRoot(root, root.Leaf(t, identitytest.Peer(domain, "mallory", ""))), nil, "not for the control plane"},
		{"a workload, by roots", root.Leaf(t, identitytest.Peer(domain, "mallory", "")), &trust, "not for the control plane"},
		{"another trust domain", planeLeaf(t, elsewhere), &trust, "not for the control plane"},
		{"expired", planeLeaf(t, root, identitytest.Until(now.Add(-time.Minute))), nil, "expired"},
		{"for clients only", planeLeaf(t, root, func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		}), &trust, "incompatible key usage"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := &plane{answer: func(any) *capb.SignResponse { return new(capb.SignResponse) }}
			answer, err := enrol.Request(t.Context(), enrol.Ask{
				Address: p.serve(t, test.server), TrustDomain: domain, Trust: test.trust, Key: identitytest.NewKey(t), Token: token,
			})
			if err == nil || !strings.Contains(err.Error(), test.want) || answer.Chain != nil || strings.Contains(err.Error(), token) {
				t.Errorf("it is %+v, %v; want %q", answer, err, test.want)
			}
			if n := p.asked.Load(); n != 0 {
				t.Errorf("it was asked %d times, with the token", n)
			}
		})
	}
}

func withRoot(root *identitytest.Authority, c tls.Certificate) tls.Certificate {
	c.Certificate = append(c.Certificate, root.Cert.Raw)
	return c
}

// What the control plane answers is looked at, too.
func TestAnswersThatAreRefused(t *testing.T) {
	t.Parallel()
	now := time.Now()
	root, mallory := identitytest.New(t, domain, now), identitytest.New(t, domain, now)
	peer := identitytest.Peer(domain, "reviews", "127.9.8.1")
	der := func(all ...*x509.Certificate) [][]byte {
		var list [][]byte
		for _, c := range all {
			list = append(list, c.Raw)
		}
		return list
	}
	good := func(key any) *capb.SignResponse {
		return &capb.SignResponse{Chain: der(root.LeafFor(t, peer, key)), Roots: der(root.Cert), Now: timestamppb.New(now)}
	}
	for _, test := range []struct {
		name   string
		change func(*capb.SignResponse)
		want   string
	}{
		{"nothing is wrong", func(*capb.SignResponse) {}, ""},
		{"a second root", func(r *capb.SignResponse) { r.Roots = der(mallory.Cert, root.Cert) }, ""},
		{"another clock", func(r *capb.SignResponse) { r.Now = timestamppb.New(now.Add(5 * time.Minute)) }, ""},
		{"nothing", func(r *capb.SignResponse) { r.Reset() }, "1 to 64 roots"},
		{"no certificate", func(r *capb.SignResponse) { r.Chain = nil }, "there is no certificate"},
		{"no clock", func(r *capb.SignResponse) { r.Now = nil }, "not yet valid"},
		{"another root", func(r *capb.SignResponse) { r.Roots = der(mallory.Cert) }, "unknown authority"},
		{"no authority among the roots", func(r *capb.SignResponse) { r.Roots = append(r.Roots, r.GetChain()[0]) }, "no authority"},
		{"no certificate of a root", func(r *capb.SignResponse) { r.Roots = [][]byte{{1}} }, "a certificate that came"},
		{"too many", func(r *capb.SignResponse) {
			for len(r.GetChain()) < 100 {
				r.Chain = append(r.Chain, root.Cert.Raw)
			}
		}, "100 certificates came"},
		{"another key", func(r *capb.SignResponse) { r.Chain = der(root.Leaf(t, peer).Leaf) }, "for another key"},
		{"another trust domain", func(r *capb.SignResponse) {
			r.Chain = der(root.Leaf(t, identitytest.Peer("other.example", "reviews", "")).Leaf)
		}, "not of the trust domain"},
		{"an authority", func(r *capb.SignResponse) { r.Chain = der(root.Cert) }, "an authority's"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := &plane{answer: func(key any) *capb.SignResponse {
				r := good(key)
				test.change(r)
				return r
			}}
			answer, err := enrol.Request(t.Context(), enrol.Ask{
				Address: p.serve(t, planeLeaf(t, root)), TrustDomain: domain, Key: identitytest.NewKey(t), Token: tokenFor(t, root.Cert),
			})
			switch {
			case test.want == "" && (err != nil || answer.Peer != peer):
				t.Errorf("it is %s, %v", answer.Peer, err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want) || answer.Chain != nil):
				t.Errorf("it is %+v, %v; want %q", answer, err, test.want)
			}
		})
	}
}

// What cannot be asked is told before anybody is.
func TestAsk(t *testing.T) {
	t.Parallel()
	root := identitytest.New(t, domain, time.Now())
	trust, elsewhere := root.Bundle(), identitytest.New(t, "other.example", time.Now()).Bundle()
	token := tokenFor(t, root.Cert)
	held := root.Leaf(t, identitytest.Peer(domain, "reviews", ""))
	old := root.Leaf(t, identitytest.Peer(domain, "reviews", ""), identitytest.Until(time.Now().Add(-time.Second)))
	for _, test := range []struct {
		name string
		ask  enrol.Ask
		want string
	}{
		{"nothing to show", enrol.Ask{Trust: &trust}, "either a token or a certificate"},
		{"both", enrol.Ask{Trust: &trust, Token: token, Renew: &held}, "either a token or a certificate"},
		{"no token", enrol.Ask{Token: "secret words"}, "this is no join token"},
		{"no roots to renew by", enrol.Ask{Renew: &held}, "this is no join token"},
		{"no roots", enrol.Ask{Trust: new(identity.Bundle), Token: token}, "1 to 64 roots"},
		{"roots of elsewhere", enrol.Ask{Trust: &elsewhere, Token: token}, "roots of other.example"},
		{"an expired certificate", enrol.Ask{Trust: &trust, Renew: &old}, enrol.ErrExpired.Error()},
		{"no certificate", enrol.Ask{Trust: &trust, Renew: new(tls.Certificate)}, "there is none"},
		{"nobody there", enrol.Ask{Trust: &trust, Token: token}, "connection refused"},
	} {
		test.ask.Address, test.ask.TrustDomain, test.ask.Key = "127.0.0.1:1", domain, identitytest.NewKey(t)
		if _, err := enrol.Request(t.Context(), test.ask); err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "secret words") {
			t.Errorf("%s: %v; want %q", test.name, err, test.want)
		}
	}
}
