package meshtest_test

import (
	"bytes"
	"encoding/pem"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/serve"
)

// readyz returns what a control plane says about itself on a listener.
func readyz(t *testing.T, l net.Listener) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+l.Addr().String()+"/readyz", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// told awaits a problem of a code that says some words, and returns it.
func told(t *testing.T, m *meshtest.Mesh, code, words string) mesh.Problem {
	t.Helper()
	var found mesh.Problem
	meshtest.Await(t, code, func() bool {
		problems, err := m.API.Problems(t.Context())
		for _, p := range problems {
			if p.Code == code && strings.Contains(p.Message, words) {
				found = p
				return err == nil
			}
		}
		return false
	})
	return found
}

// wantReadyz awaits that a control plane that has just been started says some words, with this status all the time: until its files are
// read, it says that they have not reported either.
func wantReadyz(t *testing.T, at net.Listener, status int, words string) {
	t.Helper()
	meshtest.Await(t, words, func() bool {
		got, body := readyz(t, at)
		if got != status {
			t.Errorf("ready? %d %s, want %d", got, body, status)
		}
		return strings.HasPrefix(body, words)
	})
}

// A control plane to which nobody says what runs goes on with what it was told before it was started again. Proxies are
// sent nothing and lose nothing, a certificate among them whose key is not kept; rules can be changed meanwhile. When
// what runs is told, what is gone is removed. It has the machine for itself, since it counts on a load.
func TestControlPlaneAlone(t *testing.T) {
	a := newAuthority(t)
	m, door := doorMesh(t, hostsIngress, "shop", "cart", "rest")
	m.Start("reviews", "v1", meshtest.Named("v1"))
	v2 := m.Start("reviews", "v2", meshtest.Named("v2"))
	caller := m.Caller("caller", nil)
	sealed, shown := sealedOf(t, a, "shop-tls", "shop.example.com")
	api, _ := secretOf(t, a, "api-tls", "*.api.example.com")
	m.Edit(func(r *mesh.Registry) { r.Certificates = append(r.Certificates, sealed) })
	m.InForce(m.TryApply(tlsIngress + "---\n" + api).Revision)
	m.Apply(rule("all", "route: [{labels: {version: v2}}]"))
	wantBody(t, caller, reviews, "v2")
	wantCertificate := func(when string) {
		t.Helper()
		if got, _, err := printOf(t, door, a.pool, "https://shop.example.com/"); err != nil || got != shown {
			t.Errorf("%s the ingress shows %s, %v; want %s", when, got, err, shown)
		}
	}
	wantCertificate("before the restart")
	load := meshtest.StartLoad(t, caller, reviews)

	first := listen(t)
	m.RestartAlone(serve.Config{Patience: time.Hour, Admin: first})
	wantReadyz(t, first, http.StatusServiceUnavailable, "not ready: waiting for local\n")
	load.More(300)
	second := listen(t)
	m.RestartAlone(serve.Config{Patience: time.Millisecond, Admin: second})
	// Until the files are read, which may take longer than this patience, they are told to have said nothing too.
	p := told(t, m, "source-stale", `"local"`)
	if p.Severity != mesh.Warning || !strings.Contains(p.Message, `"local" has not reported: what it said at 20`) {
		t.Errorf("the problem is %v", p)
	}
	wantReadyz(t, second, http.StatusOK, "ready\nlocal has not reported: what it said ")
	meshtest.Await(t, "all proxies to be back", func() bool {
		proxies, err := m.API.Proxies(t.Context())
		back := 0
		for _, p := range proxies {
			if p.Current {
				back++
			}
		}
		return err == nil && back == 7
	})
	load.More(300)
	if n := m.Sent(); n != 0 {
		t.Errorf("%d resources were sent again", n)
	}
	wantCertificate("without its key")
	wantBody(t, caller, reviews, "v2")
	m.Apply(rule("all", "route: [{labels: {version: v1}}]"))
	wantBody(t, caller, reviews, "v1")

	m.Edit(func(r *mesh.Registry) {
		for i, set := range r.Endpoints {
			if set.Host == meshtest.HostOf("reviews") {
				r.Endpoints[i] = &mesh.EndpointSet{Host: set.Host, Endpoints: set.Endpoints[:1]}
			}
		}
	})
	if text := string(caller.Admin("/clusters")); strings.Contains(text, "::"+v2.Address+":") {
		t.Error("what is gone is still called")
	}
	wantCertificate("when its key is told again")
	load.Stop("a control plane alone")
	if status, body := readyz(t, second); status != http.StatusOK || body != "ready\n" {
		t.Errorf("ready? %d %s", status, body)
	}
	wantNoSecrets(t, m, sealed, api)
}

// sealedOf makes a certificate as the supervisor tells it, and returns its fingerprint too.
func sealedOf(t *testing.T, a *authority, name string, hosts ...string) (mesh.SealedCertificate, string) {
	t.Helper()
	chain, key, shown := pemOf(t, a, hosts...)
	return mesh.SealedCertificate{Namespace: meshtest.Namespace, Name: name, Chain: chain, Key: mesh.Sealed{Secret: mesh.NewSecret(key)}}, shown
}

// wantNoSecrets looks for keys in everything that is kept for a restart, in every form in which they could be there.
func wantNoSecrets(t *testing.T, m *meshtest.Mesh, sealed mesh.SealedCertificate, secret string) {
	t.Helper()
	block, _ := pem.Decode([]byte(sealed.Key.Reveal()))
	encoded, err := sealed.Key.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(secret, "BEGIN PRIVATE KEY-----\n")
	hidden := [][]byte{block.Bytes, encoded, []byte("PRIVATE KEY"), []byte("kind: Secret"), []byte(strings.TrimSpace(strings.Split(body, "\n")[0]))}
	files := 0
	err = fs.WalkDir(os.DirFS(m.Dir), "cache", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		files++
		data, err := os.ReadFile(filepath.Join(m.Dir, name))
		for _, h := range hidden {
			if bytes.Contains(data, h) {
				t.Errorf("%s holds a secret: %q", name, h)
			}
		}
		return err
	})
	if err != nil || files == 0 {
		t.Errorf("%d files are kept: %v", files, err)
	}
}

// While a watched file is broken, the control plane is started again: requests go where the last good rule sends them, and
// it is told what is wrong and since when. Secrets in the same file are not kept.
func TestRestartWithABrokenFile(t *testing.T) {
	m := meshtest.New(t)
	m.Start("reviews", "v1", meshtest.Named("v1"))
	m.Start("reviews", "v2", meshtest.Named("v2"))
	caller := m.Caller("caller", nil)
	path := filepath.Join(t.TempDir(), "rules.yaml")
	secret, _ := secretOf(t, newAuthority(t), "shop-tls", "shop.example.com")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	watching := serve.Config{Paths: []string{path}}
	restart := func() {
		t.Helper()
		m.RestartAlone(watching)
		m.Edit(func(*mesh.Registry) {})
	}
	good := rule("all", "route: [{labels: {version: v2}}]") + "---\n" + secret
	write(good)
	restart()
	wantBody(t, caller, reviews, "v2")
	load := meshtest.StartLoad(t, caller, reviews)
	for range 3 {
		load.More(requestsBetween)
		write(strings.Replace(good, "route:", "rout:", 1))
		restart()
		if p := told(t, m, "unknown-field", ""); !strings.Contains(p.Hint, "did you mean \"route\"? its last good version stays in force, read at 20") {
			t.Errorf("the problem is %v", p)
		}
		wantBody(t, caller, reviews, "v2")
		if n := m.Sent(); n != 0 {
			t.Errorf("%d resources were sent again", n)
		}
	}
	write(rule("all", "route: [{labels: {version: v1}}]"))
	meshtest.Await(t, "the mended rule", func() bool { _, body := caller.Get(reviews); return body == "v1" })
	load.Stop("restarts with a broken file")
	chain := mesh.SealedCertificate{Key: mesh.Sealed{Secret: mesh.NewSecret("-----BEGIN X-----\nAAAA\n-----END X-----\n")}}
	wantNoSecrets(t, m, chain, secret)
}
