package meshtest_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
)

// impostor is a server of TLS, or of plain text, at a place where callers look for another one. It keeps what it is told.
type impostor struct {
	address string
	resumed atomic.Bool // a session of TLS was taken up again

	mu    sync.Mutex
	conns int
	said  bytes.Buffer
}

// pose starts an impostor with a configuration of TLS; nil: without.
func pose(t *testing.T, config *tls.Config) *impostor {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	i := &impostor{address: l.Addr().String()}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if config != nil {
				conn = tls.Server(conn, config)
			}
			go i.serve(conn)
		}
	}()
	return i
}

// serve answers a request and keeps it.
func (i *impostor) serve(conn net.Conn) {
	defer conn.Close()
	i.mu.Lock()
	i.conns++
	i.mu.Unlock()
	_ = conn.SetDeadline(time.Now().Add(meshtest.Patience))
	if c, ok := conn.(*tls.Conn); ok && c.Handshake() == nil && c.ConnectionState().DidResume {
		i.resumed.Store(true)
	}
	part := make([]byte, 4096)
	for {
		n, err := conn.Read(part)
		i.mu.Lock()
		i.said.Write(part[:n])
		i.mu.Unlock()
		if bytes.Contains(part[:n], []byte("\r\n\r\n")) {
			fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nserved")
			return
		}
		if err != nil {
			return
		}
	}
}

// knows returns how often it was connected to, and all that it was told.
func (i *impostor) knows() (conns int, said string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.conns, i.said.String()
}

// posing is a configuration of a server that shows a certificate and wants one.
func posing(c tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{c}, ClientAuth: tls.RequireAnyClientCert, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS10}
}

// bank makes an impostor the endpoint of a service by the name of a case, whose endpoints should prove the account "bank".
func bank(m *meshtest.Mesh, name string, i *impostor, identities ...string) {
	svc := meshtest.NewService(name, "http", meshtest.ServicePort)
	svc.Identities = identities
	at := netip.MustParseAddrPort(i.address)
	m.AddRegistry(mesh.Registry{Services: []*mesh.Service{svc}, Endpoints: []*mesh.EndpointSet{{Host: svc.Host, Endpoints: []mesh.Endpoint{{
		Address: at.Addr().String(), Ports: map[string]int{"http": int(at.Port())}, Account: "bank", Workload: "bank-v1-0", Health: mesh.Healthy,
	}}}}})
}

// A caller tells a server nothing before that has proven one of the identities of the service, by TLS that is good enough.
func TestCallersRefuseOtherServers(t *testing.T) {
	t.Parallel()
	m := meshtest.New(t)
	caller := m.Caller("caller", nil)
	ours, theirs := forgerOf(t, m), strangers(t)
	good := ours.leaf("bank", nil)
	edited := func(edit func(*tls.Config)) *tls.Config {
		c := posing(good)
		edit(c)
		return c
	}
	leaf := func(edit func(*x509.Certificate)) *tls.Config { return posing(ours.leaf("bank", edit)) }
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	withRSA := ours.leafFor(key, "bank", func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageKeyEncipherment })
	suite := func(c tls.Certificate, id uint16) *tls.Config {
		config := posing(c)
		config.MaxVersion, config.CipherSuites = tls.VersionTLS12, []uint16{id}
		return config
	}
	for name, c := range map[string]struct {
		config *tls.Config
		more   []string // identities that the service accepts too
		in     bool
	}{
		"good":            {posing(good), nil, true},
		"good-in-1-2":     {edited(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }), nil, true},
		"good-rsa":        {suite(withRSA, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256), nil, true},
		"accepted-too":    {posing(ours.leaf("old-bank", nil)), []string{idOf("old-bank")}, true},
		"another-account": {posing(ours.leaf("thief", nil)), []string{idOf("old-bank")}, false},
		"longer-account":  {posing(ours.leaf("bank2", nil)), nil, false},
		"name-in-dns": {leaf(func(c *x509.Certificate) {
			c.DNSNames = []string{idOf("bank"), "bank", "bank.default.svc.cluster.local"}
			c.URIs[0].Path = "/ns/default/sa/thief"
		}), nil, false},
		"another-domain":  {leaf(func(c *x509.Certificate) { c.URIs[0].Host = "other.local" }), nil, false},
		"foreign":         {posing(theirs.leaf("bank", nil)), nil, false},
		"self-signed":     {posing(selfSigned(t, "bank")), nil, false},
		"expired":         {leaf(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) }), nil, false},
		"for-clients":     {leaf(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), nil, false},
		"plain":           {nil, nil, false},
		"in-1-1":          {edited(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS11 }), nil, false},
		"without-secrecy": {suite(withRSA, tls.TLS_RSA_WITH_AES_128_GCM_SHA256), nil, false},
		"with-cbc":        {suite(good, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA), nil, false},
	} {
		i := pose(t, c.config)
		bank(m, name, i, c.more...)
		status, body := caller.Get("http://"+name+":9080/mark-path", "X-Mark", "mark-header")
		conns, said := i.knows()
		switch {
		case conns == 0:
			t.Errorf("%s was not even tried", name)
		case c.in && (status != http.StatusOK || body != "served" || !strings.Contains(said, "mark-header")):
			t.Errorf("%s: %d %q", name, status, body)
		case !c.in && (status != http.StatusServiceUnavailable || strings.Contains(said, "mark-")):
			t.Errorf("%s: %d %q, and it was told %q", name, status, body, said)
		case !c.in && c.config != nil && said != "":
			t.Errorf("%s was told %q", name, said)
		}
	}
}

// An instance that runs under another account than the registry says is refused, for requests and for bytes, until the service
// accepts that account.
func TestEndpointOfAnotherAccount(t *testing.T) {
	t.Parallel()
	m := meshtest.New(t)
	fort := newFortress(t, m)
	caller := m.StartSpec(meshtest.Spec{
		Service: "caller", Version: "v1", Ports: []meshtest.SpecPort{{Name: "http", Number: 9080, App: meshtest.Named("caller")}},
		Upstreams: []mesh.Upstream{{Host: meshtest.HostOf("fort"), Port: bytesPort}},
	})
	fetch := func() (int, string) { return caller.Get("http://fort:9080/") }
	hear := func() string {
		said, conn, _ := greeting(t, caller.Upstream("fort", bytesPort))
		conn.Close()
		return said
	}
	if status, body := fetch(); status != http.StatusOK || hear()+"\n" != welcome {
		t.Fatalf("at first it answers %d %q", status, body)
	}
	m.Edit(func(r *mesh.Registry) {
		i := slices.IndexFunc(r.Endpoints, func(e *mesh.EndpointSet) bool { return e.Host == meshtest.HostOf("fort") })
		set := *r.Endpoints[i]
		set.Endpoints = slices.Clone(set.Endpoints)
		set.Endpoints[0].Account = "castle"
		r.Endpoints[i] = &set
	})
	requests, conns := fort.requests.Load(), fort.conns.Load()
	if status, body := fetch(); status != http.StatusServiceUnavailable {
		t.Errorf("as another account it answers %d %q", status, body)
	}
	if said := hear(); !strings.HasPrefix(said, "closed") {
		t.Errorf("as another account it says %q", said)
	}
	if fort.requests.Load() != requests || fort.conns.Load() != conns {
		t.Error("something came to the application")
	}
	m.Edit(func(r *mesh.Registry) {
		i := slices.IndexFunc(r.Services, func(s *mesh.Service) bool { return s.Name == "fort" })
		svc := *r.Services[i]
		svc.Identities = []string{idOf("fort")}
		r.Services[i] = &svc
	})
	if status, body := fetch(); status != http.StatusOK || hear()+"\n" != welcome {
		t.Errorf("as one that is accepted it answers %d %q", status, body)
	}
}
