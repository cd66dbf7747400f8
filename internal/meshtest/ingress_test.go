package meshtest_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/meshtest"
)

// echo answers with its name, the path and the headers that an ingress adds.
func echo(name string) meshtest.App {
	return meshtest.Handler(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s %s %s for=%s proto=%s", name, r.Host, r.RequestURI, r.Header.Get("X-Forwarded-For"), r.Header.Get("X-Forwarded-Proto"))
	})
}

// doorMesh starts services that answer with echo, and an ingress with the objects applied.
func doorMesh(t *testing.T, objects string, services ...string) (*meshtest.Mesh, *meshtest.Instance) {
	t.Helper()
	m := meshtest.New(t)
	for _, s := range services {
		m.Start(s, "v1", echo(s))
	}
	m.Apply(objects)
	return m, m.Door()
}

// wantBackend checks who answers a request, or with what status the proxy itself does.
func wantBackend(t *testing.T, door *meshtest.Instance, url, want string) {
	t.Helper()
	status, body := door.Get(url)
	got, _, _ := strings.Cut(body, " ")
	if status != http.StatusOK {
		got = strconv.Itoa(status)
	}
	if got != want {
		t.Errorf("GET %s: %d %s, want %s", url, status, body, want)
	}
}

const hostsIngress = `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: hosts}
spec:
  rules:
  - host: shop.example.com
    http:
      paths:
      - {path: /cart, pathType: Prefix, backend: {service: {name: cart, port: {number: 9080}}}}
      - {path: /only, pathType: Exact, backend: {service: {name: shop, port: {name: http}}}}
  - http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: rest, port: {number: 9080}}}}
`

// Requests go by their host, whatever port and case it has, and by path; a host of its own leaves nothing to others.
func TestIngressHosts(t *testing.T) {
	t.Parallel()
	m, door := doorMesh(t, hostsIngress, "cart", "shop", "rest")
	for url, want := range map[string]string{
		"http://shop.example.com/cart": "cart", "http://SHOP.example.com:8080/cart/1?x=y": "cart", "http://shop.example.com/carts": "404",
		"http://shop.example.com/only": "shop", "http://shop.example.com/only/": "404", "http://shop.example.com/": "404",
		"http://other.example.com/cart": "rest", "http://127.0.0.1/": "rest",
	} {
		wantBackend(t, door, url, want)
	}
	m.Apply(`
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: fallback}
spec: {defaultBackend: {service: {name: rest, port: {number: 9080}}}}
`)
	wantBackend(t, door, "http://shop.example.com/", "rest")
	wantBackend(t, door, "http://shop.example.com/cart", "cart")
}

// A wildcard stands for one label in networking.k8s.io/v1 and for any number of them before.
func TestIngressWildcard(t *testing.T) {
	t.Parallel()
	_, door := doorMesh(t, `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: new}
spec:
  rules:
  - host: "*.foo.com"
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: one, port: {number: 9080}}}}]}
  - http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: rest, port: {number: 9080}}}}]}
---
apiVersion: extensions/v1beta1
kind: Ingress
metadata: {name: old}
spec:
  rules:
  - host: "*.bar.com"
    http: {paths: [{path: /a.*, backend: {serviceName: deep, servicePort: 9080}}]}
`, "one", "deep", "rest")
	for url, want := range map[string]string{
		"http://a.foo.com/": "one", "http://A.Foo.com:81/": "one", "http://a.b.foo.com/": "rest", "http://foo.com/": "rest",
		"http://a.bar.com/abc": "deep", "http://a.b.bar.com/a": "deep", "http://a.bar.com/b": "404", "http://bar.com/a": "rest",
	} {
		wantBackend(t, door, url, want)
	}
}

// tlsClient returns a client that trusts the authority and speaks TLS with the door, whatever host it asks for.
func tlsClient(t *testing.T, door *meshtest.Instance, roots *x509.CertPool) *http.Client {
	t.Helper()
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(door.Address, strconv.Itoa(door.DoorTLS)))
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: meshtest.Patience}
}

// printOf returns the fingerprint of the certificate that a new connection is shown, and the answer.
func printOf(t *testing.T, door *meshtest.Instance, roots *x509.CertPool, url string) (shown, body string, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := tlsClient(t, door, roots).Do(req)
	if err != nil {
		return "", "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return "", "", err
	}
	if res.ProtoMajor != 2 {
		t.Errorf("GET %s came over %s, want HTTP/2", url, res.Proto)
	}
	return fingerprint(res.TLS.PeerCertificates[0].Raw), fmt.Sprintf("%d %s", res.StatusCode, text), nil
}

const tlsIngress = `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: secure, annotations: {kubernetes.io/ingress.allow-http: "false"}}
spec:
  tls:
  - {hosts: [shop.example.com], secretName: shop-tls}
  - {hosts: ["*.api.example.com"], secretName: api-tls}
  - {hosts: [later.example.com], secretName: later-tls}
  defaultBackend: {service: {name: shop, port: {number: 9080}}}
`

// Each host is shown its own certificate; one whose Secret is not there yet is refused, and served as soon as it is. A
// certificate is replaced without a failed request, on new connections at once.
func TestIngressTLS(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	m, door := doorMesh(t, hostsIngress, "shop", "cart", "rest")
	shop, shopPrint := secretOf(t, a, "shop-tls", "shop.example.com")
	api, apiPrint := secretOf(t, a, "api-tls", "*.api.example.com")
	written := m.TryApply(tlsIngress)
	if len(written.Problems) == 0 {
		t.Error("Secrets that are not there are no problem")
	}
	m.InForce(written.Revision)
	if _, err := new(net.Dialer).DialContext(t.Context(), "tcp", net.JoinHostPort(door.Address, strconv.Itoa(door.DoorTLS))); err == nil {
		t.Error("the port for TLS is open without a certificate")
	}
	m.Apply(shop + "---\n" + api)
	for url, want := range map[string]string{
		"https://shop.example.com/x": shopPrint + " 200 shop shop.example.com /x", "https://v1.api.example.com/": apiPrint + " 200 rest v1.api.example.com /",
	} {
		if shown, body, err := printOf(t, door, a.pool, url); err != nil || !strings.HasPrefix(shown+" "+body, want) {
			t.Errorf("%s: %s %s %v, want %s", url, shown, body, err, want)
		}
	}
	for _, url := range []string{"https://later.example.com/", "https://other.example.com/"} {
		if shown, body, err := printOf(t, door, a.pool, url); err == nil {
			t.Errorf("%s without a certificate: %s %s", url, shown, body)
		}
	}
	wantBackend(t, door, "http://shop.example.com/x", "404") // TLS only
	wantBackend(t, door, "http://shop.example.com/cart", "cart")

	load := startTLSLoad(t, tlsClient(t, door, a.pool), "https://shop.example.com/")
	later, laterPrint := secretOf(t, a, "later-tls", "later.example.com")
	m.Apply(later)
	if shown, _, err := printOf(t, door, a.pool, "https://later.example.com/"); err != nil || shown != laterPrint {
		t.Errorf("a Secret that came later: %s %v, want %s", shown, err, laterPrint)
	}
	for range 5 {
		load.more(20)
		shop, shopPrint = secretOf(t, a, "shop-tls", "shop.example.com")
		m.Apply(shop)
		if shown, _, err := printOf(t, door, a.pool, "https://shop.example.com/"); err != nil || shown != shopPrint {
			t.Errorf("a new certificate: %s %v, want %s", shown, err, shopPrint)
		}
	}
	m.Restart()
	if n := m.Sent(); n != 0 {
		t.Errorf("after a restart of the control plane %d resources were sent again", n)
	}
	m.Delete("Secret", "api-tls")
	if _, _, err := printOf(t, door, a.pool, "https://v1.api.example.com/"); err == nil {
		t.Error("a certificate is shown that was deleted")
	}
	m.Apply(api)
	if shown, _, err := printOf(t, door, a.pool, "https://v1.api.example.com/"); err != nil || shown != apiPrint {
		t.Errorf("a certificate that came back: %s %v, want %s", shown, err, apiPrint)
	}
	load.more(20)
	load.stop()
}

// tlsLoad sends one request after another over one connection. None may fail.
type tlsLoad struct {
	t    *testing.T
	sent chan struct{} // after each request
	stop func()
}

func startTLSLoad(t *testing.T, client *http.Client, url string) *tlsLoad {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	l := &tlsLoad{t: t, sent: make(chan struct{})}
	l.stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	t.Cleanup(l.stop)
	running.Go(func() {
		for {
			if _, err := meshtest.Fetch(context.WithoutCancel(ctx), client, url); err != nil {
				t.Errorf("under load: %v", err)
				cancel()
			}
			select {
			case l.sent <- struct{}{}:
			case <-ctx.Done():
				return
			default:
			}
		}
	})
	return l
}

// more waits for so many further requests.
func (l *tlsLoad) more(requests int) {
	l.t.Helper()
	for range requests {
		select {
		case <-l.sent:
		case <-l.t.Context().Done():
			return
		}
	}
}

// Applications see who called and how, and no client can claim another protocol.
func TestIngressForwardedHeaders(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	secret, _ := secretOf(t, a, "shop-tls", "shop.example.com")
	_, door := doorMesh(t, secret+`---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: open}
spec:
  tls: [{secretName: shop-tls}]
  rules:
  - host: shop.example.com
    http: {paths: [{path: /open, pathType: Exact, backend: {service: {name: shop, port: {number: 9080}}}}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: secure, annotations: {kubernetes.io/ingress.allow-http: "false"}}
spec:
  rules:
  - host: shop.example.com
    http: {paths: [{path: /secure, pathType: Exact, backend: {service: {name: shop, port: {number: 9080}}}}]}
`, "shop")
	// Of callers on a loopback address Envoy names the machine's own address.
	_, body := door.Get("http://shop.example.com/open")
	_, rest, _ := strings.Cut(body, "for=")
	me, _, _ := strings.Cut(rest, " ")
	if _, err := netip.ParseAddr(me); err != nil {
		t.Fatalf("the caller is not told by its address: %q", body)
	}
	claims := []string{"X-Forwarded-For", "1.2.3.4", "X-Forwarded-Proto", "https"}
	for path, want := range map[string]string{
		"/open": "200 shop shop.example.com /open for=1.2.3.4," + me + " proto=http", "/secure": "404 lateen: no Ingress object has a path for this request.\n",
	} {
		if status, body := door.Get("http://shop.example.com"+path, claims...); fmt.Sprintf("%d %s", status, body) != want {
			t.Errorf("%s: %d %q, want %q", path, status, body, want)
		}
	}
	for path, want := range map[string]string{
		"/open":   "200 shop shop.example.com /open for=" + me + " proto=https",
		"/secure": "200 shop shop.example.com /secure for=" + me + " proto=https",
	} {
		if _, body, err := printOf(t, door, a.pool, "https://shop.example.com"+path); err != nil || body != want {
			t.Errorf("%s with TLS: %q %v, want %q", path, body, err, want)
		}
	}
	// A client that says ":scheme: https" without TLS.
	connection, err := new(net.Dialer).DialContext(t.Context(), "tcp", door.Proxy())
	if err != nil {
		t.Fatal(err)
	}
	plain, err := new(http2.Transport).NewClientConn(connection) //nolint:staticcheck // net/http's own would not lie
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = plain.Close() }()
	liar := &http.Client{Transport: plain}
	if body, err := meshtest.Fetch(t.Context(), liar, "https://shop.example.com/secure"); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("a client that claims TLS gets %q %v, want 404", body, err)
	}
	if body, err := meshtest.Fetch(t.Context(), liar, "https://shop.example.com/open"); err != nil || !strings.Contains(body, "proto=http") || strings.Contains(body, "proto=https") {
		t.Errorf("a client that claims TLS gets %q %v, want an answer with proto=http", body, err)
	}
}

// A rule's rewrite replaces the prefix that the Ingress object's path matched.
func TestIngressRewrite(t *testing.T) {
	t.Parallel()
	m, door := doorMesh(t, `
apiVersion: extensions/v1beta1
kind: Ingress
metadata: {name: simple, annotations: {kubernetes.io/ingress.class: istio}}
spec:
  rules:
  - http:
      paths:
      - {path: /fortio/.*, backend: {serviceName: echosrv, servicePort: http}}
`, "echosrv")
	// That no source knows the service of the ingress may be told or not.
	m.InForce(m.TryApply(`
apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata: {name: fortio-redir}
spec:
  destination: {name: echosrv}
  match: {source: {service: istio-ingress.istio-system.svc.cluster.local}, request: {headers: {uri: {prefix: /fortio/}}}}
  precedence: 2
  rewrite: {uri: /}
  route: [{weight: 100}]
`).Revision)
	check := func(path, want string) {
		t.Helper()
		if status, body := door.Get("http://door" + path); !strings.HasPrefix(body, want) {
			t.Errorf("%s: %d %q, want %q", path, status, body, want)
		}
	}
	check("/fortio/", "echosrv door / ")
	check("/fortio/debug?a=/fortio/", "echosrv door /debug?a=/fortio/ ")
	check("/fortio", "lateen: no Ingress object")
	m.Apply(`
apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata: {name: fortio-redir}
spec: {destination: {name: echosrv}, match: {request: {headers: {uri: {prefix: /fortio/a/}}}}, rewrite: {uri: /b/}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: elements}
spec:
  rules:
  - host: elements
    http: {paths: [{path: /fortio, pathType: Prefix, backend: {service: {name: echosrv, port: {number: 9080}}}}]}
`)
	check("/fortio/a/c", "echosrv door /b/c ")
	check("/fortio/c", "echosrv door /fortio/c ")
	if status, body := door.Get("http://elements/fortio/a/c"); !strings.HasPrefix(body, "echosrv elements /b/c ") {
		t.Errorf("%d %q, want /b/c", status, body)
	}
}

// Rules of the destination decide about what comes through the ingress: of 100 requests at least 95 go by the v1 rule.
func TestIngressRouteRules(t *testing.T) {
	t.Parallel()
	m := meshtest.New(t)
	m.Start("reviews", "v1", meshtest.Named("v1"))
	m.Start("reviews", "v2", meshtest.Named("v2"))
	m.Apply(reviewsDoor)
	door := m.Door()
	m.Apply(rule("all-v1", "precedence: 1, route: [{labels: {version: v1}}]"))
	seen := map[string]int{}
	client := door.Client()
	for range 100 {
		seen[fetch(t, client, "http://door/")]++
	}
	if seen["v1"] < 95 {
		t.Errorf("of 100 requests %v, want at least 95 to v1", seen)
	}
	m.Apply(rule("ingress-v2", "precedence: 2, match: {source: {labels: {istio: ingress}}, request: {headers: {x-user: {exact: jason}}}}, route: [{labels: {version: v2}}]"))
	wantBody(t, door, "http://door/", "v2", "X-User", "jason")
	wantBody(t, door, "http://door/", "v1")
	wantBody(t, m.Caller("caller", nil), reviews, "v1", "X-User", "jason")
}

// Where an old path is a regular expression and a rule has a match of its own, both hold, and neither takes the query
// for a part of the path.
func TestIngressPaths(t *testing.T) {
	t.Parallel()
	m := meshtest.New(t)
	m.Start("reviews", "v1", meshtest.Named("v1"))
	m.Start("reviews", "v2", meshtest.Named("v2"))
	m.Apply(`
apiVersion: extensions/v1beta1
kind: Ingress
metadata: {name: old}
spec:
  rules:
  - http:
      paths:
      - {path: "/v[12].*[^a]/(?i:x)", backend: {serviceName: reviews, servicePort: 9080}}
      - {path: /plain, backend: {serviceName: reviews, servicePort: 9080}}
`)
	door := m.Door()
	m.Apply(rule("all-v1", "precedence: 1, route: [{labels: {version: v1}}]"))
	m.Apply(rule("prefix", "precedence: 2, match: {request: {headers: {uri: {prefix: /v1}}}}, route: [{labels: {version: v2}}]"))
	for path, want := range map[string]string{
		"/v1/b/x": "v2", "/v1/b/X?y=z": "v2", "/v2/b/x": "v1", "/v1/a/x": "404", "/v1?/b/x": "404", "/v1/b?/x": "404",
		"/plain": "v1", "/plain?x": "v1", "/plain/": "404", "/plainer": "404",
	} {
		wantBackend(t, door, "http://door"+path, want)
	}
	m.Apply(rule("prefix", `precedence: 2, match: {request: {headers: {uri: {regex: "/(v2|p).*"}}}}, route: [{labels: {version: v2}}]`))
	for path, want := range map[string]string{"/v2/b/x": "v2", "/v1/b/x": "v1", "/plain": "v2", "/v2?/b/x": "404"} {
		wantBackend(t, door, "http://door"+path, want)
	}
}

// No answer of the API holds what a Secret holds, nor does any stage that is explained.
func TestSecretsAreNotShown(t *testing.T) {
	t.Parallel()
	secret, _ := secretOf(t, newAuthority(t), "shop-tls", "shop.example.com")
	m, door := doorMesh(t, secret, "shop")
	m.InForce(m.TryApply(tlsIngress + `---
apiVersion: v1
kind: Secret
metadata: {name: other}
stringData: {password: s3cret}
`).Revision)
	_, key, _ := strings.Cut(secret, "PRIVATE KEY-----\n")
	hidden := []string{"s3cret", strings.TrimSpace(strings.Split(key, "\n")[0]), "PRIVATE"}
	objects, err := m.API.Objects(t.Context(), api.Query{Kind: "Secret"})
	if err != nil || len(objects) != 2 {
		t.Fatalf("%d Secrets: %v", len(objects), err)
	}
	compared, err := m.API.Compare(t.Context(), api.Compare{Files: []api.File{{Name: "f", Text: strings.Replace(secret, "kubernetes.io/tls", "Opaque", 1)}}})
	if err != nil || len(compared.Differences) != 1 {
		t.Fatalf("differences %v: %v", compared, err)
	}
	texts := []string{fmt.Sprintf("%+v", objects), fmt.Sprintf("%+v", compared)}
	for _, stage := range []string{"view", "plan", "envoy"} {
		text, err := m.API.Explain(t.Context(), api.Explain{Proxy: door.ID(), Resource: "secret default/shop-tls", Stage: stage})
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, text)
	}
	for _, text := range texts {
		for _, h := range hidden {
			if strings.Contains(text, h) {
				t.Errorf("%q is shown: %s", h, text)
			}
		}
	}
}
