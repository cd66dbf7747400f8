package ca_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/lateen-mesh/lateen/internal/attest"
	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/ca/capb"
	"github.com/lateen-mesh/lateen/internal/ca/enrol"
	"github.com/lateen-mesh/lateen/internal/identity"
	"github.com/lateen-mesh/lateen/internal/identity/identitytest"
	"github.com/lateen-mesh/lateen/internal/testkit"
)

// A workload joins with a token, and renews with its certificate. It knows the root by the token, then by itself.
func TestJoinAndRenew(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	address := r.serve(t, r.Attestor())
	p := identitytest.Peer(domain, "reviews", "127.9.8.1")
	ask := r.ask(t, address)
	ask.Trust, ask.Token = nil, r.token(t, p)
	joined, err := enrol.Request(t.Context(), ask)
	must(t, err)
	if joined.Peer != p || !joined.Trust.Equal(r.Bundle()) || joined.Now.Sub(r.clock.Now()).Abs() > time.Minute {
		t.Errorf("the answer is %+v", joined)
	}
	checkLeaf(t, r, joined.Chain[0], p)
	again, err := enrol.Request(t.Context(), ask) // the answer was lost
	must(t, err)
	if again.Peer != p {
		t.Errorf("a second answer for the same key is for %s", again.Peer)
	}
	held := certificate(ask.Key, joined.Chain)
	renewal := r.ask(t, address) // with a new key
	renewal.Renew = &held
	renewed, err := enrol.Request(t.Context(), renewal)
	must(t, err)
	if renewed.Peer != p || renewed.Chain[0].Equal(joined.Chain[0]) {
		t.Errorf("renewed is %s", renewed.Peer)
	}
	if s := r.Status(); s.Issued[attest.ByToken] != 2 || s.Issued[attest.ByCertificate] != 1 || s.Issued["own"] != 1 || s.Tokens != 0 {
		t.Errorf("the status is %+v", s)
	}
}

// What is wrong with a request is told with a code, costs no token and gives nobody anything.
func TestRequestsThatAreRefused(t *testing.T) {
	t.Parallel()
	p := identitytest.Peer(domain, "reviews", "127.9.8.1")
	other := identitytest.Peer(domain, "ratings", "127.9.8.2")
	key := identitytest.NewKey(t)
	csr := func(change func(*x509.CertificateRequest)) []byte {
		var template x509.CertificateRequest
		change(&template)
		return newCSR(t, key, template)
	}
	extension := func(id asn1.ObjectIdentifier, value ...byte) []byte {
		return csr(func(c *x509.CertificateRequest) { c.ExtraExtensions = []pkix.Extension{{Id: id, Value: value}} })
	}
	plain := csr(func(*x509.CertificateRequest) {})
	unsigned := bytes.Clone(plain)
	unsigned[len(unsigned)-1] ^= 1
	rsa512, err := ca.RSA512()
	must(t, err)
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	san := asn1.ObjectIdentifier{2, 5, 29, 17}
	for _, test := range []struct {
		name string
		csr  []byte
		code codes.Code
		want string
	}{
		{"nothing", nil, codes.InvalidArgument, "has 0 bytes"},
		{"oversized", csr(func(c *x509.CertificateRequest) { c.DNSNames = []string{strings.Repeat("a", 9000)} }), codes.InvalidArgument, "can be 1 to 8192"},
		{"malformed", []byte("no request"), codes.InvalidArgument, "cannot be read"},
		{"half", plain[:len(plain)/2], codes.InvalidArgument, "cannot be read"},
		{"something behind it", append(bytes.Clone(plain), 0), codes.InvalidArgument, "cannot be read"},
		{"RSA-512", rsa512, codes.InvalidArgument, "RSA of 2048 to 4096 bits"},
		{"RSA-1024", newCSR(t, rsaKey(t, 1024), x509.CertificateRequest{}), codes.InvalidArgument, "RSA of 2048 to 4096 bits"},
		{"RSA with a large exponent", newCSR(t, largeExponent(t), x509.CertificateRequest{}), codes.InvalidArgument, "exponent 65537"},
		{"P-224", newCSR(t, ecdsaKey(t, elliptic.P224()), x509.CertificateRequest{}), codes.InvalidArgument, "P-256 or P-384"},
		{"P-521", newCSR(t, ecdsaKey(t, elliptic.P521()), x509.CertificateRequest{}), codes.InvalidArgument, "P-256 or P-384"},
		{"Ed25519", newCSR(t, edwards, x509.CertificateRequest{}), codes.InvalidArgument, "P-256 or P-384"},
		{"not signed with its key", unsigned, codes.InvalidArgument, "not signed with its key"},
		{"wants to be an authority", extension(asn1.ObjectIdentifier{2, 5, 29, 19}, 0x30, 3, 1, 1, 0xff), codes.InvalidArgument, "extension 2.5.29.19"},
		{"another identity", csr(func(c *x509.CertificateRequest) { c.URIs = []*url.URL{other.ID.URL()} }), codes.PermissionDenied, "other names"},
		{"its own and another one", csr(func(c *x509.CertificateRequest) {
			c.URIs = []*url.URL{p.ID.URL(), other.ID.URL()}
		}), codes.PermissionDenied, "other names"},
		{"the control plane", csr(func(c *x509.CertificateRequest) {
			c.URIs = []*url.URL{identity.ControlPlane(domain).URL()}
		}), codes.PermissionDenied, "other names"},
		{"another workload", csr(func(c *x509.CertificateRequest) { c.DNSNames = []string{other.Workload} }), codes.PermissionDenied, "other names"},
		{"another address", csr(func(c *x509.CertificateRequest) { c.IPAddresses = []net.IP{{127, 9, 8, 2}} }), codes.PermissionDenied, "other names"},
		{"an e-mail address", csr(func(c *x509.CertificateRequest) { c.EmailAddresses = []string{"a@b.c"} }), codes.PermissionDenied, "other names"},
		{"a name that crypto/x509 leaves out", extension(san, 0x30, 3, 0x88, 1, 0x2a), codes.PermissionDenied, "other names"},
		{"a subject", csr(func(c *x509.CertificateRequest) { c.Subject.CommonName = other.Workload }), codes.PermissionDenied, "its subject is not empty"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			address := r.serve(t, r.Attestor())
			token := r.token(t, p)
			out, err := r.call(t, address, nil, &capb.SignRequest{Csr: test.csr, Token: token})
			if status.Code(err) != test.code || !strings.Contains(status.Convert(err).Message(), test.want) || out != nil {
				t.Errorf("it is %v, %v; want %s with %q", out, err, test.code, test.want)
			}
			s := r.Status()
			if s.Issued[attest.ByToken] != 0 || s.Refused[ca.ReasonRequest]+s.Refused[ca.ReasonOther] != 1 {
				t.Errorf("the status is %+v", s)
			}
			if strings.Contains(r.log.String(), token) || !strings.Contains(r.log.String(), "is refused") {
				t.Errorf("told is\n%s", r.log)
			}
			right := newCSR(t, identitytest.NewKey(t), x509.CertificateRequest{DNSNames: []string{p.Workload}})
			if _, err := r.call(t, address, nil, &capb.SignRequest{Csr: right, Token: token}); err != nil {
				t.Errorf("the token is lost: %v", err)
			}
		})
	}
}

// largeExponent returns an RSA key that is dear to verify with.
func largeExponent(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	for {
		key, ok := rsaKey(t, 2048).(*rsa.PrivateKey)
		if !ok {
			t.Fatal("no key")
		}
		e := big.NewInt(1<<30 + 3)
		one := big.NewInt(1)
		order := new(big.Int).Mul(new(big.Int).Sub(key.Primes[0], one), new(big.Int).Sub(key.Primes[1], one))
		if d := new(big.Int).ModInverse(e, order); d != nil {
			large := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: key.N, E: int(e.Int64())}, D: d, Primes: key.Primes}
			large.Precompute()
			return large
		}
	}
}

// The names of the workload itself may stand in a request.
func TestOwnNamesMayBeAskedFor(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := identitytest.Peer(domain, "reviews", "127.9.8.1")
	csr := newCSR(t, identitytest.NewKey(t), x509.CertificateRequest{
		URIs: []*url.URL{p.ID.URL()}, DNSNames: []string{p.Workload}, IPAddresses: []net.IP{p.Address.AsSlice()},
	})
	if _, err := r.call(t, r.serve(t, r.Attestor()), nil, &capb.SignRequest{Csr: csr, Token: r.token(t, p)}); err != nil {
		t.Error(err)
	}
}

// Evidence that does not hold: replayed, expired, of another authority, damaged, none.
func TestEvidenceThatIsRefused(t *testing.T) {
	t.Parallel()
	p := identitytest.Peer(domain, "reviews", "127.9.8.1")
	csr := newCSR(t, identitytest.NewKey(t), x509.CertificateRequest{})
	for _, test := range []struct {
		name  string
		token func(t *testing.T, r *rig, address string) string
		want  string
	}{
		{"nothing", func(*testing.T, *rig, string) string { return "" }, "neither a token nor a client certificate"},
		{"no token", func(*testing.T, *rig, string) string { return "secret words" }, "this is no join token"},
		{"replayed", func(t *testing.T, r *rig, address string) string {
			token := r.token(t, p)
			_, err := r.call(t, address, nil, &capb.SignRequest{Csr: newCSR(t, identitytest.NewKey(t), x509.CertificateRequest{}), Token: token})
			must(t, err)
			return token
		}, "used already"},
		{"replayed after a restart", func(t *testing.T, r *rig, address string) string {
			token := r.token(t, p)
			_, err := r.call(t, address, nil, &capb.SignRequest{Csr: newCSR(t, identitytest.NewKey(t), x509.CertificateRequest{}), Token: token})
			must(t, err)
			r.stop()
			must(t, r.start())
			return token
		}, "used already"},
		{"expired", func(t *testing.T, r *rig, _ string) string {
			token := r.token(t, p)
			r.clock.move(time.Hour)
			return token
		}, "has expired"},
		{"foreign", func(t *testing.T, _ *rig, _ string) string { return newRig(t).token(t, p) }, "of another authority"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			token := test.token(t, r, r.serve(t, r.Attestor()))
			issued := r.Status().Issued[attest.ByToken]
			out, err := r.call(t, r.serve(t, r.Attestor()), nil, &capb.SignRequest{Csr: csr, Token: token})
			if status.Code(err) != codes.Unauthenticated || !strings.Contains(status.Convert(err).Message(), test.want) || out != nil {
				t.Errorf("it is %v, %v; want %q", out, err, test.want)
			}
			if s := r.Status(); s.Issued[attest.ByToken] != issued || s.Refused[ca.ReasonEvidence] != 1 {
				t.Errorf("the status is %+v", s)
			}
			if all := r.log.String() + err.Error(); token != "" && strings.Contains(all, token) {
				t.Errorf("the token is told: %s", all)
			}
		})
	}
}

// Tokens that were given out while the clock was 5 minutes off count when it is right again.
func TestTokensAndClockSkew(t *testing.T) {
	t.Parallel()
	for _, skew := range []time.Duration{-5 * time.Minute, 5 * time.Minute} {
		r := newRig(t)
		r.clock.move(skew)
		token, _, err := r.Tokens().Issue(identitytest.Peer(domain, "reviews", ""), 0)
		must(t, err)
		r.clock.move(-skew)
		ask := r.ask(t, r.serve(t, r.Attestor()))
		ask.Trust, ask.Token = nil, token.Reveal()
		theirs := r.clock.Now().Add(-skew) // the agent is off the other way
		ask.Now = func() time.Time { return theirs }
		answer, err := enrol.Request(t.Context(), ask)
		if err != nil {
			t.Errorf("%s: %v", skew, err)
			continue
		}
		if off := answer.Now.Sub(theirs).Round(time.Second); off != skew {
			t.Errorf("the agent is told that it is %s off, not %s", off, skew)
		}
	}
}

// A workload cannot ask without end, and that costs the others nothing.
func TestRateOfAWorkload(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	address := r.serve(t, r.Attestor())
	held := r.leafFor(t, identitytest.Peer(domain, "reviews", "")) // the first
	csr := newCSR(t, identitytest.NewKey(t), x509.CertificateRequest{})
	for i := range 12 {
		_, err := r.call(t, address, &held, &capb.SignRequest{Csr: csr})
		if want := i >= 9; (status.Code(err) == codes.ResourceExhausted) != want || err != nil && !strings.Contains(err.Error(), "try again in 10s") {
			t.Errorf("renewal %d: %v", i, err)
		}
	}
	other := r.leafFor(t, identitytest.Peer(domain, "ratings", ""))
	if _, err := r.call(t, address, &other, &capb.SignRequest{Csr: csr}); err != nil {
		t.Errorf("another workload: %v", err)
	}
	r.clock.move(10 * time.Second)
	if _, err := r.call(t, address, &held, &capb.SignRequest{Csr: csr}); err != nil {
		t.Errorf("10 s later: %v", err)
	}
	if n := r.Status().Refused[ca.ReasonRate]; n != 3 {
		t.Errorf("%d are counted", n)
	}
}

// Of a failure of its own the authority tells the caller no more than that, and its log the rest.
func TestOwnFailure(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	address := r.serve(t, r.Attestor())
	token := r.token(t, identitytest.Peer(domain, "reviews", ""))
	must(t, r.Close())
	_, err := r.call(t, address, nil, &capb.SignRequest{Csr: newCSR(t, identitytest.NewKey(t), x509.CertificateRequest{}), Token: token})
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "its log says why") || strings.Contains(err.Error(), r.config.State) {
		t.Errorf("the error is %v", err)
	}
	if !strings.Contains(r.log.String(), "keep the join tokens") || strings.Contains(r.log.String(), token) {
		t.Errorf("told is\n%s", r.log)
	}
	if n := r.Status().Refused[ca.ReasonFailure]; n != 1 {
		t.Errorf("%d are counted", n)
	}
}

// The service is never had without TLS.
func TestPlainText(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	connection, err := grpc.NewClient("passthrough:///"+r.serve(t, r.Attestor()), grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	defer func() { must(t, connection.Close()) }()
	out, err := capb.NewCertificateAuthorityClient(connection).Sign(t.Context(), &capb.SignRequest{})
	if status.Code(err) != codes.Unavailable || out != nil {
		t.Errorf("it is %v, %v", out, err)
	}
	testkit.Await(t, "it is counted and told", func() bool {
		return r.Status().Refused[ca.ReasonHandshake] > 0 && strings.Contains(r.log.String(), "a connection to the control plane is refused")
	})
}

// A refusal is told in the log a few times, not as often as somebody likes.
func TestRefusalsDoNotFloodTheLog(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	address := r.serve(t, r.Attestor())
	for range 30 {
		if _, err := r.call(t, address, nil, &capb.SignRequest{}); err == nil {
			t.Fatal("nothing is a request")
		}
	}
	if told, n := strings.Count(r.log.String(), "is refused"), r.Status().Refused[ca.ReasonRequest]; told != 10 || n != 30 {
		t.Errorf("%d are told, and %d counted", told, n)
	}
}

// clientOf returns how somebody who shows a certificate, or none, speaks TLS.
func clientOf(c *tls.Certificate, version uint16) *tls.Config {
	config := &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version, NextProtos: []string{"h2"}}
	if c != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c, nil }
	}
	return config
}
