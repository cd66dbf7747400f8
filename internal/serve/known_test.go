package serve_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lateen-mesh/lateen/internal/agent"
	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/ca/enrol"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/serve"
)

// departing is an instance whose certificate is to be renewed.
func departing() *mesh.Workload {
	return &mesh.Workload{Name: "web-0", Namespace: "default", Type: mesh.Proxyless, Account: "web", Address: "127.0.0.2"}
}

// held is a certificate, and where it can be renewed.
type held struct {
	t     *testing.T
	plane *plane
	ask   enrol.Ask
}

// join gets a certificate for an instance, whether the mesh knows it or not.
func (p *plane) join(w *mesh.Workload) *held {
	p.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		p.t.Fatal(err)
	}
	token, err := p.api.NewToken(p.t.Context(), api.NewToken{Workload: w.Name, Namespace: w.Namespace, Account: w.Account, Address: w.Address})
	if err != nil {
		p.t.Fatal(err)
	}
	ask := enrol.Ask{Address: p.secure, TrustDomain: serve.Domain, Key: key, Token: token.Token}
	answer, err := enrol.Request(p.t.Context(), ask)
	if err != nil {
		p.t.Fatal(err)
	}
	c := tls.Certificate{PrivateKey: key}
	for _, one := range answer.Chain {
		c.Certificate = append(c.Certificate, one.Raw)
	}
	ask.Token, ask.Trust, ask.Renew = "", &answer.Trust, &c
	return &held{t: p.t, plane: p, ask: ask}
}

// renews tries to renew; with words it is refused with these.
func (h *held) renews(when, refusal string) {
	h.t.Helper()
	_, err := enrol.Request(h.t.Context(), h.ask)
	switch {
	case refusal == "" && err != nil:
		h.t.Errorf("%s: %v", when, err)
	case refusal != "" && (status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), refusal)):
		h.t.Errorf("%s: %v, want it refused with %q", when, err, refusal)
	}
}

// tell says which workloads there are.
func (p *plane) tell(workloads ...*mesh.Workload) {
	p.t.Helper()
	if _, err := p.api.PutRegistry(p.t.Context(), mesh.Registry{Workloads: workloads}); err != nil {
		p.t.Fatal(err)
	}
}

// Who is not in the mesh any more, or is somebody else there, has its certificate renewed no more; who comes back has it. Before
// the sources have reported nobody can tell, and it goes on.
func TestRenewalEndsWithTheWorkload(t *testing.T) {
	t.Parallel()
	p := startPlane(t, nil)
	h := p.join(departing())
	h.renews("before the mesh is known", "")
	p.tell(departing())
	h.renews("while it is there", "")
	p.tell()
	h.renews("when it is gone", "the mesh does not know web-0.default (any more)")
	other := departing()
	other.Account = "shop"
	p.tell(other)
	h.renews("with another account", "web-0.default is spiffe://cluster.local/ns/default/sa/shop in the mesh, not spiffe://cluster.local/ns/default/sa/web")
	other.Account = ""
	p.tell(other)
	h.renews("without an account", "web-0.default is without an account in the mesh, not")
	moved := departing()
	moved.Address = "127.0.0.3"
	p.tell(moved)
	h.renews("with another address", "web-0.default has the address 127.0.0.3 in the mesh, not 127.0.0.2")
	moved.Address = "::ffff:127.0.0.2"
	p.tell(moved)
	h.renews("with its address in other words", "")
	p.tell(departing())
	h.renews("when it is back", "")
	response, err := http.Get(p.url + "/metrics") //nolint:noctx // of the test's own server
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if text, err := io.ReadAll(response.Body); err != nil || !strings.Contains(string(text), `lateen_ca_refusals_total{reason="evidence"} 4`) {
		t.Errorf("four refusals are not counted: %v", err)
	}
}

// A real agent whose workload is gone keeps its certificate and asks again, until the workload is back.
func TestAgentOutlivesARefusal(t *testing.T) {
	t.Parallel()
	p := startPlane(t, func(c *serve.Config) { c.CertTTL = 20 * time.Second })
	w := departing()
	p.tell(w)
	token, err := p.api.NewToken(t.Context(), api.NewToken{Workload: w.Name, Namespace: w.Namespace, Account: w.Account, Address: w.Address})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "proxy")
	a := agent.New(agent.Config{
		Dir: dir, Proxyless: true, Node: string(w.ID()), Address: w.Address, Domain: serve.Domain, ControlPlane: p.secure,
		Events: io.Discard, Log: slog.New(slog.DiscardHandler),
		Tokens: func(context.Context) (string, error) { return token.Token, nil }, // which counts once
	})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := a.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	defer running.Wait()
	defer cancel()
	var last agent.Status
	see := func(what string, holds func(agent.Status) bool) {
		t.Helper()
		meshtest.Await(t, what, func() bool { last, err = agent.ReadStatus(dir); return err == nil && holds(last) })
	}
	see("the first certificate", func(s agent.Status) bool { return s.Renewals == 1 })
	chain := last.Chain
	p.tell()
	see("a refusal", func(s agent.Status) bool {
		return strings.Contains(s.LastError, fmt.Sprintf("does not know %s (any more)", w.ID()))
	})
	if last.Chain != chain || last.Renewals != 1 {
		t.Error("its certificate did not stay")
	}
	p.tell(w)
	see("another certificate", func(s agent.Status) bool { return s.Renewals == 2 && s.LastError == "" && s.Chain != chain })
}
