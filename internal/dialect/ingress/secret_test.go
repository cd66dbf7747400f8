package ingress_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/dialect/ingress"
)

// pair returns a certificate and its key as PEM.
func pair(t *testing.T, key crypto.Signer) (chain, private string) {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"a.example.com"}}
	body, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: body})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func ec(t *testing.T, curve elliptic.Curve) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func base(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

// block writes a text as a block of YAML below a key.
func block(key, text string) string {
	return fmt.Sprintf("  %s: |\n    %s\n", key, strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n    "))
}

func readSecret(t *testing.T, rest string) (config.Meaning, []string) {
	t.Helper()
	objects, found := config.Parse("f", []byte("apiVersion: v1\nkind: Secret\nmetadata: {name: shop-tls, namespace: shop}\n"+rest), "")
	if len(objects) != 1 {
		t.Fatalf("%d objects: %v", len(objects), found)
	}
	meaning, more := ingress.Kinds("cluster.local").Read(&objects[0])
	var problems []string
	for _, p := range append(found, more...) {
		problems = append(problems, p.String())
	}
	return meaning, problems
}

// A Secret of type kubernetes.io/tls is a certificate, in data or in stringData; what stands around it in the PEM is left out.
func TestSecret(t *testing.T) {
	chain, key := pair(t, ec(t, elliptic.P256()))
	for name, rest := range map[string]string{
		"data":       "type: kubernetes.io/tls\ndata:\n  tls.crt: " + base(chain) + "\n  tls.key: " + base(key) + "\n",
		"stringData": "type: kubernetes.io/tls\nstringData:\n" + block("tls.crt", "Subject: a\n"+chain) + block("tls.key", "Bag\n"+key),
		"both": "type: kubernetes.io/tls\nimmutable: true\nstringData:\n" + block("tls.crt", chain) +
			"data: {tls.crt: bm8=, tls.key: " + base(key) + ", ca.crt: 1}\n",
	} {
		meaning, problems := readSecret(t, rest)
		if len(problems) > 0 || len(meaning.Certificates) != 1 {
			t.Errorf("%s: %d certificates, problems %v", name, len(meaning.Certificates), problems)
			continue
		}
		if c := meaning.Certificates[0]; c.Path() != "shop/shop-tls" || c.Chain != chain || c.Key.Reveal() != key {
			t.Errorf("%s: %s means %s and another chain or key than were given", name, c.Path(), c.Chain)
		}
	}
	for _, rest := range []string{"", "data: {password: x}\n", "type: Opaque\nstringData: {password: [1]}\n"} {
		if meaning, problems := readSecret(t, rest); len(problems) > 0 || len(meaning.Certificates) > 0 {
			t.Errorf("a Secret of another type, %q, means %v with problems %v", rest, meaning, problems)
		}
	}
}

// What is wrong with a Secret is told at its place, and nothing of what it holds is told.
func TestWrongSecret(t *testing.T) {
	chain, key := pair(t, ec(t, elliptic.P256()))
	otherChain, otherKey := pair(t, ec(t, elliptic.P384()))
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	shortChain, shortKey := pair(t, short)
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edwardsChain, edwardsKey := pair(t, edwards)
	text := func(chain, key string) string {
		return "stringData:\n" + block("tls.crt", chain) + block("tls.key", key)
	}
	for _, c := range []struct{ rest, want string }{
		{"data: {}\n", `f:5:1: error: Secret shop/shop-tls: data["tls.crt"]: a Secret of type kubernetes.io/tls needs the key tls.crt [missing-field]`},
		{"data: s3cret\n", `f:5:7: error: Secret shop/shop-tls: data: want a mapping of keys to values [wrong-type]`},
		{"data: {tls.crt: 4711, tls.key: s3cret}\n", `f:5:17: error: Secret shop/shop-tls: data["tls.crt"]: want text [wrong-type]`},
		{"data: {tls.crt: s3cret!, tls.key: s3cret!}\n", `f:5:17: error: Secret shop/shop-tls: data["tls.crt"]: the value is not in base64 [invalid-value]`},
		{"stringData: {tls.crt: s3cret, tls.key: s3cret}\n", `f:5:23: error: Secret shop/shop-tls: stringData["tls.crt"]: there is no certificate in it`},
		{text(key, key), `f:6:12: error: Secret shop/shop-tls: stringData["tls.crt"]: there is no certificate in it`},
		{text(chain, chain), `stringData["tls.key"]: there is no private key in it`},
		{text(chain, otherKey), `stringData["tls.key"]: the key does not belong to the certificate`},
		{text(otherChain, key), `stringData["tls.key"]: the key does not belong to the certificate`},
		{text(shortChain, shortKey), `stringData["tls.crt"]: the RSA key has 1024 bits: at least 2048 are needed`},
		{text(edwardsChain, edwardsKey), `stringData["tls.crt"]: the certificate has a kind of key that proxies do not take`},
		{text(strings.Replace(chain, "MII", "AAA", 1), key), `stringData["tls.crt"]: `},
		{text(chain, strings.ReplaceAll(key, "PRIVATE", "ENCRYPTED PRIVATE")), `stringData["tls.key"]: the key is encrypted`},
		{"dta: {}\n", `f:5:1: error: Secret shop/shop-tls: dta: unknown field`},
	} {
		meaning, problems := readSecret(t, "type: kubernetes.io/tls\n"+c.rest)
		all := strings.Join(problems, "\n")
		if len(meaning.Certificates) > 0 || !strings.Contains(all, c.want) {
			t.Errorf("%.40q: %d certificates, problems %s; want %s", c.rest, len(meaning.Certificates), all, c.want)
		}
		for _, hidden := range []string{"s3cret", "4711", strings.Split(key, "\n")[1], strings.Split(otherKey, "\n")[1]} {
			if strings.Contains(all, hidden) {
				t.Errorf("%.40q: the problems show %q: %s", c.rest, hidden, all)
			}
		}
	}
}
