package meshtest_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
)

// outside is a piece of the world outside the mesh: a DNS that knows every name below .test but those below
// missing.test, says nothing of those below silent.test, and servers on one address of this machine.
type outside struct {
	t         *testing.T
	address   string
	dns       string // "IP:PORT"
	authority *authority
	asked     atomic.Int64
}

// newOutside starts a DNS and an authority, and tells the mesh of both.
func newOutside(t *testing.T, m *meshtest.Mesh) *outside {
	t.Helper()
	o := &outside{t: t, address: "127.0.0.1", authority: newAuthority(t)}
	conn, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(o.answer)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.ActivateAndServe()
	}()
	t.Cleanup(func() {
		_ = server.Shutdown()
		<-done
	})
	o.dns = conn.LocalAddr().String()
	m.Set(func(s *mesh.Settings) { s.DNSResolvers, s.CABundle = []string{o.dns}, o.authority.file })
	return o
}

// answer knows where every name is but those below missing.test.
func (o *outside) answer(w dns.ResponseWriter, r *dns.Msg) {
	o.asked.Add(1)
	m := new(dns.Msg)
	m.SetReply(r)
	switch q := r.Question[0]; {
	case dns.IsSubDomain("silent.test.", q.Name):
		return
	case dns.IsSubDomain("missing.test.", q.Name) || !dns.IsSubDomain("test.", q.Name):
		m.Rcode = dns.RcodeNameError
	case q.Qtype == dns.TypeA:
		m.Answer = []dns.RR{&dns.A{
			Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: net.ParseIP(o.address),
		}}
	}
	_ = w.WriteMsg(m)
}

// serve starts an HTTP server that answers "NAME PROTO HOST PATH", with TLS for the names if there are any, and
// returns its port.
func (o *outside) serve(name string, tlsNames ...string) (port int) {
	o.t.Helper()
	l, err := new(net.ListenConfig).Listen(o.t.Context(), "tcp", net.JoinHostPort(o.address, "0"))
	if err != nil {
		o.t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: meshtest.Patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, name+" "+r.Proto+" "+r.Host+" "+r.URL.Path)
	})}
	server.Protocols = new(http.Protocols)
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetHTTP2(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	if len(tlsNames) > 0 {
		// As more and more do, which a proxy has to be told of.
		server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{o.authority.issue(tlsNames...)}, MinVersion: tls.VersionTLS13}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if len(tlsNames) > 0 {
			_ = server.ServeTLS(l, "", "")
		} else {
			_ = server.Serve(l)
		}
	}()
	o.t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return l.Addr().(*net.TCPAddr).Port
}

// authority issues certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string // its certificate, PEM
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "outside"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{t: t, key: key, file: filepath.Join(t.TempDir(), "ca.pem"), pool: x509.NewCertPool()}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pool.AddCert(a.cert)
	if err := os.WriteFile(a.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return a
}

// issue returns a certificate for names.
func (a *authority) issue(names ...string) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: names[0]}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), DNSNames: names,
	}, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
