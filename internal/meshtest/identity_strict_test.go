package meshtest_test

import (
	"bufio"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/plan"
)

// fortress is an instance of a service whose ports take mutual TLS alone, and counts what reaches its application.
type fortress struct {
	*meshtest.Instance
	mesh     *meshtest.Mesh
	requests atomic.Int64
	conns    atomic.Int64 // of the port for bytes, which speaks first
}

const (
	bytesPort = 3306
	welcome   = "welcome\n"
)

func newFortress(t *testing.T, m *meshtest.Mesh) *fortress {
	t.Helper()
	f := &fortress{mesh: m}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			f.conns.Add(1)
			go func() {
				defer conn.Close()
				_, _ = io.WriteString(conn, welcome)
				_, _ = bufio.NewReader(conn).ReadString('\n')
			}()
		}
	}()
	f.Instance = m.StartSpec(meshtest.Spec{Service: "fort", Version: "v1", Account: "fort", Ports: []meshtest.SpecPort{
		{Name: "http", Number: meshtest.ServicePort, App: meshtest.Handler(func(w http.ResponseWriter, r *http.Request) {
			f.requests.Add(1)
			_, _ = io.WriteString(w, "inside "+r.URL.Path)
		})},
		{Name: "mysql", Number: bytesPort, Target: l.Addr().String()},
	}})
	return f
}

// attempt is one try to get in.
type attempt struct {
	name   string
	config *tls.Config // nil: plain text
	rule   string      // of the access log; "": it is let in
}

// attempts are the tries to get into a port of a mesh.
func attempts(t *testing.T, m *meshtest.Mesh) []attempt {
	t.Helper()
	own, other := forgerOf(t, m), strangers(t)
	show := func(c tls.Certificate) *tls.Config { return showing(&c, proxyALPN, "http/1.1") }
	edit := func(edit func(*x509.Certificate)) *tls.Config { return show(own.leaf("friend", edit)) }
	friend := own.leaf("friend", nil)
	named := func(id string) *tls.Config {
		u, err := url.Parse(id)
		if err != nil {
			t.Fatal(err)
		}
		return edit(func(c *x509.Certificate) { c.URIs = []*url.URL{u} })
	}
	// A leaf signs another one, as if it were an authority.
	parsed, err := x509.ParseCertificate(friend.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	child := &forger{t: t, cert: parsed, key: friend.PrivateKey.(crypto.Signer), chain: friend.Certificate}
	return []attempt{
		{"plain text", nil, plan.NotProven},
		{"TLS of its own", showing(&friend, "http/1.1"), plan.NotProven},
		{"TLS without ALPN", showing(&friend), plan.NotProven},
		{"no certificate", showing(nil, proxyALPN), plan.NotTrusted},
		{"self-signed", show(selfSigned(t, "friend")), plan.NotTrusted},
		{"of another authority", show(other.leaf("friend", nil)), plan.NotTrusted},
		{"of a leaf", show(child.leaf("friend", nil)), plan.NotTrusted},
		{"expired", edit(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) }), plan.NotTrusted},
		{"of the future", edit(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour / 2) }), plan.NotTrusted},
		{"of another trust domain", named("spiffe://other.local/ns/default/sa/friend"), plan.NotTrusted},
		{"of a trust domain that begins alike", named("spiffe://cluster.local.evil/ns/default/sa/friend"), plan.NotTrusted},
		{"of no trust domain", named("https://cluster.local/ns/default/sa/friend"), plan.NotTrusted},
		{"without a URI", edit(func(c *x509.Certificate) { c.URIs = nil }), plan.NotTrusted},
		{"for servers", edit(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), plan.NotTrusted},
		{"a friend", show(friend), ""},
	}
}

// A port that takes mutual TLS alone takes nothing else: who proves no identity, or one that is not of this mesh or holds no
// longer, is turned away before anything reaches the application, and stands in the access log with the reason.
func TestStrictPortsTakeNobodyElse(t *testing.T) {
	t.Parallel()
	m := meshtest.New(t)
	fort := newFortress(t, m)
	m.Set(strict)
	for n, a := range attempts(t, m) {
		from := fmt.Sprintf("127.0.66.%d", n+1)
		before := fort.conns.Load()
		answer, err := heard(t, from, at(fort.Instance, meshtest.ServicePort), a.config, asked("/"+from))
		greeted, bytesErr := heard(t, from, at(fort.Instance, bytesPort), a.config, "anybody?\n")
		if a.rule == "" {
			if !strings.Contains(answer, "inside /"+from) || greeted != welcome {
				t.Errorf("%s: %q, %v and %q, %v: want to be let in", a.name, answer, err, greeted, bytesErr)
			}
			continue
		}
		if answer != "" || greeted != "" {
			t.Errorf("%s is let in: %q and %q", a.name, answer, greeted)
		}
		meshtest.Await(t, a.name+" in the log twice", func() bool {
			return len(entries(t, fort.Instance, map[string]any{"source": from, "rule": a.rule})) == 2
		})
		all := entries(t, fort.Instance, map[string]any{"source": from})
		if len(all) != 2 {
			t.Errorf("%s: %v, want two entries", a.name, all)
		}
		for _, e := range all {
			if said, _ := e["details"].(string); e["peer"] != nil || (said == "filter_chain_not_found") != (a.rule == plan.NotProven) || said == "" {
				t.Errorf("%s: %v", a.name, e)
			}
		}
		if now := fort.conns.Load(); now != before {
			t.Errorf("%s: the application got %d connections", a.name, now-before)
		}
	}
	if n := fort.requests.Load(); n != 1 {
		t.Errorf("the application got %d requests, want the friend's", n)
	}
}
