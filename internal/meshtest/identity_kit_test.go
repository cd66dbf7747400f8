package meshtest_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretservicev3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// proxyALPN is what proxies of the mesh offer (RFC 7301).
const proxyALPN = "lateen"

// strict, permissive and none set the policy of the mesh.
func strict(s *mesh.Settings)     { s.AuthPolicy = mesh.AuthMutualTLS }
func permissive(s *mesh.Settings) { s.AuthPolicy = mesh.AuthPermissive }
func none(s *mesh.Settings)       { s.AuthPolicy = mesh.AuthNone }

// takenFrom returns the certificate of an instance with its key, asked of its agent as its Envoy asks, and the roots.
func takenFrom(t *testing.T, i *meshtest.Instance) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	conn, err := grpc.NewClient("unix:"+filepath.Join(i.Dir, "sds.sock"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	stream, err := secretservicev3.NewSecretDiscoveryServiceClient(conn).StreamSecrets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&discoveryv3.DiscoveryRequest{TypeUrl: string(xds.SecretType), ResourceNames: []string{"identity", "trust"}}); err != nil {
		t.Fatal(err)
	}
	res, err := stream.Recv()
	if err != nil || len(res.GetResources()) != 2 {
		t.Fatalf("the agent of %s answers %v, %v", i.Name, res, err)
	}
	var taken tls.Certificate
	roots := x509.NewCertPool()
	for _, r := range res.GetResources() {
		var s tlsv3.Secret
		if err := r.UnmarshalTo(&s); err != nil {
			t.Fatal(err)
		}
		if c := s.GetTlsCertificate(); c != nil {
			if taken, err = tls.X509KeyPair(c.GetCertificateChain().GetInlineBytes(), c.GetPrivateKey().GetInlineBytes()); err != nil {
				t.Fatal(err)
			}
		}
		roots.AppendCertsFromPEM(s.GetValidationContext().GetTrustedCa().GetInlineBytes())
	}
	return taken, roots
}

// forger makes certificates of any kind with the key of an authority.
type forger struct {
	t     *testing.T
	cert  *x509.Certificate
	key   crypto.Signer
	chain [][]byte // behind a leaf
}

// forgerOf forges with the key of the mesh itself.
func forgerOf(t *testing.T, m *meshtest.Mesh) *forger {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(m.Dir, "ca", "root.pem"))
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(text, text)
	if err != nil {
		t.Fatal(err)
	}
	return &forger{t: t, cert: pair.Leaf, key: pair.PrivateKey.(crypto.Signer)}
}

// strangers forges with an authority of another mesh, which has the same names in it.
func strangers(t *testing.T) *forger {
	t.Helper()
	a := newAuthority(t)
	return &forger{t: t, cert: a.cert, key: a.key}
}

// idOf is the SPIFFE ID of an account.
func idOf(account string) string { return "spiffe://cluster.local/ns/default/sa/" + account }

// leaf makes a certificate like those of workloads, without an address, but for the edit.
func (f *forger) leaf(account string, edit func(*x509.Certificate)) tls.Certificate {
	f.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.t.Fatal(err)
	}
	return f.leafFor(key, account, edit)
}

// leafFor makes one for a key.
func (f *forger) leafFor(key crypto.Signer, account string, edit func(*x509.Certificate)) tls.Certificate {
	f.t.Helper()
	id, err := url.Parse(idOf(account))
	if err != nil {
		f.t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(7), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		URIs: []*url.URL{id}, DNSNames: []string{account + "-v1-0.default"}, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	if edit != nil {
		edit(c)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, f.cert, key.Public(), f.key)
	if err != nil {
		f.t.Fatal(err)
	}
	return tls.Certificate{Certificate: append([][]byte{der}, f.chain...), PrivateKey: key}
}

// selfSigned makes a certificate that nobody has signed but itself.
func selfSigned(t *testing.T, account string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	self := &forger{t: t, cert: &x509.Certificate{}, key: key}
	return self.leafFor(key, account, nil)
}

// showing is a client of TLS that shows a certificate, even to a server that asks for none of its kind, or none at all. Whom
// it speaks to does not matter to it.
func showing(c *tls.Certificate, alpn ...string) *tls.Config {
	config := &tls.Config{InsecureSkipVerify: true, NextProtos: alpn, MinVersion: tls.VersionTLS10}
	if c != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c, nil }
	}
	return config
}

// at is where an instance takes connections for a port.
func at(i *meshtest.Instance, port int) string {
	return net.JoinHostPort(i.Address, strconv.Itoa(port))
}

// dialFrom connects from an address of this machine, with TLS where there is a configuration for it.
func dialFrom(t *testing.T, from, to string, config *tls.Config) (net.Conn, error) {
	t.Helper()
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := dialer.DialContext(t.Context(), "tcp", to)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(meshtest.Patience)); err != nil {
		return nil, err
	}
	if config == nil {
		return conn, nil
	}
	secure := tls.Client(conn, config)
	return secure, secure.HandshakeContext(t.Context())
}

// heard says something to a server and returns all that it answers until it ends the connection, and the error if it ends it
// with one. A server that does neither within the test's patience fails the test.
func heard(t *testing.T, from, to string, config *tls.Config, say string) (string, error) {
	t.Helper()
	conn, err := dialFrom(t, from, to, config)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, say); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("from %s to %s: the connection does not end", from, to)
	}
	return string(answer), err
}

// asked is a request that ends its connection.
func asked(path string, headers ...string) string {
	var more strings.Builder
	for n := 0; n < len(headers); n += 2 {
		fmt.Fprintf(&more, "%s: %s\r\n", headers[n], headers[n+1])
	}
	return "GET " + path + " HTTP/1.1\r\nHost: any\r\n" + more.String() + "Connection: close\r\n\r\n"
}

// entries returns what stands in an instance's access log and is as it should be.
func entries(t *testing.T, i *meshtest.Instance, as map[string]any) []map[string]any {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(i.Dir, "access.log"))
	if err != nil {
		t.Fatal(err)
	}
	var found []map[string]any
	for line := range bytes.Lines(text) {
		var entry map[string]any
		if !bytes.HasSuffix(line, []byte("\n")) || json.Unmarshal(line, &entry) != nil {
			continue
		}
		same := true
		for key, value := range as {
			same = same && entry[key] == value
		}
		if same {
			found = append(found, entry)
		}
	}
	return found
}

// awaitEntry waits until an instance's access log has an entry, and returns it. There must not be two.
func awaitEntry(t *testing.T, i *meshtest.Instance, as map[string]any) map[string]any {
	t.Helper()
	var found []map[string]any
	meshtest.Await(t, fmt.Sprintf("an entry %v in the log of %s", as, i.Name), func() bool {
		found = entries(t, i, as)
		return len(found) > 0
	})
	if len(found) > 1 {
		t.Errorf("%d entries %v: %v", len(found), as, found)
	}
	return found[0]
}
