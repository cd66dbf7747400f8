package cli

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/internal/agent"
	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/ca/enrol"
	"github.com/lateen-mesh/lateen/internal/checkup"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
)

// secured is a mesh of Envoys with identities: reviews, which is called by a caller.
type secured struct {
	*inside
	mesh            *meshtest.Mesh
	reviews, caller *meshtest.Instance
}

const tcpPort = 7000

func newSecured(t *testing.T) *secured {
	t.Helper()
	m := meshtest.New(t)
	s := &secured{inside: &inside{program: program{t, m.Dir}, client: m.API}, mesh: m}
	target := echo(t)
	s.reviews = m.StartSpec(meshtest.Spec{Service: "reviews", Version: "v1", Ports: []meshtest.SpecPort{
		{Name: "http", Number: meshtest.ServicePort, App: meshtest.Named("reviews")}, {Name: "tcp", Number: tcpPort, Target: target},
	}})
	s.caller = m.Caller("caller", mesh.Labels{})
	if err := os.Mkdir(filepath.Join(m.Dir, "proxies"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, i := range []*meshtest.Instance{s.reviews, s.caller} { // where they would be under `lateen up`
		if err := os.Symlink(i.Dir, filepath.Join(m.Dir, "proxies", string(i.ID()))); err != nil {
			t.Fatal(err)
		}
		meshtest.Await(t, "the status of the agent of "+i.Name, func() bool { // which it writes beside starting its Envoy
			status, err := agent.ReadStatus(i.Dir)
			return err == nil && status.Chain != ""
		})
	}
	return s
}

// echo answers what it is sent, until the test ends.
func echo(t *testing.T) (address string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			var b [1]byte
			if n, err := c.Read(b[:]); err == nil {
				_, _ = c.Write(b[:n])
			}
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-ended })
	return l.Addr().String()
}

// bypass calls a port of reviews without a sidecar, and tells whether there was an answer.
func (s *secured) bypass(port int) bool {
	s.Helper()
	address := net.JoinHostPort(s.reviews.Address, strconv.Itoa(port))
	if port != tcpPort {
		request, err := http.NewRequestWithContext(s.Context(), http.MethodGet, "http://"+address+"/", nil)
		if err != nil {
			s.Fatal(err)
		}
		request.Header.Set("X-Forwarded-For", "127.9.9.9")
		response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
		if err != nil {
			return false
		}
		return response.Body.Close() == nil && response.StatusCode == http.StatusOK
	}
	c, err := new(net.Dialer).DialContext(s.Context(), "tcp", address)
	if err != nil {
		s.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("x")); err != nil {
		return false
	}
	n, _ := c.Read(make([]byte, 1))
	return n == 1
}

// check runs `lateen check` until it says what is wanted: an access log is written a moment later.
func (s *secured) check(code int, patterns ...string) {
	s.Helper()
	said := ""
	defer func() {
		if s.Failed() {
			s.Log(said)
		}
	}()
	meshtest.Await(s, strings.Join(patterns, ", "), func() bool {
		out, errs, got := s.run("", "check")
		said = out + errs
		all := got == code && errs == ""
		for _, p := range patterns {
			all = all && regexp.MustCompile("(?m)^"+p+"$").MatchString(out)
		}
		return all
	})
}

// The authority, all certificates, and one of them are shown, to people and to programs, without a key.
func TestAuthorityIsShown(t *testing.T) {
	t.Parallel()
	s := newSecured(t)
	const certificate = ` +spiffe://cluster\.local/ns/default/sa/default +good +in (23 hours|1 day) +in 1[0-3] hours +uses it +-`
	s.shows(0, "ca show",
		`authority +of cluster\.local, with a root of its own`, `asked at +`+regexp.QuoteMeta(s.mesh.Secure), `root, signs +CN=root of cluster\.local,O=Lateen`,
		` +20\d\d-\d\d-\d\d to 20\d\d-\d\d-\d\d, in (9|10) years`, ` +SHA-256 [0-9a-f]{64}`, `gives +certificates for 1 day`,
		`gave +3 since it started: 1 to itself, 2 by join token`, `refused +none since it started`, `tokens +0 not used yet`, ``,
		`PROXY +IDENTITY +CERTIFICATE +EXPIRES +RENEWS +ENVOY +LAST ERROR`, regexp.QuoteMeta(string(s.caller.ID()))+certificate, regexp.QuoteMeta(string(s.reviews.ID()))+certificate)
	s.shows(0, "ca show deploy/reviews-v1 -n default",
		`proxy +`+string(s.reviews.ID())+`, sidecar, connected`, `identity +spiffe://cluster\.local/ns/default/sa/default`, `certificate +good`,
		`names +spiffe://cluster\.local/ns/default/sa/default, `+string(s.reviews.ID())+`, `+s.reviews.Address, ` +20.* to 20.*, in (23 hours|1 day)`,
		` +serial [0-9a-f]+, SHA-256 [0-9a-f]{64}`, `signed by +CN=root of cluster\.local,O=Lateen`, `renews +20.*, in 1[0-3] hours; got 1 so far, 0 attempts failed`,
		`trusts +CN=root of cluster\.local,O=Lateen, until 20\d\d-\d\d-\d\d, in (9|10) years`, ` +SHA-256 [0-9a-f]{64}`, `clock +as the authority's`, `envoy +uses this certificate`)
	s.refuses("no proxy review-v1\nlateen: hint: did you mean "+string(s.reviews.ID())+"?", "", "ca", "show", "review-v1")

	var one checkup.Identity
	stdout, _ := s.shows(0, "ca show svc/reviews -o json")
	if err := json.Unmarshal([]byte(stdout), &one); err != nil || one.Proxy != s.reviews.ID() || one.Wanted != one.Proven || one.State != checkup.Good ||
		one.Envoy != checkup.SameUse || len(one.Chain) != 1 || len(one.Trusts) != 1 || one.Chain[0].DNS[0] != string(s.reviews.ID()) {
		t.Errorf("%v %s", err, stdout)
	}
	var all struct {
		Authority api.Authority
		Workloads []checkup.Identity
	}
	text, _ := s.shows(0, "ca show -o json")
	if err := json.Unmarshal([]byte(text), &all); err != nil || len(all.Workloads) != 2 || all.Authority.Address != s.mesh.Secure {
		t.Errorf("%v %s", err, text)
	}
	if diff := cmp.Diff(one, all.Workloads[1]); diff != "" || all.Authority.Roots[0].Fingerprint != one.Trusts[0].Fingerprint {
		t.Error(diff)
	}
	if strings.Contains(stdout+text, "PRIVATE") || strings.Contains(stdout+text, "lateen1.") {
		t.Error("a secret is shown")
	}
	if stdout, _ := s.shows(0, "ca show -n nowhere"); !strings.Contains(stdout, nothingFound) {
		t.Errorf("%s", stdout)
	}
	s.shows(0, "proxies deploy/reviews-v1", `has proven to be spiffe://cluster\.local/ns/default/sa/default`)
	s.shows(0, "config deploy/reviews-v1 listeners", `inbound\|7000 .* TCP over mutual TLS or plain .*`, `inbound\|9080 .* HTTP over mutual TLS or plain .*`)
	s.caller.Get("http://reviews:9080/")
	s.shows(0, "config deploy/caller clusters", `outbound\|9080\|\|reviews.* mutual .*`, `sds .* - .*`, `xds .* mutual .*`)
}

// A token is printed alone. With it, an agent proves once to be the workload that it is for.
func TestTokenForAnAgent(t *testing.T) {
	t.Parallel()
	s := newSecured(t)
	tokenOf := func(args ...string) (token, told string) {
		t.Helper()
		out, errs, code := s.run("", append([]string{"ca", "token"}, args...)...)
		token = strings.TrimSuffix(out, "\n")
		if code != 0 || !regexp.MustCompile(`^lateen1\.[\w-]+\.[\w-]+$`).MatchString(token) || strings.Contains(errs, token) {
			t.Fatalf("%v: exit code %d, %q, %s", args, code, out, errs)
		}
		return token, errs
	}
	join := func(token string) (enrol.Answer, error) {
		t.Helper()
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return enrol.Request(t.Context(), enrol.Ask{Address: s.mesh.Secure, TrustDomain: "cluster.local", Key: key, Token: token})
	}
	token, told := tokenOf(s.reviews.Name)
	if !strings.Contains(told, "in 10 minutes\n") || !strings.Contains(told, "lateen agent --node "+string(s.reviews.ID())+" --address "+s.reviews.Address+
		" --control-plane "+s.mesh.Secure+" --token-file token --dir FOLDER\n") || strings.Contains(told, "does not know") {
		t.Errorf("%s", told)
	}
	got, err := join(token)
	if err != nil || got.Peer.Workload != string(s.reviews.ID()) || got.Peer.ID.Account != "default" || got.Peer.Address.String() != s.reviews.Address {
		t.Fatalf("%+v, %v", got.Peer, err)
	}
	if _, err := join(token); err == nil || !strings.Contains(err.Error(), "used already") {
		t.Errorf("the same token again: %v", err)
	}
	token, told = tokenOf("billing-v1-0", "-n", "shop", "--service-account", "billing", "--ttl", "1h")
	if got, err = join(token); err != nil || got.Peer.String() != "spiffe://cluster.local/ns/shop/sa/billing billing-v1-0.shop" {
		t.Errorf("%s, %v", got.Peer, err)
	}
	if !strings.Contains(told, "the mesh does not know billing-v1-0.shop yet") || !strings.Contains(told, "in 1 hour\n") || !strings.Contains(told, "--address IP ") {
		t.Errorf("%s", told)
	}
	stdout, _ := s.shows(0, "ca token pod/"+s.reviews.Name+" -o json")
	var answer struct {
		Token        string
		Known        bool
		ControlPlane string
		Workload     api.NewToken
	}
	want := api.NewToken{Workload: s.reviews.Name, Namespace: "default", Account: "default", Address: s.reviews.Address}
	if err := json.Unmarshal([]byte(stdout), &answer); err != nil || !answer.Known || answer.ControlPlane != s.mesh.Secure || answer.Workload != want {
		t.Errorf("%v %+v", err, answer)
	}

	id := string(s.reviews.ID())
	s.refuses(id+" has the account default in the mesh, not admin", "", "ca", "token", s.reviews.Name, "--service-account", "admin")
	s.refuses(id+" has the address "+s.reviews.Address+" in the mesh, not 127.0.0.9", "", "ca", "token", id, "--address", "127.0.0.9")
	s.refuses("the mesh knows no workload review-v1-1.default, and so not its account\nlateen: hint: did you mean "+s.reviews.Name, "", "ca", "token", "review-v1-1")
	s.refuses(`"Bad_A" is no name of a service account`+"\nlateen: hint: it has lower-case", "", "ca", "token", "new-0", "--service-account", "Bad_A")
	s.refuses("a token that holds for 25h0m0s: it can be 1s to 24h0m0s", "", "ca", "token", id, "--ttl", "25h")
	s.refuses("name one workload instance", "", "ca", "token")
	s.refuses(`"x" is not an IP address`, "", "ca", "token", "y", "--address", "x")
	s.mesh.AddRegistry(mesh.Registry{Workloads: []*mesh.Workload{
		{Name: "twin-0", Namespace: "default", Type: mesh.Sidecar, Address: "127.0.0.1"}, {Name: "twin-0", Namespace: "shop", Type: mesh.Sidecar, Address: "127.0.0.1"},
	}})
	s.refuses("twin-0 means 2 workloads: twin-0.default, twin-0.shop\nlateen: hint: name one of them, or add -n NAMESPACE", "", "ca", "token", "twin-0")
	s.refuses("twin-0.shop has no account in the mesh", "", "ca", "token", "twin-0", "-n", "shop")
}

// One verdict: all is well, somebody calls past the sidecars, is turned away when the policy says so, and a proxy is missed.
func TestCheckMesh(t *testing.T) {
	t.Parallel()
	s := newSecured(t)
	s.caller.Get("http://reviews:9080/")
	s.check(0, `mesh \S+: all is well`, `  certificates +ok +good for 2 of 2 workloads, the first expires in (23 hours|1 day)`, `  ports +ok +2 PERMISSIVE`,
		`  callers +ok +0 without proof, 0 turned away, in the last 10 minutes`)

	s.mesh.AddRegistry(mesh.Registry{Workloads: []*mesh.Workload{ // who shares an address is not told by it
		{Name: "twin-0", Namespace: "default", Type: mesh.Proxyless, Address: "127.0.0.1"}, {Name: "twin-1", Namespace: "default", Type: mesh.Proxyless, Address: "127.0.0.1"},
	}})
	for _, port := range []int{meshtest.ServicePort, tcpPort} {
		if !s.bypass(port) {
			t.Fatalf("port %d answers nobody without proof", port)
		}
	}
	s.check(0, `mesh \S+: 1 warning`, `  callers +warning +2 without proof, 0 turned away, in the last 10 minutes`,
		`warning: reviews\.default:7000,9080: 2 calls without proof of who calls, from 127\.0\.0\.1, last .* ago \[plain-callers\]`, `  fix: .*`)

	s.mesh.Set(func(settings *mesh.Settings) { settings.AuthPolicy = mesh.AuthMutualTLS })
	for _, port := range []int{meshtest.ServicePort, tcpPort} {
		if s.bypass(port) {
			t.Fatalf("port %d answers without proof", port)
		}
	}
	s.check(0, `mesh \S+: 1 warning`, `  ports +ok +2 MUTUAL_TLS`, `  callers +warning +0 without proof, 2 turned away, in the last 10 minutes`,
		`warning: reviews\.default: 2 connections turned away without proof of who calls, which MUTUAL_TLS asks for: from 127\.0\.0\.1, last .* ago \[turned-away\]`)

	s.mesh.TryEdit(func(r *mesh.Registry) {
		r.Workloads = append(r.Workloads, &mesh.Workload{
			Name: "away-0", Namespace: "default", Type: mesh.Sidecar, Account: "default", Address: "127.200.9.9", Outbound: 15001, Running: true,
		})
		settings := *r.Settings
		settings.AuthPolicy = mesh.AuthNone
		r.Settings = &settings
	})
	s.check(1, `mesh \S+: 1 error, 2 warnings`, `  proxies +error +2 connected, 2 in sync`, `  handovers +ok +2 handovers under way`,
		`error: away-0\.default: it runs and has been away for .* \[proxy-away\]`,
		`warning: reviews\.default:7000, reviews\.default:9080: the policy of 2 ports is NONE: everybody can call them, and nobody proves who it is \[open-port\]`)
	var r checkup.Report
	stdout, _ := s.shows(1, "check -o json --since 1h")
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || r.Verdict != checkup.Error || len(r.Areas) != 8 || len(r.Findings) != 3 || r.Findings[0].Proxy != "away-0.default" {
		t.Errorf("%v %s", err, stdout)
	}
	s.refuses("--since -1s is no time to look back", "", "check", "--since", "-1s")
}

// What an agent says and what its Envoy does are two things.
func TestCheckComparesEnvoy(t *testing.T) {
	t.Parallel()
	s := newSecured(t)
	text, err := os.ReadFile(filepath.Join(s.caller.Dir, "identity.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.reviews.Dir, "identity.json"), text, 0o600); err != nil { // as if its Envoy had missed it
		t.Fatal(err)
	}
	s.check(1, `mesh \S+: 1 error`, `error: `+string(s.reviews.ID())+`: its Envoy does not use what its agent holds: it uses the certificate with the number [0-9a-f]+ \[envoy-differs\]`)
	s.shows(0, "ca show "+s.reviews.Name, `envoy +it uses the certificate with the number [0-9a-f]+`)
}

// Where there are no identities that is said, and a control plane that waits is none that is well.
func TestCheckWithoutIdentities(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	stdout, _, code := p.run("", "check")
	if code != 0 || !strings.Contains(stdout, "warning: authority: the control plane gives no identities") {
		t.Errorf("exit code %d: %s", code, stdout)
	}
	p.refuses("this control plane gives no identities\nlateen: hint: it runs with --plain-xds alone; start it with --secure-address", "", "ca", "show")
	p.refuses("this control plane gives no identities", "", "ca", "token", "a-0", "--service-account", "a")
	p.refuses("unknown output format", "", "ca", "show", "-o", "wide")
	p.refuses("unknown output format", "", "check", "-o", "wide")
	p.refuses("name one proxy, or none for all", "", "ca", "show", "a", "b")
	p.refuses(`unknown command "lateen ca shwo"`, "", "ca", "shwo")
}

// What is in files is shown while no control plane answers: it is away, or its root is lost so that it cannot start again.
func TestIdentitiesWithoutAControlPlane(t *testing.T) {
	t.Parallel()
	s := newSecured(t)
	s.mesh.Stop()
	const certificate = ` +spiffe://cluster\.local/ns/default/sa/default +good +in (23 hours|1 day) +in 1[0-3] hours .*`
	_, note := s.shows(0, "ca show",
		`authority +of cluster\.local, with a root of its own`, `root, signs +CN=root of cluster\.local,O=Lateen`, ` +SHA-256 [0-9a-f]{64}`, ``,
		`PROXY +IDENTITY .*`, regexp.QuoteMeta(string(s.caller.ID()))+certificate, regexp.QuoteMeta(string(s.reviews.ID()))+certificate)
	if !strings.HasPrefix(note, "lateen: note: no control plane answers on ") {
		t.Errorf("%s", note)
	}
	s.shows(0, "ca show "+s.reviews.Name, `proxy +`+string(s.reviews.ID())+`, sidecar, not connected`, `certificate +good`, `names +spiffe://.*`)
	s.refuses("nobody means 0 workloads", "", "ca", "show", "nobody")
	s.shows(1, "check", `  control plane +error +away`, `  authority +ok +cluster\.local, a root of its own, .*`,
		`  certificates +(ok|warning) +good for 2 of 2 workloads, the first expires in .*`, `  proxies +unknown +not known: .*`,
		`error: control plane: no control plane answers on .* \[no-answer\]`)
	if err := os.Remove(filepath.Join(s.dir, "ca", "root.pem")); err != nil {
		t.Fatal(err)
	}
	s.shows(1, "check", `error: authority: the root of the mesh \(SHA-256 [0-9a-f]{64}\) cannot be read from .*ca/root\.pem: it is not there \[authority-problem\]`,
		`  fix: put it back from a copy; if there is none, .*`)
	s.shows(0, "ca show", `authority +cluster\.local`, `problem +the root of the mesh .*`, `fix +put it back from a copy; .*`, ``, `PROXY .*`)
	var all struct {
		Note      string
		Workloads []checkup.Identity
	}
	text, _ := s.shows(0, "ca show -o json")
	if err := json.Unmarshal([]byte(text), &all); err != nil || len(all.Workloads) != 2 || all.Note == "" {
		t.Errorf("%v %s", err, text)
	}
	other := program{t, t.TempDir()}
	other.refuses("is not running", "", "check")
}

// The command that uses a token names the trust domain, where that is not the one that agents take by themselves.
func TestTokenNamesTheTrustDomain(t *testing.T) {
	t.Parallel()
	for domain, want := range map[string]string{
		"cluster.local": " --control-plane 127.0.0.1:15012 --token-file token", "town.example": " --trust-domain town.example --token-file token",
	} {
		var said strings.Builder
		cmd := newCATokenCommand(&meshFlags{})
		cmd.SetErr(&said)
		new(joining).tell(cmd, api.NewToken{Workload: "a-0", Namespace: "shop"}, true, api.Authority{Address: "127.0.0.1:15012", TrustDomain: domain}, time.Now())
		if !strings.Contains(said.String(), want) {
			t.Errorf("%s: %s", domain, said.String())
		}
	}
}

// The address of --plain-xds may be missing, so it stands behind a "=".
func TestAddressOfPlainXDS(t *testing.T) {
	t.Parallel()
	p := program{t, t.TempDir()}
	p.refuses("--plain-xds takes its address behind a =: --plain-xds=127.0.0.1:15910\n", "", "serve", "--plain-xds", "127.0.0.1:15910")
	p.refuses("files are given with -f\n", "", "serve", "--plain-xds=127.0.0.1:15910", "x")
}
