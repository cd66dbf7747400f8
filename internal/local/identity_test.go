package local

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/internal/agent"
	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/identity"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/process"
)

// allSorts has an instance of every sort: with a sidecar, without one, at the door, and outside.
const allSorts = `
apiVersion: lateen.dev/v1alpha1
kind: Mesh
metadata: {name: town}
spec:
  ingress: {}
  services:
    web:
      ports: [{name: http, port: 9080}]
      workloads:
        v1: {command: [APP]}
    shop:
      serviceAccount: keeper
      ports: [{name: http, port: 80}]
      workloads:
        v1: {command: [APP], proxyless: true}
    db:
      ports: [{name: mysql, port: 3306}]
      workloads:
        v1: {address: "ELSEWHERE"}
`

// allSorted returns such a mesh, with a door of its own.
func allSorted(t *testing.T) *town {
	t.Helper()
	claims := newPorts()
	port, err := claims.take()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { claims.release(port) })
	w := newTown(t, allSorts)
	w.config.IngressPort = port
	return w
}

// status returns what the agent of an instance tells of its certificate.
func (w *town) status(id string) agent.Status {
	w.t.Helper()
	s, err := agent.ReadStatus(filepath.Join(w.config.StateDir, "proxies", id))
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// leaf returns the certificate of an instance.
func (w *town) leaf(id string) *x509.Certificate {
	w.t.Helper()
	block, _ := pem.Decode([]byte(w.status(id).Chain))
	if block == nil {
		w.t.Fatalf("%s has no certificate", id)
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		w.t.Fatal(err)
	}
	return leaf
}

// processes returns the processes of a town whose command lines have all the words.
func (w *town) processes(words ...string) (found []int) {
	w.t.Helper()
	for _, line := range survivors(w.dir()) {
		number, command, _ := strings.Cut(line, " ")
		if slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(command, word) }) {
			continue
		}
		pid, err := strconv.Atoi(number)
		if err != nil {
			w.t.Fatal(err)
		}
		found = append(found, pid)
	}
	return found
}

// process returns the only one.
func (w *town) process(words ...string) int {
	w.t.Helper()
	found := w.processes(words...)
	if len(found) != 1 {
		w.t.Fatalf("%d processes have %q: %v", len(found), words, survivors(w.dir()))
	}
	return found[0]
}

// Every agent gets the identity of its own instance, and no other; an identity is of one trust domain.
func TestIdentities(t *testing.T) {
	t.Parallel()
	w := allSorted(t)
	w.config.TrustDomain = "town.example"
	w.config.ServeArgs = append(w.config.ServeArgs, "--trust-domain", "town.example", "--cert-ttl", "1h")
	w.running()
	addresses := map[mesh.ProxyID]string{}
	for _, m := range w.last().Workloads {
		addresses[m.ID()] = m.Address
	}
	serials := map[string]bool{}
	for id, account := range map[string]string{"web-v1-0.default": "default", "shop-v1-0.default": "keeper", "ingress.default": "ingress"} {
		leaf := w.leaf(id)
		peer, err := identity.PeerOf(leaf)
		if err != nil {
			t.Fatal(err)
		}
		want := identity.Peer{
			ID:       identity.ID{TrustDomain: "town.example", Namespace: "default", Account: account},
			Workload: id, Address: netip.MustParseAddr(addresses[mesh.ProxyID(id)]),
		}
		if peer != want {
			t.Errorf("%s has the identity %+v, want %+v", id, peer, want)
		}
		if life := leaf.NotAfter.Sub(leaf.NotBefore).Minutes(); life < 60 || life > 75 {
			t.Errorf("the certificate of %s is good for %v minutes", id, life)
		}
		serials[leaf.SerialNumber.String()] = true
	}
	if len(serials) != 3 {
		t.Errorf("there are %d certificates", len(serials))
	}
	for _, s := range w.last().Services {
		want := map[string][]string{"web": {"spiffe://town.example/ns/default/sa/default"}}[s.Name]
		if diff := cmp.Diff(want, s.Identities); diff != "" {
			t.Errorf("identities of %s: %s", s.Name, diff)
		}
	}
	if r := w.last(); len(r.Endpoints) != 3 {
		t.Errorf("endpoints %+v", r.Endpoints)
	}
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
	for path := range w.files() {
		if text := textOf(t, path); strings.Contains(text, "PRIVATE KEY") && filepath.Base(path) != "root.pem" {
			t.Errorf("a key is left over in %s", path)
		}
	}
}

// A control plane that dies whenever an agent asks it for a token, some times, delays the start and does not prevent it.
func TestControlPlaneDiesWhileStarting(t *testing.T) {
	t.Parallel()
	w := allSorted(t)
	w.config.ServeArgs = append(w.config.ServeArgs, "--deaths", "2")
	w.running()
	starts := 0
	for _, line := range w.told() {
		if line.Started != 0 {
			starts++
		}
	}
	if starts != 3 {
		t.Errorf("the control plane was started %d times", starts)
	}
	for _, id := range []string{"web-v1-0.default", "shop-v1-0.default", "ingress.default"} {
		if s := w.status(id); s.Identity == "" || s.LastError != "" {
			t.Errorf("%s: %+v", id, s)
		}
	}
	if got := fmt.Sprint(endpoints(w.last(), "web"), endpoints(w.last(), "shop")); got != "[web-v1-0 healthy] [shop-v1-0 healthy]" {
		t.Errorf("endpoints %s", got)
	}
}

// An agent that dies gets a new certificate with a new token. A program without a proxy takes requests meanwhile, and its new
// agent goes on with the certificate that is there.
func TestAgentDies(t *testing.T) {
	t.Parallel()
	w := allSorted(t)
	w.running()
	lines := len(w.told())
	for _, service := range []string{"web", "shop"} {
		instance := service + "-v1-0"
		id := instance + ".default"
		app, before := w.get(w.url(service, instance, "/pid")), w.leaf(id)
		if err := syscall.Kill(w.process(" agent ", "--node "+id), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		w.awaitText(w.err, "the proxy of "+instance+": its agent ended")
		w.await("another agent", func() bool { return len(w.processes(" agent ", "--node "+id)) == 1 })
		if service == "web" {
			w.await("another certificate", func() bool { return w.leaf(id).SerialNumber.Cmp(before.SerialNumber) != 0 })
		}
		w.awaitEndpoints(service, instance+" healthy")
		if again := w.get(w.url(service, instance, "/pid")); again != app {
			t.Errorf("the application of %s was started again", instance)
		}
		if a, b := before.URIs[0].String(), w.leaf(id).URIs[0].String(); a != b {
			t.Errorf("%s was %s and is %s", id, a, b)
		}
	}
	for _, state := range w.states(lines, "shop") {
		if state != "shop-v1-0 healthy" {
			t.Errorf("what has no proxy got no requests while its agent was away: %q", state)
		}
	}
}

// An instance of another account is another one, with another identity; what was its predecessor's is gone.
func TestAccountChanges(t *testing.T) {
	t.Parallel()
	w := allSorted(t)
	w.running()
	for _, account := range []string{"guard", "warden"} { // the second time the first instance's name is free again
		w.write(strings.Replace(allSorts, "serviceAccount: keeper", "serviceAccount: "+account, 1))
		want := "spiffe://cluster.local/ns/default/sa/" + account
		w.await("an instance of "+account, func() bool {
			all := endpoints(w.last(), "shop")
			if len(all) != 1 || !strings.HasSuffix(all[0], " healthy") {
				return false
			}
			name, _, _ := strings.Cut(all[0], " ")
			return len(w.last().Workloads) == 3 && w.status(name+".default").Identity == want
		})
	}
}

// A program without a proxy is started when it has what it starts with, and not before.
func TestProxylessWaitsForItsIdentity(t *testing.T) {
	t.Parallel()
	w := newTown(t, strings.Replace(allSorts, `[APP], proxyless`, `[sh, -c, 'cat "$$GRPC_XDS_BOOTSTRAP" > boot; cp "$$(dirname "$$GRPC_XDS_BOOTSTRAP")/cert.pem" chain; exec PROGRAM app'], proxyless`, 1))
	w.write(strings.NewReplacer("PROGRAM", os.Args[0], "  ingress: {}\n", "").Replace(textOf(t, w.file)))
	w.config.ServeArgs = append(w.config.ServeArgs, "--deaths", "1")
	w.running()
	boot, chain := textOf(t, filepath.Join(w.dir(), "boot")), textOf(t, filepath.Join(w.dir(), "chain"))
	if !strings.Contains(boot, `"server_uri": "127.`) || !strings.Contains(boot, "proxyless~127.") {
		t.Errorf("the application was started with %s", boot)
	}
	block, _ := pem.Decode([]byte(chain))
	if block == nil {
		t.Fatalf("the application was started with the certificate %q", chain)
	}
	if leaf, err := x509.ParseCertificate(block.Bytes); err != nil || leaf.URIs[0].String() != "spiffe://cluster.local/ns/default/sa/keeper" {
		t.Errorf("certificate %v, %v", leaf, err)
	}
	if strings.Contains(fmt.Sprint(w.err), "shop-v1-0 ended") {
		t.Error("it was started before")
	}
}

// What a command of this program said before it ended follows how it ended; its hint is for the next step.
func TestOwnWords(t *testing.T) {
	t.Parallel()
	failed := &exit{how: "exit status 1"}
	for name, c := range map[string]struct {
		err       error
		said      string
		why, hint string
	}{
		"nothing":      {failed, "", "", ""},
		"other words":  {failed, "info: started\npanic: oh\n", ": panic: oh", ""},
		"an error":     {failed, "info: started\nlateen: error: no root\n", ": no root", ""},
		"with a hint":  {failed, "lateen: error: no root\nlateen: hint: put it back\n", ": no root", "put it back"},
		"a later one":  {failed, "lateen: error: a\nlateen: hint: b\nlateen: error: c\n", ": c", ""},
		"it is killed": {&exit{how: "signal: killed", killed: true}, "lateen: error: a\nlateen: hint: b\n", "", ""},
	} {
		output := process.NewLines(nil)
		_, _ = output.Write([]byte(c.said)) // never fails
		if why, hint := ownWords(c.err, output); why != c.why || hint != c.hint {
			t.Errorf("%s: %q, hint %q", name, why, hint)
		}
	}
}

// What the control plane answers to who asks for a token, when it gives none, is told once.
func TestTokenRefused(t *testing.T) {
	t.Parallel()
	w := newTown(t, allSorts)
	s := &site{console: newConsole(w.config)}
	p := newProxy(s, &Instance{Name: "web-v1-0", Workload: &Workload{}})
	for range 3 {
		p.refuse(&api.Error{Message: "too many tokens are out", Hint: "wait"})
	}
	p.refuse(&api.Error{Message: "no more"})
	if want := "lateen: error: web-v1-0 gets no identity: too many tokens are out\nlateen: hint: wait\nlateen: error: web-v1-0 gets no identity: no more\n"; w.err.String() != want {
		t.Errorf("told:\n%s\nwant:\n%s", w.err, want)
	}
}
