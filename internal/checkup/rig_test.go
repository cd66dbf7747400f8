package checkup

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/agent"
	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/identity"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

const (
	day     = 24 * time.Hour
	domain  = "cluster.local"
	reviews = mesh.Host("reviews.default.svc.cluster.local")
	ratings = mesh.Host("ratings.default.svc.cluster.local")
)

// noon is when everything is judged.
func noon() time.Time { return time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC) }

// authority makes certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	last int64
}

func newAuthority(t *testing.T, number int64) *authority {
	t.Helper()
	a := &authority{t: t, last: number}
	a.cert, a.key = a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: fmt.Sprint("root ", number)}, NotBefore: noon().Add(-day), NotAfter: noon().Add(3650 * day),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, URIs: []*url.URL{{Scheme: "spiffe", Host: domain}},
	}, nil)
	return a
}

// sign signs a template, with its own key where there is no parent yet.
func (a *authority) sign(template, parent *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	by := a.key
	if parent == nil {
		parent, by = template, key
	}
	a.last++
	template.SerialNumber = big.NewInt(a.last)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

// leaf makes a workload's certificate, for a day of which so much is over.
func (a *authority) leaf(id mesh.ProxyID, account string, over time.Duration) *x509.Certificate {
	a.t.Helper()
	c, _ := a.sign(&x509.Certificate{
		NotBefore: noon().Add(-over), NotAfter: noon().Add(day - over), KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}, DNSNames: []string{string(id)},
		URIs: []*url.URL{identity.ID{TrustDomain: domain, Namespace: "default", Account: account}.URL()},
	}, a.cert)
	return c
}

func pemOf(all ...*x509.Certificate) string {
	text := ""
	for _, c := range all {
		text += string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	return text
}

// rig is a mesh in which all is well, at noon: reviews and ratings, and their proxies.
type rig struct {
	*facts
	t    *testing.T
	root *authority
}

func newRig(t *testing.T) *rig {
	t.Helper()
	root := newAuthority(t, 100)
	described := api.AuthorityCertificate{Subject: "CN=root", NotBefore: root.cert.NotBefore, NotAfter: root.cert.NotAfter}
	r := &rig{t: t, root: root, facts: &facts{
		now: noon(), since: 10 * time.Minute, dir: "/state", status: api.Status{Ready: true, Revision: 7},
		authority: &api.Authority{
			TrustDomain: domain, CertTTL: mesh.Duration(day), Roots: []api.AuthorityCertificate{described}, Issuing: []api.AuthorityCertificate{described},
		},
		bundle:  identity.Bundle{TrustDomain: domain, Roots: []*x509.Certificate{root.cert}},
		proxies: map[mesh.ProxyID]*api.Proxy{}, streams: map[mesh.ProxyID][]time.Time{}, addresses: map[string]mesh.ProxyID{"127.0.9.2": "ratings-v1-0.default", "127.0.9.3": "reviews-v1-0.default"},
	}}
	for n, host := range []mesh.Host{ratings, reviews} {
		service := string(host)[:7]
		id := mesh.ProxyID(service + "-v1-0.default")
		address := fmt.Sprint("127.0.9.", n+2)
		spiffe := "spiffe://cluster.local/ns/default/sa/" + service
		r.services = append(r.services, api.Service{
			Host: host, Ports: []api.ServicePort{{Name: "http", Number: 9080, Policy: mesh.AuthPermissive, Accept: mesh.Both, Speak: mesh.TLS}},
			Endpoints: []api.Endpoint{{Address: address, Workload: service + "-v1-0", Identity: spiffe, Health: mesh.Healthy}},
		})
		r.proxies[id] = &api.Proxy{ID: id, Type: mesh.Sidecar, Connected: true, Current: true, Identity: spiffe}
		s := &seen{Workload: api.Workload{
			ID: id, Type: mesh.Sidecar, Account: service, Identity: spiffe, Address: address, Running: true,
			Serves: []api.WorkloadPort{{Host: host, Port: 9080, Listen: 9080}},
		}, here: true, dir: t.TempDir()}
		r.seen = append(r.seen, s)
		r.hold(s, agent.Status{Chain: pemOf(root.leaf(id, service, time.Hour)), Roots: pemOf(root.cert), RenewAt: noon().Add(11 * time.Hour)})
		s.identity.Envoy = SameUse
	}
	return r
}

// hold has the agent of a workload say something, and reads it.
func (r *rig) hold(s *seen, status agent.Status) {
	r.t.Helper()
	text, err := json.Marshal(status)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "identity.json"), text, 0o600); err != nil {
		r.t.Fatal(err)
	}
	s.identity = Identity{Proxy: s.ID, Type: s.Type, Wanted: s.Identity}
	if p := r.proxies[s.ID]; p != nil {
		s.identity.Connected, s.identity.Proven = p.Connected, p.Identity
	}
	s.readStatus(r.t.Context(), r.now)
}

// admin answers as the admin interface of a workload's Envoy, until the test ends.
func (r *rig) admin(s *seen, pages map[string]string) {
	r.t.Helper()
	listener, err := new(net.ListenConfig).Listen(context.WithoutCancel(r.t.Context()), "unix", filepath.Join(s.dir, "admin.sock"))
	if err != nil {
		r.t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		_, _ = w.Write([]byte(pages[q.URL.Path]))
	})}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(listener)
	}()
	r.t.Cleanup(func() { _ = server.Close(); <-ended })
}

// reviews is the workload of reviews.
func (r *rig) reviews() *seen { return r.seen[1] }

// said returns the findings as people read them.
func said(r Report) []string {
	lines := []string{}
	for i := range r.Findings {
		f := &r.Findings[i]
		lines = append(lines, fmt.Sprintf("%s: %s: %s [%s]", f.Severity, f.Subject, f.Message, f.Code))
	}
	return lines
}
