package ca_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"log/slog"
	"net"
	"net/netip"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/ca/enrol"
	"github.com/lateen-mesh/lateen/internal/identity"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestSmoke(t *testing.T) {
	a, err := ca.Open(ca.Config{State: t.TempDir(), TrustDomain: "cluster.local", Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	defer a.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(a.ServerTLS("localhost", "127.0.0.1"))))
	ca.NewService(a, a.Attestor()).Register(server)
	go server.Serve(l)
	defer server.Stop()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	peer := identity.Peer{ID: identity.ID{TrustDomain: "cluster.local", Namespace: "default", Account: "reviews"}, Workload: "reviews-v1-0.default", Address: netip.MustParseAddr("127.9.8.1")}
	token, _, err := a.Tokens().Issue(peer, 0)
	must(t, err)
	got, err := enrol.Request(t.Context(), enrol.Ask{Address: l.Addr().String(), TrustDomain: "cluster.local", Key: key, Token: token.Reveal()})
	must(t, err)
	if got.Peer != peer {
		t.Error(got.Peer)
	}
	chain := tls.Certificate{PrivateKey: key}
	for _, c := range got.Chain {
		chain.Certificate = append(chain.Certificate, c.Raw)
	}
	got, err = enrol.Request(t.Context(), enrol.Ask{Address: l.Addr().String(), TrustDomain: "cluster.local", Trust: &got.Trust, Key: key, Renew: &chain})
	must(t, err)
	t.Logf("%+v", a.Status())
}
