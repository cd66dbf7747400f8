package agent

import (
	"crypto/tls"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretservicev3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/internal/envoy"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// asks is a stream for secrets in one of the forms of xDS.
type asks struct {
	send func(confirm string, names ...string) error // confirm: the nonce of a response
	recv func() (nonce string, bodies []*anypb.Any, err error)
}

// forms opens a stream in each of the forms.
func forms(t *testing.T, conn *grpc.ClientConn) map[string]asks {
	t.Helper()
	world := func(s interface {
		Send(*discoveryv3.DiscoveryRequest) error
		Recv() (*discoveryv3.DiscoveryResponse, error)
	}, err error,
	) asks {
		if err != nil {
			t.Fatal(err)
		}
		var names []string // each request says all
		return asks{
			send: func(confirm string, more ...string) error {
				names = append(names, more...)
				return s.Send(&discoveryv3.DiscoveryRequest{
					Node: &corev3.Node{Id: "envoy"}, TypeUrl: string(xds.SecretType), ResourceNames: names, ResponseNonce: confirm,
				})
			},
			recv: func() (string, []*anypb.Any, error) {
				r, err := s.Recv()
				return r.GetNonce(), r.GetResources(), err
			},
		}
	}
	delta := func(s interface {
		Send(*discoveryv3.DeltaDiscoveryRequest) error
		Recv() (*discoveryv3.DeltaDiscoveryResponse, error)
	}, err error,
	) asks {
		if err != nil {
			t.Fatal(err)
		}
		return asks{
			send: func(confirm string, more ...string) error {
				return s.Send(&discoveryv3.DeltaDiscoveryRequest{
					Node: &corev3.Node{Id: "envoy"}, TypeUrl: string(xds.SecretType), ResourceNamesSubscribe: more, ResponseNonce: confirm,
				})
			},
			recv: func() (string, []*anypb.Any, error) {
				r, err := s.Recv()
				var bodies []*anypb.Any
				for _, resource := range r.GetResources() {
					bodies = append(bodies, resource.GetResource())
				}
				return r.GetNonce(), bodies, err
			},
		}
	}
	one, all := secretservicev3.NewSecretDiscoveryServiceClient(conn), discoveryv3.NewAggregatedDiscoveryServiceClient(conn)
	ctx := t.Context()
	return map[string]asks{
		"world, per type": world(one.StreamSecrets(ctx)), "world, aggregated": world(all.StreamAggregatedResources(ctx)),
		"delta, per type": delta(one.DeltaSecrets(ctx)), "delta, aggregated": delta(all.DeltaAggregatedResources(ctx)),
	}
}

// serveSecrets serves secrets and connects to them.
func serveSecrets(t *testing.T) (*secrets, *grpc.ClientConn) {
	t.Helper()
	dir, err := os.MkdirTemp("", "sds") //nolint:usetesting // TempDir holds the test's name, and paths of sockets are short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s, path := newSecrets(), filepath.Join(dir, sdsName)
	stop, err := s.serve(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if stat, err := os.Stat(path); err != nil || stat.Mode().Perm() != 0o600 {
		t.Errorf("the socket is %v, %v", stat, err)
	}
	t.Cleanup(func() {
		stop()
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the socket is left: %v", err)
		}
	})
	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return s, conn
}

// take receives a response and returns its nonce and the secrets in it.
func (a asks) take(t *testing.T) (string, map[string]*tlsv3.Secret) {
	t.Helper()
	type answer struct {
		nonce  string
		bodies []*anypb.Any
	}
	got := make(chan answer, 1)
	go func() {
		nonce, bodies, err := a.recv()
		if err != nil {
			t.Error(err)
		}
		got <- answer{nonce, bodies}
	}()
	r := await(t, got, "a response")
	found := map[string]*tlsv3.Secret{}
	for _, body := range r.bodies {
		var secret tlsv3.Secret
		if err := body.UnmarshalTo(&secret); err != nil {
			t.Fatal(err)
		}
		found[secret.GetName()] = &secret
	}
	return r.nonce, found
}

func mustSend(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Envoy waits until there is a certificate, gets it with its key and the roots, and each new one as it comes. Other names get no
// answer.
func TestSecrets(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"world, per type", "world, aggregated", "delta, per type", "delta, aggregated"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDirect(t, 0)
			s, conn := serveSecrets(t)
			stream := forms(t, conn)[name]
			mustSend(t, stream.send("", envoy.IdentitySecret, envoy.TrustSecret, "another"))
			first := d.credential(web)
			mustSend(t, s.set(first))
			nonce, got := stream.take(t)
			checkSecrets(t, got, first)
			mustSend(t, stream.send(nonce))
			// The roots are the same: only what has changed comes.
			second := d.credential(web)
			mustSend(t, s.set(second))
			nonce, got = stream.take(t)
			if len(got) != 1 {
				t.Errorf("%d secrets came, one has changed", len(got))
			}
			got[envoy.TrustSecret] = &tlsv3.Secret{Type: &tlsv3.Secret_ValidationContext{
				ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: inline(second.roots.PEM())},
			}}
			checkSecrets(t, got, second)
			mustSend(t, stream.send(nonce))
			// An expired one is not sent, and not taken away either: then the next one comes.
			mustSend(t, s.set(nil))
			third := d.credential(web)
			mustSend(t, s.set(third))
			_, got = stream.take(t)
			if c := got[envoy.IdentitySecret].GetTlsCertificate(); string(c.GetCertificateChain().GetInlineBytes()) != string(third.chainPEM()) {
				t.Errorf("after an expired certificate came %v", slices.Collect(maps.Keys(got)))
			}
		})
	}
}

func checkSecrets(t *testing.T, got map[string]*tlsv3.Secret, want *credential) {
	t.Helper()
	certificate := got[envoy.IdentitySecret].GetTlsCertificate()
	pair, err := tls.X509KeyPair(certificate.GetCertificateChain().GetInlineBytes(), certificate.GetPrivateKey().GetInlineBytes())
	if err != nil || !pair.Leaf.Equal(want.leaf()) {
		t.Errorf("the certificate that came: %v", err)
	}
	if roots := got[envoy.TrustSecret].GetValidationContext().GetTrustedCa().GetInlineBytes(); string(roots) != string(want.roots.PEM()) {
		t.Errorf("the roots that came:\n%s", roots)
	}
}

// A stream that does not confirm what it gets is not sent more and more.
func TestUnconfirmedSecrets(t *testing.T) {
	t.Parallel()
	s := newSecrets()
	client, err := s.open(t.Context(), xds.Peer{})
	if err != nil {
		t.Fatal(err)
	}
	session := xds.NewSession()
	event, err := session.Receive(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(xds.SecretType), ResourceNamesSubscribe: []string{envoy.IdentitySecret}})
	if err != nil {
		t.Fatal(err)
	}
	client.Handle(session, event)
	d, sent := newDirect(t, 0), 0
	for range 2 * maxUnanswered {
		mustSend(t, s.set(d.credential(web)))
		await(t, client.Wake(), "a sign")
		responses, _ := client.Next(session)
		for _, r := range responses {
			if sent++; len(r.Resources) != 1 || r.Resources[0].Name != envoy.IdentitySecret {
				t.Errorf("%v is sent, and only the certificate was asked for", r.Resources)
			}
		}
	}
	if sent != maxUnanswered {
		t.Errorf("%d responses are unanswered", sent)
	}
	client.Close()
	if len(s.streams) != 0 {
		t.Error("a stream that has ended is remembered")
	}
	mustSend(t, s.set(nil))
	select {
	case <-client.Wake():
		t.Error("a stream that has ended is woken")
	case <-time.After(time.Millisecond):
	}
}
