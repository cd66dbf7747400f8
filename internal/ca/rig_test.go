package ca_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/lateen-mesh/lateen/internal/attest"
	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/ca/capb"
	"github.com/lateen-mesh/lateen/internal/ca/enrol"
	"github.com/lateen-mesh/lateen/internal/identity"
	"github.com/lateen-mesh/lateen/internal/identity/identitytest"
	"github.com/lateen-mesh/lateen/internal/places/placestest"
	"github.com/lateen-mesh/lateen/internal/testkit"
)

const domain = "cluster.local"

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// clock is a time that tests set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Now()} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) move(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(by)
}

// rig is an authority with its clock and log, in a folder where it can be opened again.
type rig struct {
	*ca.Authority
	config ca.Config
	clock  *clock
	log    *testkit.Output
}

// newRig opens an authority at its first start.
func newRig(t testing.TB, change ...func(*ca.Config)) *rig {
	t.Helper()
	r := &rig{clock: newClock(), log: new(testkit.Output)}
	r.config = ca.Config{State: filepath.Join(t.TempDir(), "state"), TrustDomain: domain, Now: r.clock.Now, Log: r.log.Log()}
	for _, c := range change {
		c(&r.config)
	}
	must(t, r.start())
	t.Cleanup(r.stop)
	return r
}

func (r *rig) start() (err error) {
	r.Authority, err = ca.Open(r.config)
	return err
}

func (r *rig) stop() {
	if r.Authority != nil {
		_ = r.Close() // the folder may be gone by now
		r.Authority = nil
	}
}

// Look looks after the files once.
func (r *rig) Look() { r.Authority.Look(context.Background()) } //nolint:forbidigo // files do not wait

// file returns the path of a file in the state folder.
func (r *rig) file(name string) string { return filepath.Join(r.config.State, name) }

func (r *rig) fingerprint() string { return identity.Fingerprint(r.Bundle().Roots[0]) }

// tree returns the names, modes and contents of a folder.
func tree(t testing.TB, dir string) string {
	t.Helper()
	var text strings.Builder
	must(t, fs.WalkDir(os.DirFS(dir), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		must(t, err)
		fmt.Fprintf(&text, "%s %s", name, info.Mode())
		if info.Mode().IsRegular() {
			content, err := os.ReadFile(filepath.Join(dir, name))
			must(t, err)
			fmt.Fprintf(&text, " %q", content)
		}
		text.WriteString("\n")
		return nil
	}))
	return text.String()
}

// newCSR returns a request for a certificate, in DER.
func newCSR(t testing.TB, key crypto.Signer, template x509.CertificateRequest) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &template, key)
	must(t, err)
	return der
}

// leafFor has the authority sign a certificate for a peer, with a new key, and returns it with its chain.
func (r *rig) leafFor(t testing.TB, p identity.Peer) tls.Certificate {
	t.Helper()
	key := identitytest.NewKey(t)
	chain, err := r.Sign(t.Context(), newCSR(t, key, x509.CertificateRequest{}), attest.Attested{Peer: p, By: attest.ByToken})
	must(t, err)
	return certificate(key, chain)
}

func certificate(key crypto.Signer, chain []*x509.Certificate) tls.Certificate {
	c := tls.Certificate{PrivateKey: key, Leaf: chain[0]}
	for _, one := range chain {
		c.Certificate = append(c.Certificate, one.Raw)
	}
	return c
}

// token returns a join token for a peer.
func (r *rig) token(t testing.TB, p identity.Peer) string {
	t.Helper()
	token, _, err := r.Tokens().Issue(p, time.Hour)
	must(t, err)
	return token.Reveal()
}

// serve serves the authority on loopback until the test ends, as the control plane does, and returns the address.
func (r *rig) serve(t testing.TB, attestor attest.Attestor) string {
	t.Helper()
	service := ca.NewService(r.Authority, attestor)
	door := ca.NewDoor(service, "localhost", "lateen", "127.0.0.1")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- door.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	server := grpc.NewServer(grpc.Creds(door.Credentials()))
	service.Register(server)
	return serve(t, server, door)
}

// serve serves a server behind a door.
func serve(t testing.TB, server *grpc.Server, door *ca.Door) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	ended := make(chan error)
	go func() { ended <- server.Serve(door.Listen(placestest.Abroad(l))) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// ask returns a request of an agent that trusts the authority.
func (r *rig) ask(t testing.TB, address string) enrol.Ask {
	t.Helper()
	trust := r.Bundle()
	return enrol.Ask{Address: address, TrustDomain: domain, Trust: &trust, Key: identitytest.NewKey(t), Now: r.clock.Now}
}

// call sends a request as it is, with a client certificate if there is one.
func (r *rig) call(t testing.TB, address string, client *tls.Certificate, in *capb.SignRequest) (*capb.SignResponse, error) {
	t.Helper()
	config := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}
	if client != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return client, nil }
	}
	connection, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	must(t, err)
	defer func() { must(t, connection.Close()) }()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	return capb.NewCertificateAuthorityClient(connection).Sign(ctx, in)
}

// write writes a file into a folder of the test and returns its path.
func write(t testing.TB, dir, name string, text []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	must(t, os.WriteFile(path, text, 0o600))
	return path
}

// openssl runs OpenSSL and returns what it prints.
func openssl(t testing.TB, args ...string) (string, error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "openssl", args...).CombinedOutput()
	return string(out), err
}

// opensslVerify has OpenSSL say whether a chain is good, for clients and for servers.
func opensslVerify(t testing.TB, trust identity.Bundle, chain []*x509.Certificate, more ...string) error {
	t.Helper()
	dir := t.TempDir()
	roots := write(t, dir, "roots.pem", trust.PEM())
	leaf := write(t, dir, "leaf.pem", identitytest.PEM(chain[0]))
	args := append([]string{"verify", "-x509_strict", "-check_ss_sig", "-no-CApath", "-no-CAstore", "-CAfile", roots}, more...)
	if len(chain) > 1 {
		args = append(args, "-untrusted", write(t, dir, "between.pem", identitytest.PEM(chain[1:]...)))
	}
	for _, purpose := range []string{"sslclient", "sslserver"} {
		if out, err := openssl(t, append(args, "-purpose", purpose, leaf)...); err != nil {
			return fmt.Errorf("%s: %w: %s", purpose, err, out)
		}
	}
	return nil
}
