package meshtest_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/meshtest"
)

// Callers speak TLS 1.3, or 1.2 with forward secrecy, and nothing older or weaker.
func TestServersSpeakNoOldTLS(t *testing.T) {
	t.Parallel()
	m := meshtest.New(t)
	fort := newFortress(t, m)
	m.Set(strict)
	friend := forgerOf(t, m).leaf("friend", nil)
	for _, c := range []struct {
		name   string
		most   uint16
		suites []uint16 // of 1.2 and older
		want   uint16   // 0: refused
	}{
		{"the newest", tls.VersionTLS13, nil, tls.VersionTLS13},
		{"1.2", tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}, tls.VersionTLS12},
		{"1.2 with AES-256", tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384}, tls.VersionTLS12},
		{"1.2 with ChaCha20", tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305}, tls.VersionTLS12},
		{"1.2 with CBC", tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}, 0},
		{"1.2 without forward secrecy", tls.VersionTLS12, []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}, 0},
		{"1.1", tls.VersionTLS11, nil, 0},
		{"1.0", tls.VersionTLS10, nil, 0},
	} {
		config := showing(&friend, proxyALPN, "http/1.1")
		config.MaxVersion, config.CipherSuites = c.most, c.suites
		var got uint16
		config.VerifyConnection = func(s tls.ConnectionState) error {
			got = s.Version
			return nil
		}
		answer, err := heard(t, "127.0.0.1", at(fort.Instance, meshtest.ServicePort), config, asked("/"))
		if in := strings.Contains(answer, "inside /"); in != (c.want != 0) || got != c.want {
			t.Errorf("%s: %q, %v, version %x, want %x", c.name, answer, err, got, c.want)
		}
	}
}

// A session of TLS that was begun with a good certificate cannot be taken up again when the certificate has expired.
func TestSessionsDoNotOutliveCertificates(t *testing.T) {
	t.Parallel()
	m := meshtest.New(t)
	fort := newFortress(t, m)
	m.Set(strict)
	end := time.Now().Add(4 * time.Second)
	friend := forgerOf(t, m).leaf("friend", func(c *x509.Certificate) { c.NotAfter = end })
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		config := showing(&friend, proxyALPN, "http/1.1")
		config.MaxVersion, config.ClientSessionCache = version, tls.NewLRUClientSessionCache(1)
		config.ServerName = "fort"
		for n := range 2 {
			if answer, err := heard(t, "127.0.0.1", at(fort.Instance, meshtest.ServicePort), config, asked("/")); !strings.Contains(answer, "inside /") {
				t.Fatalf("request %d: %q, %v", n, answer, err)
			}
		}
		defer func() {
			if answer, _ := heard(t, "127.0.66.1", at(fort.Instance, meshtest.ServicePort), config, asked("/")); answer != "" {
				t.Errorf("version %x: who shows an expired certificate gets %q", version, answer)
			}
		}()
	}
	meshtest.Await(t, "the end of the certificate", func() bool { return time.Now().After(end.Add(time.Second)) })
}

// firstFlight is a connection on which nothing is read: what goes out is the beginning of a handshake.
type firstFlight struct {
	net.Conn
	ctx context.Context
}

func (c firstFlight) Read([]byte) (int, error) {
	<-c.ctx.Done()
	return 0, c.ctx.Err()
}

// Who begins to prove an identity and does not go on is sent away, and who says nothing at all; also by an ingress, which takes
// anybody's connection.
func TestHandshakesAreBounded(t *testing.T) {
	t.Parallel()
	m := meshtest.New(t)
	fort, door := newFortress(t, m), m.Door()
	m.Set(strict)
	object, _ := secretOf(t, newAuthority(t), "shop-tls", "shop.example.com")
	m.Apply(object + "---\napiVersion: extensions/v1beta1\nkind: Ingress\nmetadata: {name: shop}\n" +
		"spec: {tls: [{secretName: shop-tls, hosts: [shop.example.com]}], backend: {serviceName: fort, servicePort: 9080}}\n")
	proxies := showing(nil, proxyALPN)
	strangers := showing(nil)
	strangers.ServerName = "shop.example.com"
	for name, c := range map[string]struct {
		to    string
		hello *tls.Config // nil: nothing is said
	}{
		"begins, for requests":   {at(fort.Instance, meshtest.ServicePort), proxies},
		"begins, for bytes":      {at(fort.Instance, bytesPort), proxies},
		"is silent, for request": {at(fort.Instance, meshtest.ServicePort), nil},
		"is silent, for bytes":   {at(fort.Instance, bytesPort), nil},
		"begins, at the door":    {at(door, door.DoorTLS), strangers},
		"is silent, at the door": {at(door, door.DoorTLS), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, err := dialFrom(t, "127.0.0.1", c.to, nil)
			if err != nil {
				t.Fatal(err)
			}
			if c.hello != nil {
				go func() { _ = tls.Client(firstFlight{conn, t.Context()}, c.hello).HandshakeContext(t.Context()) }()
			}
			said, err := io.ReadAll(conn)
			if errors.Is(err, os.ErrDeadlineExceeded) || (c.hello != nil) != (len(said) > 0) {
				t.Errorf("the server says %d bytes and ends with %v", len(said), err)
			}
		})
	}
}

// The same holds for servers: a caller takes up no session with one whose certificate has expired. While it has not, it does.
func TestSessionsWithServersDoNotOutliveCertificates(t *testing.T) {
	t.Parallel()
	m := meshtest.New(t)
	caller := m.Caller("caller", nil)
	end := time.Now().Add(4 * time.Second)
	leaf := forgerOf(t, m).leaf("bank", func(c *x509.Certificate) { c.NotAfter = end })
	older := posing(leaf)
	older.MaxVersion = tls.VersionTLS12
	for name, config := range map[string]*tls.Config{"bank-1-2": older, "bank-1-3": posing(leaf)} {
		server := pose(t, config)
		bank(m, name, server)
		for range 2 {
			wantBody(t, caller, "http://"+name+":9080/", "served")
		}
		if !server.resumed.Load() {
			t.Errorf("%s: no session is taken up at all: this test shows nothing", name)
		}
		defer func() {
			if status, body := caller.Get("http://" + name + ":9080/"); status != http.StatusServiceUnavailable {
				t.Errorf("%s, whose certificate has expired, answers %d %q", name, status, body)
			}
		}()
	}
	meshtest.Await(t, "the end of the certificate", func() bool { return time.Now().After(end.Add(time.Second)) })
}
