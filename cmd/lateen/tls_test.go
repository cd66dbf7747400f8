package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/http"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/netns"
)

const secureMesh = `apiVersion: lateen.dev/v1alpha1
kind: Mesh
metadata: {name: secure}
spec:
  ingress: {certificates: {shop-tls: {cert: shop.crt, key: shop.key}}}
  services:
    ratings:
      ports: [{name: http, port: 9080}]
      workloads:
        v1: {command: [lateen, bookinfo, ratings, "--port=${PORT}"], ready: {http: /health}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop}
spec:
  tls: [{hosts: [shop.example.com], secretName: shop-tls}]
  rules:
  - host: shop.example.com
    http:
      paths:
      - {path: /ratings, pathType: Prefix, backend: {service: {name: ratings, port: {name: http}}}}
`

// certificate returns a certificate for a host, which is its own authority, and its key, in PEM.
func certificate(t *testing.T, host string) (chain, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{host}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
}

// The door answers with the certificate of a Mesh file on the port that --https-port names, which is said.
func TestDoorWithTLS(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		dir := home(t)
		chain, key := certificate(t, "shop.example.com")
		write(t, dir, "shop.crt", string(chain))
		write(t, dir, "shop.key", string(key))
		p := start(t, dir, "up", "--https-port", "8443", "-f", write(t, dir, "mesh.yaml", secureMesh))
		p.prints("https://localhost:8443/")
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(chain)
		client := &http.Client{Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "shop.example.com"}, DisableKeepAlives: true,
		}, Timeout: patience}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://localhost:8443/ratings/0", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = "shop.example.com"
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Errorf("%s", response.Status)
		}
	})
}
