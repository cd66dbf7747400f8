package agent

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/identity"
	"github.com/lateen-mesh/lateen/internal/xds"
)

const trustDomain = "cluster.local"

// root is an authority that signs what a test wants.
type root struct {
	t      testing.TB
	key    crypto.Signer
	cert   *x509.Certificate
	serial int64
}

func newRoot(t testing.TB) *root {
	t.Helper()
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	r := &root{t: t, key: key}
	r.cert = r.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "root"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(1000 * time.Hour),
	}, key.Public())
	return r
}

func (r *root) sign(template *x509.Certificate, public crypto.PublicKey) *x509.Certificate {
	r.t.Helper()
	r.serial++
	template.SerialNumber = big.NewInt(r.serial)
	parent := r.cert
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, r.key)
	if err != nil {
		r.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		r.t.Fatal(err)
	}
	return cert
}

func (r *root) bundle() identity.Bundle {
	return identity.Bundle{TrustDomain: trustDomain, Roots: []*x509.Certificate{r.cert}}
}

// leaf signs a certificate of a workload for a time from now.
func (r *root) leaf(workload string, public crypto.PublicKey, ttl time.Duration) *x509.Certificate {
	r.t.Helper()
	id := identity.ID{TrustDomain: trustDomain, Namespace: "default", Account: "web"}
	return r.sign(&x509.Certificate{
		URIs: []*url.URL{id.URL()}, DNSNames: []string{workload},
		NotBefore: time.Now().Add(-10 * time.Minute), NotAfter: time.Now().Add(ttl),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}, public)
}

// credential makes a whole credential of a workload.
func (r *root) credential(workload string, ttl time.Duration) *credential {
	r.t.Helper()
	key, err := newKey()
	if err != nil {
		r.t.Fatal(err)
	}
	c := &credential{key: key, chain: []*x509.Certificate{r.leaf(workload, key.Public(), ttl)}, roots: r.bundle(), received: at(time.Now)}
	if err := c.check(workload, time.Now()); err != nil {
		r.t.Fatal(err)
	}
	return c
}

// controlPlane signs the certificate of a control plane.
func (r *root) controlPlane(id identity.ID) tls.Certificate {
	r.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		r.t.Fatal(err)
	}
	cert := r.sign(&x509.Certificate{
		URIs: []*url.URL{id.URL()}, DNSNames: []string{"localhost", "lateen"}, IPAddresses: []net.IP{netip.MustParseAddr("127.0.0.1").AsSlice()},
		NotBefore: time.Now().Add(-10 * time.Minute), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, key.Public())
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

// plane is a control plane that has nothing to say: over mutual TLS, it answers proxies that there is nothing.
type plane struct {
	address string
	shown   chan *x509.Certificate // what proxies show, for each handshake
	opened  chan struct{}          // for each stream
	ended   chan struct{}          // for each stream

	mu    sync.Mutex
	conns []net.Conn
}

func newPlane(t testing.TB, r *root, id identity.ID) *plane {
	t.Helper()
	p := &plane{shown: make(chan *x509.Certificate, 1000), opened: make(chan struct{}, 1000), ended: make(chan struct{}, 1000)}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.address = l.Addr().String()
	pool := x509.NewCertPool()
	pool.AddCert(r.cert)
	secure := tls.NewListener(keeping{l, p}, &tls.Config{
		Certificates: []tls.Certificate{r.controlPlane(id)}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool,
		NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12,
		VerifyConnection: func(s tls.ConnectionState) error {
			p.shown <- s.PeerCertificates[0]
			return nil
		},
	})
	server := xds.NewServer(func(context.Context, xds.Peer) (xds.Client, error) {
		p.opened <- struct{}{}
		return &nothing{plane: p, asked: map[xds.Type]bool{}}, nil
	}, nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(secure)
	}()
	t.Cleanup(func() {
		server.Stop()
		<-done
	})
	return p
}

// cut closes all connections.
func (p *plane) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
}

// keeping keeps the connections of a listener in mind.
type keeping struct {
	net.Listener
	plane *plane
}

func (k keeping) Accept() (net.Conn, error) {
	c, err := k.Listener.Accept()
	if err == nil {
		k.plane.mu.Lock()
		defer k.plane.mu.Unlock()
		k.plane.conns = append(k.plane.conns, c)
	}
	return c, err
}

// nothing answers every type with nothing.
type nothing struct {
	plane *plane
	asked map[xds.Type]bool
}

func (n *nothing) Handle(_ *xds.Session, e xds.Event) {
	if e.First {
		n.asked[e.Type] = true
	}
}

func (n *nothing) Next(s *xds.Session) (responses []*xds.Response, _ time.Duration) {
	for t := range n.asked {
		if r, _ := s.Respond(t, nil, nil); r != nil {
			responses = append(responses, r)
		}
		delete(n.asked, t)
	}
	return responses, 0
}

func (n *nothing) Wake() <-chan struct{} { return nil }
func (n *nothing) Close()                { n.plane.ended <- struct{}{} }

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Helper()
	w.t.Log(string(b))
	return len(b), nil
}

// testLog writes to the test's log.
func testLog(t testing.TB) *slog.Logger { return slog.New(slog.NewTextHandler(testWriter{t}, nil)) }
