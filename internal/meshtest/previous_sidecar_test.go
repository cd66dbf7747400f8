package meshtest_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretservicev3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/internal/agent"
	"github.com/lateen-mesh/lateen/internal/dump"
	"github.com/lateen-mesh/lateen/internal/unixsocket"
)

// pastEnrolment is how a sidecar of the version before asked for its certificate, and what it read of the answer, in the words of the wire: by
// names of ours a field that got another number would pass.
type pastEnrolment struct {
	Method  string         `json:"method"`
	Fields  map[string]int `json:"fields"`  // of the request: "csr", "token"
	Answers map[string]int `json:"answers"` // "chain", "roots"
	// Secrets are the names under which the agent then tells its Envoy the certificate and the roots.
	Secrets struct {
		Identity string `json:"identity"`
		Trust    string `json:"trust"`
	} `json:"secrets"`
	TLSName string `json:"tlsName"`
}

// oldSidecar is a sidecar of the version before: an Envoy with the bootstrap of then, and what stands for its agent, of which nothing is this
// version's.
type oldSidecar struct {
	t      *testing.T
	config agent.Config
	past   past
	enrol  pastEnrolment
}

func newOldSidecar(t *testing.T, s scene, c agent.Config) *oldSidecar {
	o := &oldSidecar{t: t, config: c, past: readPast(t, s, c.Node)}
	readRecorded(t, "enrolment.json", &o.enrol)
	return o
}

// run gets the certificate, and runs the Envoy until ctx ends.
func (o *oldSidecar) run(ctx context.Context) error {
	held, err := o.enrolled(ctx)
	if err != nil {
		return fmt.Errorf("%s: ask for a certificate: %w", o.config.Node, err)
	}
	stop, err := held.serve(ctx, filepath.Join(o.config.Dir, "sds.sock"), func(name string) {
		o.t.Errorf("%s: its Envoy is told to ask for a secret %q, which no agent of the version before has", o.config.Node, name)
	})
	if err != nil {
		return err
	}
	defer stop()
	dir, prefix := filepath.Dir(o.config.Dir), o.config.ControlPlane[:strings.LastIndexByte(o.config.ControlPlane, '.')+1]
	show := strings.NewReplacer("/DIR", dir, "SUBNET.", prefix)
	file := filepath.Join(o.config.Dir, "bootstrap.json")
	if err := os.WriteFile(file, []byte(show.Replace(string(o.past.Bootstrap))), 0o600); err != nil {
		return err
	}
	said, err := exec.CommandContext(ctx, o.config.Envoy, "--mode", "validate", "--config-path", file).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: Envoy does not take its bootstrap: %w\n%s", o.config.Node, err, said)
	}
	var arguments []string
	for _, a := range o.past.Arguments {
		arguments = append(arguments, show.Replace(a))
	}
	environment := os.Environ()
	for _, e := range o.past.Environment {
		environment = append(environment, show.Replace(e))
	}
	var words bytes.Buffer
	cmd := exec.CommandContext(ctx, o.config.Envoy, arguments...)
	cmd.Env = environment
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = o.config.Dir, &words, &words, time.Second
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() {
		if o.t.Failed() {
			o.t.Logf("%s: %s", o.config.Node, words.String())
		}
	}()
	go o.awaitReady(ctx, cmd.Process.Pid)
	if err := cmd.Wait(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("%s: %w", o.config.Node, err)
	}
	return nil
}

// awaitReady tells when the Envoy is ready.
func (o *oldSidecar) awaitReady(ctx context.Context, pid int) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		<-tick.C
		if _, err := dump.Socket(filepath.Join(o.config.Dir, "admin.sock")).Get(ctx, "/ready"); err == nil {
			_ = json.NewEncoder(o.config.Events).Encode(agent.Event{Event: agent.Ready, PID: pid})
			return
		}
	}
}

// credential is what an agent has got.
type oldCredential struct {
	pair         tls.Certificate
	chain, roots []byte // PEM
	key          []byte
	names        pastEnrolment
}

// enrolled asks the control plane for a certificate.
func (o *oldSidecar) enrolled(ctx context.Context) (*oldCredential, error) {
	token, err := o.config.Tokens(ctx)
	if err != nil {
		return nil, err
	}
	first, err := enrolledBy(ctx, o.enrol, o.config.ControlPlane, token, nil)
	if err != nil {
		return nil, err
	}
	renewed, err := enrolledBy(ctx, o.enrol, o.config.ControlPlane, "", &first.pair)
	if err != nil {
		return nil, fmt.Errorf("renew it: %w", err)
	}
	return renewed, nil
}

// enrolledBy asks as it was recorded, by a token or by the certificate that is to be renewed, and reads what was read then.
func enrolledBy(ctx context.Context, how pastEnrolment, controlPlane, token string, renew *tls.Certificate) (*oldCredential, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, err
	}
	var request, answer []byte
	for field, value := range map[string][]byte{"csr": csr, "token": []byte(token)} {
		if len(value) == 0 {
			continue
		}
		request = protowire.AppendTag(request, protowire.Number(how.Fields[field]), protowire.BytesType)
		request = protowire.AppendBytes(request, value)
	}
	connection, err := dialAsThen(controlPlane, how, renew)
	if err != nil {
		return nil, err
	}
	defer func() { _ = connection.Close() }()
	if err := connection.Invoke(ctx, how.Method, request, &answer, grpc.ForceCodec(rawBytes{})); err != nil {
		return nil, err
	}
	c := &oldCredential{names: how}
	for rest := answer; len(rest) > 0; {
		number, kind, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return nil, errors.New("the answer is no message")
		}
		size := protowire.ConsumeFieldValue(number, kind, rest[n:])
		if size < 0 {
			return nil, errors.New("the answer is no message")
		}
		value, _ := protowire.ConsumeBytes(rest[n : n+size])
		rest = rest[n+size:]
		block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: value})
		switch int(number) {
		case how.Answers["chain"]:
			c.chain = append(c.chain, block...)
			c.pair.Certificate = append(c.pair.Certificate, value)
		case how.Answers["roots"]:
			c.roots = append(c.roots, block...)
		}
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	c.key, c.pair.PrivateKey = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), key
	if len(c.pair.Certificate) == 0 || len(c.roots) == 0 {
		return nil, fmt.Errorf("an answer of %d bytes has no certificate where that was", len(answer))
	}
	_, err = tls.X509KeyPair(c.chain, c.key)
	return c, err
}

// dialAsThen connects to the control plane, with a certificate or without one. Whom it has reached Envoy verifies, not this.
func dialAsThen(address string, how pastEnrolment, pair *tls.Certificate) (*grpc.ClientConn, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: how.TLSName, InsecureSkipVerify: true} //nolint:gosec // a test of its own mesh
	if pair != nil {
		config.Certificates = []tls.Certificate{*pair}
	}
	return grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(credentials.NewTLS(config)), grpc.WithNoProxy())
}

// rawBytes hands on the bytes of messages.
type rawBytes struct{}

var _ encoding.Codec = rawBytes{}

func (rawBytes) Name() string { return "proto" }

func (rawBytes) Marshal(v any) ([]byte, error) { return v.([]byte), nil }

func (rawBytes) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = bytes.Clone(data)
	return nil
}

// serve tells an Envoy its certificate, by the names that it knows. Others are told to unknown.
func (c *oldCredential) serve(ctx context.Context, path string, unknown func(name string)) (stop func(), err error) {
	l, err := unixsocket.Listen(ctx, path)
	if err != nil {
		return nil, err
	}
	server := grpc.NewServer()
	secretservicev3.RegisterSecretDiscoveryServiceServer(server, oldSecrets{held: c, unknown: unknown})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	return func() {
		server.Stop()
		<-done
	}, nil
}

// oldSecrets is what an agent of the version before answers its Envoy.
type oldSecrets struct {
	secretservicev3.UnimplementedSecretDiscoveryServiceServer
	held    *oldCredential
	unknown func(name string)
}

// StreamSecrets answers each first request for names.
func (s oldSecrets) StreamSecrets(stream secretservicev3.SecretDiscoveryService_StreamSecretsServer) error {
	for {
		req, err := stream.Recv()
		if err != nil {
			return nil //nolint:nilerr // the Envoy has gone
		}
		if req.GetVersionInfo() != "" {
			continue // it has all that there is
		}
		res := &discoveryv3.DiscoveryResponse{VersionInfo: "1", Nonce: "1", TypeUrl: req.GetTypeUrl()}
		inline := func(b []byte) *corev3.DataSource {
			return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: b}}
		}
		for _, name := range req.GetResourceNames() {
			secret := &tlsv3.Secret{Name: name}
			switch name {
			case s.held.names.Secrets.Identity:
				secret.Type = &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{CertificateChain: inline(s.held.chain), PrivateKey: inline(s.held.key)}}
			case s.held.names.Secrets.Trust:
				secret.Type = &tlsv3.Secret_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: inline(s.held.roots)}}
			default:
				s.unknown(name)
				continue // the Envoy waits for ever
			}
			packed, err := anypb.New(secret)
			if err != nil {
				return err
			}
			res.Resources = append(res.Resources, packed)
		}
		if len(res.GetResources()) == 0 {
			continue
		}
		if err := stream.Send(res); err != nil {
			return err
		}
	}
}
