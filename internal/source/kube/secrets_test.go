package kube_test

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

	"github.com/lateen-mesh/lateen/internal/kubetest"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// pair returns a certificate that signs itself, and its key, in PEM.
func pair(t *testing.T, host string) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
}

// tlsSecret is a Secret of a type, with a certificate and a key.
func tlsSecret(kind, name, certificate, key string) string {
	encode := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("{apiVersion: v1, kind: Secret, type: %s, metadata: {name: %s}, data: {tls.crt: %s, tls.key: %s}}\n---\n",
		kind, name, encode([]byte(certificate)), encode([]byte(key)))
}

// tlsIngress is an Ingress of a class that names a Secret.
func tlsIngress(name, class, secret string) string {
	return fmt.Sprintf(`
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: %[1]s}
spec:
  ingressClassName: %[2]s
  tls: [{hosts: [%[1]s.example.com], secretName: %[3]s}]
  rules: [{host: %[1]s.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]
---
`, name, class, secret)
}

// Secrets are read that Ingress objects name which count, and follow what these and the Secrets say; one that is broken is known by what
// it held before, and what is wrong with it is told at the Ingress.
func TestSecrets(t *testing.T) {
	t.Parallel()
	s := kubetest.Start(t)
	install(t, s)
	ns := s.Namespace(t)
	first, firstKey := pair(t, "first.example.com")
	second, secondKey := pair(t, "second.example.com")
	const usual = "kubernetes.io/tls"
	s.Kubectl(t, tlsSecret(usual, "shop", first, firstKey)+tlsSecret(usual, "theirs", second, secondKey)+tlsSecret("Opaque", "opaque", second, secondKey)+
		tlsIngress("shop", "lateen", "shop")+tlsIngress("theirs", "nginx", "theirs")+tlsIngress("opaque", "lateen", "opaque"), "create", "-n", ns, "-f", "-")
	r := watch(t, options{kubeconfig: s.Kubeconfig, namespaces: []string{ns}})
	r.await("everything else is known", r.ready)
	known := func(name string) string {
		c := r.Snapshot().Certificate(ns + "/" + name)
		switch {
		case c == nil:
			return "none"
		case c.Chain == first && c.Key.Reveal() == firstKey:
			return "first"
		case c.Chain == second && c.Key.Reveal() == secondKey:
			return "second"
		}
		return "another one"
	}
	is := func(name, want string) {
		t.Helper()
		r.await(fmt.Sprintf("the certificate %s is %s, not %s", name, want, known(name)), func() bool { return known(name) == want })
	}
	if got := known("shop"); got != "none" {
		t.Errorf("before the settings are known, %s is known of the certificate shop", got)
	}
	r.source.TakeSettings(mesh.Settings{})
	is("shop", "first")
	for _, name := range []string{"theirs", "opaque"} {
		if got := known(name); got != "none" {
			t.Errorf("the certificate %s is known: %s", name, got)
		}
	}
	s.Kubectl(t, tlsSecret(usual, "shop", second, secondKey), "apply", "-n", ns, "-f", "-")
	is("shop", "second")

	s.Kubectl(t, tlsSecret(usual, "shop", first, secondKey), "apply", "-n", ns, "-f", "-")
	r.await("the broken secret is told", func() bool { return strings.Contains(r.problems(), "invalid-value") })
	if got := known("shop"); got != "second" {
		t.Errorf("of a broken secret %s is known", got)
	}
	broken := ""
	for _, p := range r.Problems() {
		if p.Code == "invalid-value" {
			broken += p.String() + "\n"
		}
	}
	want := fmt.Sprintf("error: Ingress %[1]s/shop: spec.tls[0].secretName: the secret %[1]s/shop is not good: data[\"tls.key\"]: the key does not belong to the certificate, or is damaged; "+
		"what it held before is shown on [invalid-value]\n", ns)
	if _, told, _ := strings.Cut(broken, ": "); told != want {
		t.Errorf("told:\n%swant\n%s", broken, want)
	}
	if log := r.logged(); strings.Contains(log, base64.StdEncoding.EncodeToString([]byte(secondKey))[:40]) || strings.Contains(log, "PRIVATE KEY") {
		t.Error("the log holds a key")
	}
	s.Kubectl(t, tlsSecret(usual, "shop", first, firstKey), "apply", "-n", ns, "-f", "-")
	is("shop", "first")
	r.await("nothing is wrong with it any more", func() bool { return !strings.Contains(r.problems(), "invalid-value") })

	r.source.TakeSettings(mesh.Settings{Ingress: mesh.IngressSettings{Mode: mesh.IngressOff}})
	is("shop", "none")
	r.source.TakeSettings(mesh.Settings{Ingress: mesh.IngressSettings{Classes: []string{"nginx"}}})
	is("theirs", "second")
	s.Kubectl(t, "", "delete", "secret", "theirs", "-n", ns)
	is("theirs", "none")
}

// A class that comes or goes says anew which Ingress objects count, and so which Secrets are read.
func TestSecretsFollowClasses(t *testing.T) {
	t.Parallel()
	s := kubetest.StartOwn(t) // a class belongs to no namespace
	install(t, s)
	ns := s.Namespace(t)
	certificate, key := pair(t, "a.example.com")
	s.Kubectl(t, tlsSecret("kubernetes.io/tls", "a", certificate, key)+tlsSecret("kubernetes.io/tls", "b", certificate, key)+
		tlsIngress("a", "lateen", "a")+tlsIngress("b", ns, "b"), "create", "-n", ns, "-f", "-")
	r := watch(t, options{kubeconfig: s.Kubeconfig, namespaces: []string{ns}})
	r.source.TakeSettings(mesh.Settings{})
	known := func(name string) bool { return r.Snapshot().Certificate(ns+"/"+name) != nil }
	r.await("the first one is known", func() bool { return r.ready() && known("a") })
	if known("b") {
		t.Error("a secret is known of an Ingress of no class")
	}
	s.Kubectl(t, fmt.Sprintf("{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: %s}, spec: {controller: lateen.dev/ingress-controller}}", ns), "create", "-f", "-")
	r.await("the class comes", func() bool { return known("b") })
	s.Kubectl(t, "", "delete", "ingressclass", ns)
	r.await("the class goes", func() bool { return !known("b") })
}
