package meshtest_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/lateen-mesh/lateen/internal/meshtest"
)

// egress is an EgressRule for one port of a destination.
func egress(name, destination string, port int, protocol string) string {
	return fmt.Sprintf("apiVersion: config.istio.io/v1alpha2\nkind: EgressRule\nmetadata: {name: %s}\n"+
		"spec: {destination: {service: %q}, ports: [{port: %d, protocol: %s}]}\n", name, destination, port, protocol)
}

func egressMesh(t *testing.T) (*meshtest.Mesh, *meshtest.Instance, *outside) {
	t.Helper()
	m := meshtest.New(t)
	o := newOutside(t, m)
	return m, m.Start("caller", "v1", meshtest.Named("caller")), o
}

func wantAnswer(t *testing.T, i *meshtest.Instance, target string, status int, part string) {
	t.Helper()
	if got, body := i.Get(target); got != status || !strings.Contains(body, part) {
		t.Errorf("%s: %d %q, want %d with %q", target, got, body, status, part)
	}
}

// A host outside the mesh is refused with the EgressRule that would allow it; with that very rule it is reached.
func TestEgressIsRefusedWithTheRuleThatAllowsIt(t *testing.T) {
	t.Parallel()
	m, caller, o := egressMesh(t)
	port := o.serve("world")
	target := fmt.Sprintf("http://www.outside.test:%d/x", port)
	status, body := caller.Get(target)
	if status != http.StatusBadGateway {
		t.Fatalf("without a rule: %d %q", status, body)
	}
	_, yaml, found := strings.Cut(body, "\n\n")
	if !found {
		t.Fatalf("there is no rule in %q", body)
	}
	m.Apply(yaml)
	wantAnswer(t, caller, target, http.StatusOK, fmt.Sprintf("world HTTP/1.1 www.outside.test:%d /x", port))
	wantAnswer(t, caller, "http://www.outside.test:1/", http.StatusBadGateway, "not to port 1")
	m.Delete("EgressRule", "www-outside-test")
	wantAnswer(t, caller, target, http.StatusBadGateway, "no EgressRule allows")
}

// Also for names that are no DNS names, and for addresses, the rule that is shown is a good one and takes them.
func TestEgressRuleThatIsShownIsGood(t *testing.T) {
	t.Parallel()
	m, caller, _ := egressMesh(t)
	for _, host := range []string{"-x.outside.test", "x-.b.test", "2020.10.10", "192.0.2.1", "a--b.x-y.test"} {
		_, body := caller.Get("http://" + host + ":443/")
		_, yaml, found := strings.Cut(body, "\n\n")
		if !found {
			t.Errorf("%s: there is no rule in %q", host, body)
			continue
		}
		m.Apply(yaml)
		if _, body := caller.Get("http://" + host + ":443/"); strings.Contains(body, "no EgressRule allows") {
			t.Errorf("%s is refused under the rule %s", host, yaml)
		}
		_, name, _ := strings.Cut(yaml, "{name: ")
		name, _, _ = strings.Cut(name, "}")
		m.Delete("EgressRule", name)
	}
}

// A wildcard allows every host below it, each found by its own name; an exact rule that comes later takes its host over.
func TestEgressWildcards(t *testing.T) {
	t.Parallel()
	m, caller, o := egressMesh(t)
	one, two := o.serve("one"), o.serve("two")
	m.Apply(egress("below", "*.outside.test", one, "http"))
	wantAnswer(t, caller, fmt.Sprintf("http://a.outside.test:%d/", one), http.StatusOK, "one HTTP/1.1 a.outside.test")
	wantAnswer(t, caller, fmt.Sprintf("http://b.c.outside.test:%d/", one), http.StatusOK, "b.c.outside.test")
	wantAnswer(t, caller, fmt.Sprintf("http://outside.test:%d/", one), http.StatusBadGateway, "no EgressRule allows")
	wantAnswer(t, caller, fmt.Sprintf("http://other.test:%d/", one), http.StatusBadGateway, "no EgressRule allows")
	m.Apply(egress("exact", "a.outside.test", two, "http"))
	wantAnswer(t, caller, fmt.Sprintf("http://a.outside.test:%d/", one), http.StatusBadGateway, "not to port")
	wantAnswer(t, caller, fmt.Sprintf("http://a.outside.test:%d/", two), http.StatusOK, "two")
	wantAnswer(t, caller, fmt.Sprintf("http://b.outside.test:%d/", one), http.StatusOK, "one")
	m.Delete("EgressRule", "exact")
	wantAnswer(t, caller, fmt.Sprintf("http://a.outside.test:%d/", one), http.StatusOK, "one")
	m.Apply(egress("suffix", "*-api.test", two, "http"))
	wantAnswer(t, caller, fmt.Sprintf("http://shop-api.test:%d/", two), http.StatusOK, "two")
	m.Apply(egress("everything", "*", two, "http"))
	wantAnswer(t, caller, fmt.Sprintf("http://other.test:%d/", two), http.StatusOK, "two")
	wantAnswer(t, caller, fmt.Sprintf("http://Other.TEST.:%d/", two), http.StatusOK, "two")
	// What can only be a service of the mesh is not looked for outside.
	before := o.asked.Load()
	for _, name := range []string{
		"nowhere", "nowhere.", "nowhere.default.svc", "nowhere.default.svc.cluster.local", "nowhere.default.svc.cluster.local.",
	} {
		wantAnswer(t, caller, fmt.Sprintf("http://%s:%d/", name, two), http.StatusBadGateway, "lateen: ")
	}
	if n := o.asked.Load() - before; n != 0 {
		t.Errorf("the DNS was asked %d times for services of the mesh", n)
	}
}

// http2 and grpc ports are spoken to in HTTP/2.
func TestEgressSpeaksHTTP2(t *testing.T) {
	t.Parallel()
	m, caller, o := egressMesh(t)
	port := o.serve("world")
	for _, protocol := range []string{"http2", "GRPC", "http"} {
		m.Apply(egress("world", "www.outside.test", port, protocol))
		want := map[string]string{"http2": "HTTP/2.0", "GRPC": "HTTP/2.0", "http": "HTTP/1.1"}[protocol]
		wantAnswer(t, caller, fmt.Sprintf("http://www.outside.test:%d/", port), http.StatusOK, want)
	}
}

// A plain request to an https port gets TLS from the proxy, which verifies the server's name and authority, unless the
// rule says that it need not.
func TestEgressAddsTLS(t *testing.T) {
	t.Parallel()
	m, caller, o := egressMesh(t)
	good, wrong := o.serve("good", "www.outside.test", "*.wild.test"), o.serve("wrong", "someone.else.test")
	m.Apply(egress("good", "www.outside.test", good, "https"))
	wantAnswer(t, caller, fmt.Sprintf("http://www.outside.test:%d/x", good), http.StatusOK, "good HTTP/2.0")
	m.Apply(egress("wild", "*.wild.test", good, "https"))
	wantAnswer(t, caller, fmt.Sprintf("http://a.wild.test:%d/", good), http.StatusOK, "good")
	wantAnswer(t, caller, fmt.Sprintf("http://a.b.wild.test:%d/", good), http.StatusServiceUnavailable, "")
	m.Apply(egress("wrong", "bad.outside.test", wrong, "https"))
	wantAnswer(t, caller, fmt.Sprintf("http://bad.outside.test:%d/", wrong), http.StatusServiceUnavailable, "")
	m.Apply(strings.Replace(egress("wrong", "bad.outside.test", wrong, "https"), "{name: wrong}",
		`{name: wrong, annotations: {lateen.dev/insecure-skip-verify: "true"}}`, 1))
	wantAnswer(t, caller, fmt.Sprintf("http://bad.outside.test:%d/", wrong), http.StatusOK, "wrong")

	// The right name, from an authority that nobody trusts.
	stranger := &outside{t: t, address: o.address, authority: newAuthority(t)}
	port := stranger.serve("stranger", "www.stranger.test")
	m.Apply(egress("stranger", "www.stranger.test", port, "https"))
	wantAnswer(t, caller, fmt.Sprintf("http://www.stranger.test:%d/", port), http.StatusServiceUnavailable, "")
}

// An application that speaks TLS itself reaches an https port through CONNECT, and verifies the server itself.
func TestEgressTunnelsTLS(t *testing.T) {
	t.Parallel()
	m, caller, o := egressMesh(t)
	port := o.serve("world", "www.outside.test")
	client := &http.Client{Transport: &http.Transport{
		Proxy:           http.ProxyURL(&url.URL{Scheme: "http", Host: caller.Proxy()}),
		TLSClientConfig: &tls.Config{RootCAs: o.authority.pool, MinVersion: tls.VersionTLS12},
	}}
	defer client.CloseIdleConnections()
	target := fmt.Sprintf("https://www.outside.test:%d/x", port)
	if _, err := meshtest.Fetch(t.Context(), client, target); err == nil || !strings.Contains(err.Error(), "Bad Gateway") {
		t.Errorf("without a rule: %v, want Bad Gateway", err)
	}
	m.Apply(egress("world", "www.outside.test", port, "https"))
	body, err := meshtest.Fetch(t.Context(), client, target)
	if err != nil || !strings.HasPrefix(body, "world ") {
		t.Errorf("with a rule: %q, %v", body, err)
	}
}

// Bytes go to an address in an allowed network by CONNECT, and nowhere else.
func TestEgressToNetworks(t *testing.T) {
	t.Parallel()
	m, caller, _ := egressMesh(t)
	address := greeter(t, "outside")
	if status, _, _ := connect(t, caller, address); status != http.StatusBadGateway {
		t.Errorf("without a rule: %d, want 502", status)
	}
	_, port, _ := strings.Cut(address, ":")
	var number int
	if _, err := fmt.Sscan(port, &number); err != nil {
		t.Fatal(err)
	}
	m.Apply(egress("here", "127.0.0.0/8", number, "tcp"))
	status, conn, reader := connect(t, caller, address)
	if who, _, _ := greeted(t, conn, reader); status != http.StatusOK || who != "outside" {
		t.Errorf("with a rule: %d %q", status, who)
	}
	wantAnswer(t, caller, "http://"+address+"/", http.StatusBadGateway, "CONNECT")
	if status, _, _ := connect(t, caller, "192.0.2.1:"+port); status != http.StatusBadGateway {
		t.Errorf("another network: %d, want 502", status)
	}
}

// Route rules for a host outside the mesh apply, also those that name the wildcard of an EgressRule.
func TestRouteRulesApplyOutside(t *testing.T) {
	t.Parallel()
	m, caller, o := egressMesh(t)
	port := o.serve("world")
	m.Apply(egress("below", "*.outside.test", port, "http"))
	target := fmt.Sprintf("http://www.outside.test:%d/", port)
	route := func(destination, spec string) string {
		return fmt.Sprintf("apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {name: outside}\n"+
			"spec: {destination: {service: %q}, %s}\n", destination, spec)
	}
	m.Apply(route("*.outside.test", "httpFault: {abort: {httpStatus: 418}}"))
	wantAnswer(t, caller, target, http.StatusTeapot, "")
	m.Apply(route("www.outside.test", "rewrite: {uri: /rewritten}"))
	wantAnswer(t, caller, target, http.StatusOK, "/rewritten")
	m.Apply(route("*.outside.test", "httpReqRetries: {simpleRetry: {attempts: 3, perTryTimeout: 1s}}"))
	wantAnswer(t, caller, target, http.StatusOK, "world")
}

// A name that the DNS does not know is answered at once, and harms no other host.
func TestEgressToMissingNames(t *testing.T) {
	t.Parallel()
	m, caller, o := egressMesh(t)
	port := o.serve("world")
	m.Apply(egress("everything", "*", port, "http"))
	wantAnswer(t, caller, fmt.Sprintf("http://www.missing.test:%d/", port), http.StatusServiceUnavailable, "")
	wantAnswer(t, caller, fmt.Sprintf("http://www.outside.test:%d/", port), http.StatusOK, "world")
}

// Names of which the DNS says nothing are given up before the requests that wait for them are; meanwhile everything that
// the proxy knows goes on, and what it did not know yet is found.
func TestEgressWithASilentDNS(t *testing.T) {
	t.Parallel()
	m, caller, o := egressMesh(t)
	port := o.serve("world")
	m.Apply(egress("everything", "*", port, "http"))
	known := fmt.Sprintf("http://www.outside.test:%d/", port)
	wantAnswer(t, caller, known, http.StatusOK, "world")
	var silent sync.WaitGroup
	for n := range 10 { // more than a proxy is otherwise sent before it answers
		silent.Go(func() {
			wantAnswer(t, caller, fmt.Sprintf("http://n%d.silent.test:%d/", n, port), http.StatusServiceUnavailable, "")
		})
	}
	for n := range 5 {
		wantAnswer(t, caller, fmt.Sprintf("http://new%d.outside.test:%d/", n, port), http.StatusOK, "world")
		wantAnswer(t, caller, known, http.StatusOK, "world")
	}
	silent.Wait()
}

// Plain requests may come to a host outside through a tunnel too.
func TestEgressThroughATunnel(t *testing.T) {
	t.Parallel()
	m, caller, o := egressMesh(t)
	port := o.serve("world")
	m.Apply(egress("world", "www.outside.test", port, "http"))
	authority := fmt.Sprintf("www.outside.test:%d", port)
	status, conn, reader := connect(t, caller, authority)
	if status != http.StatusOK {
		t.Fatalf("CONNECT: %d", status)
	}
	if got := roundTrip(t, conn, reader, authority); !strings.HasPrefix(got, "world ") {
		t.Errorf("through the tunnel: %q", got)
	}
}

func roundTrip(t *testing.T, conn io.Writer, reader *bufio.Reader, authority string) string {
	t.Helper()
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", authority)
	res, err := http.ReadResponse(reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
