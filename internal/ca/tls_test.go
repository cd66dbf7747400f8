package ca_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lateen-mesh/lateen/internal/attest"
	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/ca/capb"
	"github.com/lateen-mesh/lateen/internal/ca/enrol"
	"github.com/lateen-mesh/lateen/internal/identity"
	"github.com/lateen-mesh/lateen/internal/identity/identitytest"
	"github.com/lateen-mesh/lateen/internal/testkit"
)

// handshake has a client and the authority's listener shake hands, and returns what both see. In TLS 1.3 the client does not
// know by then whether its own certificate is taken, so it reads one byte.
func (r *rig) handshake(t testing.TB, server, client *tls.Config) (theirs, ours tls.ConnectionState, err error) {
	t.Helper()
	a, b := connected(t)
	defer a.Close()
	defer b.Close()
	s, c := tls.Server(a, server), tls.Client(b, client)
	ended := make(chan error)
	go func() {
		err := s.HandshakeContext(t.Context())
		if err == nil {
			_, err = s.Write([]byte{1})
		}
		ended <- err
	}()
	clientErr := c.HandshakeContext(t.Context())
	if clientErr == nil {
		_, clientErr = c.Read(make([]byte, 1))
	}
	if clientErr != nil {
		b.Close()
	}
	if err = <-ended; err == nil {
		err = clientErr
	}
	return s.ConnectionState(), c.ConnectionState(), err
}

// connected returns both ends of a connection over loopback.
func connected(t testing.TB) (server, client net.Conn) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	client, err = new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
	must(t, err)
	server, err = l.Accept()
	must(t, err)
	must(t, client.SetDeadline(time.Now().Add(time.Minute)))
	must(t, server.SetDeadline(time.Now().Add(time.Minute)))
	return server, client
}

// Callers show the certificate of a workload of this trust domain that is good now, or none.
func TestClientCertificates(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	server := r.ServerTLS("localhost")
	p := identitytest.Peer(domain, "reviews", "127.9.8.1")
	good := r.leafFor(t, p)
	root := identitytest.New(t, domain, time.Now())
	shared := newRig(t, func(c *ca.Config) { // a root that other trust domains have too
		c.Plugged = filesOf(t, root, nil, root).write(t)
	})
	foreign, expired := newRig(t).leafFor(t, p), newRig(t)
	old := expired.leafFor(t, p)
	expired.clock.move(24*time.Hour + time.Second)
	early := identitytest.From(time.Now().Add(time.Hour))
	later := newRig(t)
	later.clock.move(48 * time.Hour)
	fresh := later.leafFor(t, p)
	own, err := r.ServerTLS("localhost").GetCertificate(&tls.ClientHelloInfo{})
	must(t, err)
	for _, test := range []struct {
		name   string
		r      *rig
		server *tls.Config
		client *tls.Certificate
		want   string
	}{
		{"none", r, server, nil, ""},
		{"good", r, server, &good, ""},
		{"good by the authority's clock", later, later.ServerTLS(), &fresh, ""},
		{"of another root", r, server, &foreign, "unknown authority"},
		{"expired", expired, expired.ServerTLS(), &old, "expired"},
		{"not yet valid", shared, shared.ServerTLS(), new(root.Leaf(t, p, early)), "not yet valid"},
		{"of another trust domain", shared, shared.ServerTLS(), new(root.Leaf(t, identitytest.Peer("other.example", "reviews", ""))), "not of the trust domain"},
		{"no workload's", shared, shared.ServerTLS(), new(root.Leaf(t, identity.Peer{ID: p.ID})), "no workload's"},
		{"with no identity", shared, shared.ServerTLS(), new(root.Leaf(t, p, func(c *x509.Certificate) { c.URIs = nil })), "names 0 URIs"},
		{"for servers only", shared, shared.ServerTLS(), new(root.Leaf(t, p, func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		})), "incompatible key usage"},
		{"for clients only", shared, shared.ServerTLS(), new(root.Leaf(t, p, func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		})), "incompatible key usage"},
		{"the control plane's own", r, server, own, "not of the namespace"},
		{"the control plane's, with a workload", shared, shared.ServerTLS(), new(root.Leaf(t, identity.Peer{
			ID: identity.ControlPlane(domain), Workload: "lateen-0.lateen-system",
		})), "no workload's"},
		{"without its key", r, server, &tls.Certificate{Certificate: good.Certificate, PrivateKey: identitytest.NewKey(t)}, "signature"},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			state, _, err := test.r.handshake(t, test.server, clientOf(test.client, version))
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s, %s: %v; want %q", test.name, tls.VersionName(version), err, test.want)
			}
			if err == nil && (len(state.PeerCertificates) > 0) != (test.client != nil) {
				t.Errorf("%s: the server sees %d certificates", test.name, len(state.PeerCertificates))
			}
		}
	}
}

// A client certificate that expires while its connection is open renews nothing any more.
func TestCertificateExpiresOnAnOpenConnection(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	held := r.leafFor(t, identitytest.Peer(domain, "reviews", ""))
	late := attest.First(r.Tokens(), attest.NewCertificate(r.Bundle, func() time.Time { return r.clock.Now().Add(25 * time.Hour) }))
	_, err := r.call(t, r.serve(t, late), &held, &capb.SignRequest{Csr: newCSR(t, identitytest.NewKey(t), x509.CertificateRequest{})})
	if status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), "expired") {
		t.Errorf("the error is %v", err)
	}
}

func TestTLSVersions(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	server := r.ServerTLS("localhost")
	for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11} {
		if _, _, err := r.handshake(t, server, clientOf(nil, version)); err == nil {
			t.Errorf("%s is spoken", tls.VersionName(version))
		}
	}
	for _, suite := range tls.CipherSuites() {
		client := clientOf(nil, tls.VersionTLS12)
		client.CipherSuites = []uint16{suite.ID}
		if _, _, err := r.handshake(t, server, client); err == nil && !strings.Contains(suite.Name, "ECDHE") {
			t.Errorf("%s has no forward secrecy", suite.Name)
		}
	}
	_, state, err := r.handshake(t, server, clientOf(nil, tls.VersionTLS13))
	if err != nil || state.NegotiatedProtocol != "h2" {
		t.Errorf("spoken is %q, %v", state.NegotiatedProtocol, err)
	}
}

// The control plane's own certificate is for its hosts and its identity, and is renewed at half of its time.
func TestOwnCertificate(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	server := r.ServerTLS("localhost", "lateen", "127.0.0.1", "::1")
	shown := func() *x509.Certificate {
		t.Helper()
		_, state, err := r.handshake(t, server, clientOf(nil, tls.VersionTLS13))
		must(t, err)
		must(t, r.Bundle().VerifyControlPlane(state.PeerCertificates, r.clock.Now()))
		if n := len(state.PeerCertificates); n != 2 || !state.PeerCertificates[1].Equal(r.Bundle().Roots[0]) {
			t.Errorf("shown are %d certificates, without the root at the end", n)
		}
		return state.PeerCertificates[0]
	}
	first := shown()
	for _, host := range []string{"localhost", "lateen", "127.0.0.1", "[::1]"} {
		if err := first.VerifyHostname(host); err != nil {
			t.Error(err)
		}
	}
	if p, err := identity.PeerOf(first); err == nil {
		t.Errorf("it speaks for the workload %s", p)
	}
	for _, step := range []struct {
		by      time.Duration
		renewed bool
	}{{12*time.Hour - time.Minute, false}, {2 * time.Minute, true}, {11 * time.Hour, false}, {48 * time.Hour, true}, {-72 * time.Hour, true}} {
		r.clock.move(step.by)
		next := shown()
		if renewed := !next.Equal(first); renewed != step.renewed {
			t.Errorf("after %s: renewed is %t", step.by, renewed)
		}
		first = next
	}
	if n := r.Status().Issued["own"]; n != 4 {
		t.Errorf("%d are counted", n)
	}
}

// A client of gRPC that knows the root, and nothing of SPIFFE, verifies the control plane by the name of its host.
func TestHostNameIsVerified(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	server := r.ServerTLS("localhost")
	client := clientOf(nil, tls.VersionTLS13)
	client.InsecureSkipVerify, client.RootCAs = false, x509.NewCertPool()
	client.RootCAs.AddCert(r.Bundle().Roots[0])
	client.ServerName = "localhost"
	if _, _, err := r.handshake(t, server, client); err != nil {
		t.Error(err)
	}
	client.ServerName = "elsewhere"
	if _, _, err := r.handshake(t, server, client); err == nil {
		t.Error("any host name is taken")
	}
}

// An expired certificate renews nothing: a token is needed. The agent knows by itself; if its clock is behind it does not get
// through, and the control plane tells.
func TestExpiredCertificateDoesNotRenew(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	held := r.leafFor(t, identitytest.Peer(domain, "reviews", ""))
	behind := r.clock.Now()
	r.clock.move(25 * time.Hour)
	ask := r.ask(t, r.serve(t, r.Attestor()))
	ask.Renew = &held
	if answer, err := enrol.Request(t.Context(), ask); !errors.Is(err, enrol.ErrExpired) || answer.Chain != nil {
		t.Errorf("it is %v, %v", answer.Peer, err)
	}
	if n := r.Status().Refused[ca.ReasonHandshake]; n != 0 {
		t.Errorf("%d connections were made", n)
	}
	_, err := r.call(t, r.serve(t, r.Attestor()), &held, &capb.SignRequest{Csr: newCSR(t, identitytest.NewKey(t), x509.CertificateRequest{})})
	if status.Code(err) != codes.Unavailable {
		t.Errorf("without a clock: %v", err)
	}
	testkit.Await(t, "it is counted and told", func() bool {
		return r.Status().Refused[ca.ReasonHandshake] == 1 && strings.Contains(r.log.String(), "expired")
	})
	if s := r.Status(); s.Issued[attest.ByCertificate] != 0 {
		t.Errorf("the status is %+v", s)
	}
	ask.Now = func() time.Time { return behind } // 25 h behind: now the control plane's certificate is not valid for it
	if _, err := enrol.Request(t.Context(), ask); err == nil || !strings.Contains(err.Error(), "not yet valid") {
		t.Errorf("with a clock that is 25 h behind: %v", err)
	}
}
