//go:build e2e

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/testapp"
)

// Where the ingress is found in the cluster.
const (
	ingressHTTP  = "lateen-ingress." + lateenNamespace + ":80"
	ingressHTTPS = "lateen-ingress." + lateenNamespace + ":443"
)

// outside asks the ingress once, from a pod without a sidecar, for a URL whose host no DNS knows.
func (s *space) outside(url string, args ...string) testapp.Result {
	s.t.Helper()
	to := ingressHTTP
	if strings.HasPrefix(url, "https:") {
		to = ingressHTTPS
	}
	return s.ask("pod/stranger", append(append([]string{"--connect=" + to, "--insecure", "--fresh"}, args...), url)...)[0]
}

// awaitOutside returns when the ingress answers a URL as it should.
func (s *space) awaitOutside(url string) {
	s.t.Helper()
	s.await("an answer for "+url, func() error {
		if r := s.outside(url); r.Error != "" {
			return fmt.Errorf("status %d: %s: %s", r.Status, r.Error, r.Body)
		}
		return nil
	})
}

// BookInfo's page comes through the ingress to whoever names its host, by the object that its users have always written.
func TestIngressBookInfo(t *testing.T) { // not beside a test with a default backend, which is for all hosts
	s := bookInfo(t)
	host := s.name + ".example.com"
	s.apply(strings.ReplaceAll(bookInfoIngress, "HOST", host))
	s.awaitOutside("http://" + host + "/productpage")
	if r := s.outside("http://" + host + "/productpage"); !strings.Contains(r.Body, "The Comedy of Errors") {
		t.Errorf("the page: %.300s", r.Body)
	}
	if r := s.outside("http://" + host + "/api/v1/products/0"); r.Status != 200 {
		t.Errorf("below the old prefix: status %d: %.300s", r.Status, r.Body)
	}
	for _, path := range []string{"/productpage/", "/", "/static/x"} {
		if r := s.outside("http://" + host + path); r.Status != 404 {
			t.Errorf("%s: status %d, want 404", path, r.Status)
		}
	}
}

const bookInfoIngress = `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: gateway, annotations: {kubernetes.io/ingress.class: istio}}
spec:
  rules:
  - host: HOST
    http:
      paths:
      - {path: /productpage, pathType: ImplementationSpecific, backend: {service: {name: productpage, port: {number: 9080}}}}
      - {path: /api/v1/products/.*, pathType: ImplementationSpecific, backend: {service: {name: productpage, port: {number: 9080}}}}
`

// shopManifest are two applications, of which one speaks gRPC too.
const shopManifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME}
spec:
  replicas: 1
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec:
      containers:
      - name: app
        image: lateen-testapp:dev
        imagePullPolicy: IfNotPresent
        args: [serve, --name=NAME]
        readinessProbe: {httpGet: {path: /health, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: NAME}
spec: {selector: {app: NAME}, ports: [{name: http, port: 8080}, {name: grpc, port: 9090}]}
---
`

const shopIngress = `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop}
spec:
  ingressClassName: lateen
  tls:
  - {hosts: [a.HOST], secretName: a}
  - {hosts: [b.HOST], secretName: b}
  rules:
  - host: a.HOST
    http:
      paths:
      - {path: /exact, pathType: Exact, backend: {service: {name: web, port: {number: 8080}}}}
      - {path: /tree, pathType: Prefix, backend: {service: {name: web, port: {name: http}}}}
      - {path: /ws, pathType: Exact, backend: {service: {name: web, port: {name: http}}}}
      - {path: /grpc.testing.TestService, pathType: Prefix, backend: {service: {name: web, port: {name: grpc}}}}
      - {path: /old/.*, pathType: ImplementationSpecific, backend: {service: {name: api, port: {number: 8080}}}}
  - host: b.HOST
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: api, port: {number: 8080}}}}]}
  - host: "*.wild.HOST"
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 8080}}}}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: theirs}
spec:
  ingressClassName: nginx
  rules: [{host: a.HOST, http: {paths: [{path: /theirs, pathType: Exact, backend: {service: {name: web, port: {number: 8080}}}}]}}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: nobodys}
spec:
  rules: [{host: a.HOST, http: {paths: [{path: /nobodys, pathType: Exact, backend: {service: {name: web, port: {number: 8080}}}}]}}]
---
`

const restIngress = `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: rest}
spec:
  ingressClassName: lateen
  defaultBackend: {service: {name: api, port: {number: 8080}}}
`

// tlsSecret is a Secret with a certificate for a host, by some owner, that signs itself.
func tlsSecret(t *testing.T, name, host, owner string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: host, Organization: []string{owner}}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(kind string, der []byte) string {
		return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return fmt.Sprintf("{apiVersion: v1, kind: Secret, type: kubernetes.io/tls, metadata: {name: %s}, data: {tls.crt: %s, tls.key: %s}}\n---\n",
		name, encode("CERTIFICATE", certificate), encode("PRIVATE KEY", private))
}

// shop has two applications behind the ingress, with certificates for a.HOST and b.HOST.
func shop(t *testing.T) (s *space, host string) {
	t.Helper()
	s = meshSpace(t)
	host = s.name + ".example.com"
	s.apply(s.inject(strings.ReplaceAll(shopManifest, "NAME", "web") + strings.ReplaceAll(shopManifest, "NAME", "api")))
	s.allRolledOut()
	s.apply(tlsSecret(t, "a", "a."+host, "first") + tlsSecret(t, "b", "b."+host, "first") + strings.ReplaceAll(shopIngress, "HOST", host))
	s.awaitOutside("http://a." + host + "/exact")
	s.awaitOutside("https://a." + host + "/exact")
	s.awaitOutside("https://b." + host + "/")
	return s, host
}

// What Ingress objects say of hosts and paths is so, over http and https, for requests, gRPC and WebSocket; the application sees who
// asks; and objects that are not for this ingress mean nothing.
func TestIngress(t *testing.T) {
	t.Parallel()
	s, host := shop(t)
	s.apply(restIngress)
	s.awaitOutside("http://else." + host + "/")
	address := strings.TrimSpace(s.kubectl("get", "pod", "stranger", "-o", "jsonpath={.status.podIP}"))
	for _, c := range []struct{ url, answers, certificate string }{
		{"http://a.HOST/exact", "web", ""},
		{"http://a.HOST/exact/", "api", ""}, // as for all that no path takes: the default backend
		{"http://a.HOST/tree/a/b", "web", ""},
		{"http://a.HOST/trees", "api", ""},
		{"http://a.HOST/old/x", "api", ""},
		{"http://x.wild.HOST/any", "web", ""},
		{"http://x.y.wild.HOST/any", "api", ""},
		{"http://else.HOST/any", "api", ""},
		{"http://a.HOST/theirs", "api", ""},
		{"http://a.HOST/nobodys", "api", ""},
		{"https://a.HOST/exact", "web", "CN=a.HOST,O=first"},
		{"https://b.HOST/any", "api", "CN=b.HOST,O=first"},
	} {
		r := s.outside(strings.ReplaceAll(c.url, "HOST", host))
		if want := strings.ReplaceAll(c.certificate, "HOST", host); r.Answer == nil || r.Answer.Name != c.answers || r.Certificate != want {
			t.Errorf("%s: status %d, %s %s, %+v; want %s %s", c.url, r.Status, r.Error, r.Certificate, r.Answer, c.answers, want)
			continue
		}
		scheme, _, _ := strings.Cut(c.url, ":")
		if from, proto := r.Answer.Header["X-Forwarded-For"], r.Answer.Header["X-Forwarded-Proto"]; from != address || proto != scheme {
			t.Errorf("%s: the application is told that %q asks by %q, want %q by %q", c.url, from, proto, address, scheme)
		}
	}
	if r := s.outside("https://else." + host + "/"); r.Error == "" {
		t.Errorf("a host without a certificate is answered: %+v", r)
	}
	if r := s.outside("grpc://a."+host, "--body=hello"); r.Error != "" || r.Body != "web v1: hello" {
		t.Errorf("gRPC: status %d, %s %q", r.Status, r.Error, r.Body)
	}
	if r := s.outside("ws://a."+host+"/ws", "--body=hello"); r.Error != "" || r.Body != "web v1: hello" {
		t.Errorf("WebSocket: %s %q", r.Error, r.Body)
	}
}

// The addresses of the load balancer stand in the status of the Ingress objects that are for this ingress, and of no others. Where a
// cluster has no load balancers, the test is one.
func TestIngressStatus(t *testing.T) {
	s, _ := shop(t)
	const address = "jsonpath={.status.loadBalancer.ingress[*]['ip','hostname']}"
	balanced := func() string {
		return s.kubectl("get", "service", "lateen-ingress", "--namespace="+lateenNamespace, "-o", address)
	}
	balance := func(addresses string) {
		s.kubectl("patch", "service", "lateen-ingress", "--namespace="+lateenNamespace, "--subresource=status", "--type=merge",
			"-p", `{"status":{"loadBalancer":{"ingress":`+addresses+`}}}`)
	}
	if balanced() == "" {
		balance(`[{"ip":"192.0.2.1"}]`)
		defer balance("[]")
	}
	s.await("the address", func() error {
		if got := s.kubectl("get", "ingress", "shop", "-o", address); got != balanced() {
			return fmt.Errorf("it is %q, want %q", got, balanced())
		}
		return nil
	})
	for _, name := range []string{"theirs", "nobodys"} {
		if got := s.kubectl("get", "ingress", name, "-o", address); got != "" {
			t.Errorf("%s has the address %s", name, got)
		}
	}
}

// A certificate is replaced under load, and no request fails; from then on the new one is shown.
func TestLoadIngressCertificates(t *testing.T) {
	s, host := shop(t)
	table, times := newLoadTable(t), 2*tenth(10)
	url := "https://a." + host + "/exact"
	load := s.startLoad("pod/stranger", url, loadRate, "--connect="+ingressHTTPS, "--insecure", "--fresh")
	for round := range times {
		owner := fmt.Sprintf("round%d", round)
		s.apply(tlsSecret(t, "a", "a."+host, owner))
		s.await("the new certificate", func() error {
			if r := s.outside(url); r.Error != "" || !strings.Contains(r.Certificate, owner) {
				return fmt.Errorf("%s %s", r.Certificate, r.Error)
			}
			return nil
		})
	}
	what := fmt.Sprintf("%d new certificates", times)
	table.add(what, byTheIngress, load.stop(what, least(loadRate)), 0)
	if r := s.outside("https://b." + host + "/"); !strings.Contains(r.Certificate, "first") {
		t.Errorf("the other host shows %s", r.Certificate)
	}
}

// Rolling updates of the ingress itself under load fail no request, until the last of the old pods is gone.
func TestLoadIngressUpdates(t *testing.T) {
	s, host := shop(t)
	table, times := newLoadTable(t), tenth(10)
	load := s.startLoad("pod/stranger", "http://a."+host+"/exact", loadRate, "--connect="+ingressHTTP)
	secure := s.startLoad("pod/stranger", "https://b."+host+"/", 20, "--connect="+ingressHTTPS, "--insecure")
	for range times {
		s.kubectl("rollout", "restart", "deployment/lateen-ingress", "--namespace="+lateenNamespace)
		s.kubectl("rollout", "status", "deployment/lateen-ingress", "--namespace="+lateenNamespace, "--timeout="+patience.String())
		s.await("the end of the old pods", func() error {
			pods := strings.Fields(s.kubectl("get", "pods", "--namespace="+lateenNamespace, "-l", "app.kubernetes.io/name=lateen-ingress", "-o", "name"))
			if len(pods) != 2 {
				return fmt.Errorf("there are %v", pods)
			}
			return nil
		})
	}
	what := fmt.Sprintf("%d rolling updates of the ingress", times)
	table.add(what, byTheIngress, load.stop(what, least(loadRate)), 0)
	table.add(what+", over TLS", byTheIngress, secure.stop(what+", over TLS", least(20)), 0)
}
