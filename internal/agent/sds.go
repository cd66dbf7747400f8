package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/internal/envoy"
	"github.com/lateen-mesh/lateen/internal/unixsocket"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// sdsName is the name of the socket on which Envoy finds its certificate, in the folder that it runs in.
const sdsName = "sds.sock"

// maxUnanswered bounds the responses that Envoy has not confirmed.
const maxUnanswered = 4

// SDSSocket is the path of the socket on which Envoy finds its certificate.
func (c *Config) SDSSocket() string { return filepath.Join(c.Dir, sdsName) }

// secrets holds what Envoy is told of its identity, and tells it when that changes.
type secrets struct {
	mu        sync.Mutex
	resources map[string]*xds.Resource // by name
	streams   map[*secretStream]struct{}
}

func newSecrets() *secrets {
	return &secrets{resources: map[string]*xds.Resource{}, streams: map[*secretStream]struct{}{}}
}

// set makes a credential the one that Envoy gets. Without one, nil, an Envoy that asks waits; one that has one keeps it.
func (s *secrets) set(c *credential) error {
	resources := map[string]*xds.Resource{}
	if c != nil {
		key, err := c.keyPEM()
		if err != nil {
			return err
		}
		for _, secret := range []*tlsv3.Secret{
			{Name: envoy.IdentitySecret, Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
				CertificateChain: inline(c.chainPEM()), PrivateKey: inline(key),
			}}},
			{Name: envoy.TrustSecret, Type: &tlsv3.Secret_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{
				TrustedCa: inline(c.roots.PEM()),
			}}},
		} {
			body, err := proto.MarshalOptions{Deterministic: true}.Marshal(secret)
			if err != nil {
				return fmt.Errorf("secret %s: %w", secret.GetName(), err)
			}
			sum := sha256.Sum256(body)
			resources[secret.GetName()] = &xds.Resource{
				Type: xds.SecretType, Name: secret.GetName(), Version: hex.EncodeToString(sum[:8]), Body: body,
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resources = resources
	for stream := range s.streams {
		select {
		case stream.wake <- struct{}{}:
		default: // it was woken and has not looked yet
		}
	}
	return nil
}

func inline(text []byte) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: text}}
}

// open is the [xds.Open] of the socket. Who may open the socket may have the secrets.
func (s *secrets) open(context.Context, xds.Peer) (xds.Client, error) {
	stream := &secretStream{secrets: s, wake: make(chan struct{}, 1), sent: map[string]string{}}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams[stream] = struct{}{}
	return stream, nil
}

// serve answers on the socket until the returned function is called.
func (s *secrets) serve(ctx context.Context, path string) (stop func(), err error) {
	listener, err := unixsocket.Listen(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("listen for envoy: %w", err)
	}
	server := xds.NewServer(s.open, nil, 0)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) }) // fails when it is stopped, and closes the socket
	return func() {
		server.Stop()
		serving.Wait()
	}, nil
}

// secretStream is one stream of Envoy's, the [xds.Client] of it.
type secretStream struct {
	secrets *secrets
	wake    chan struct{}
	sent    map[string]string // what is wanted: name to the version that was sent, "" for none
}

// Handle notes which of the secrets are wanted.
func (s *secretStream) Handle(_ *xds.Session, e xds.Event) {
	if e.Type != xds.SecretType {
		return
	}
	for _, name := range e.Unsubscribed {
		delete(s.sent, name)
	}
	for _, name := range e.Subscribed {
		if name == envoy.IdentitySecret || name == envoy.TrustSecret {
			s.sent[name] = ""
		}
	}
}

// Next sends the wanted secrets that the stream does not have in their present version.
func (s *secretStream) Next(session *xds.Session) ([]*xds.Response, time.Duration) {
	if !session.Room(xds.SecretType, maxUnanswered) {
		return nil, 0 // its answer makes room
	}
	var fresh []*xds.Resource
	s.secrets.mu.Lock()
	for _, name := range []string{envoy.IdentitySecret, envoy.TrustSecret} {
		version, wanted := s.sent[name]
		if r := s.secrets.resources[name]; wanted && r != nil && r.Version != version {
			s.sent[name] = r.Version
			fresh = append(fresh, r)
		}
	}
	s.secrets.mu.Unlock()
	if len(fresh) == 0 {
		return nil, 0
	}
	response, _ := session.Respond(xds.SecretType, fresh, nil)
	return []*xds.Response{response}, 0
}

// Wake receives when a secret has changed.
func (s *secretStream) Wake() <-chan struct{} { return s.wake }

// Close forgets the stream.
func (s *secretStream) Close() {
	s.secrets.mu.Lock()
	defer s.secrets.mu.Unlock()
	delete(s.secrets.streams, s)
}
