package meshtest_test

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
)

// pemOf makes a certificate for hosts, and returns its fingerprint too.
func pemOf(t *testing.T, a *authority, hosts ...string) (chain, key, shown string) {
	t.Helper()
	issued := a.issue(hosts...)
	der, err := x509.MarshalPKCS8PrivateKey(issued.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, body []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: body}))
	}
	return block("CERTIFICATE", issued.Certificate[0]), block("PRIVATE KEY", der), fingerprint(issued.Certificate[0])
}

// secretOf writes a Secret with a new certificate for hosts, and returns the certificate's fingerprint too.
func secretOf(t *testing.T, a *authority, name string, hosts ...string) (object, shown string) {
	t.Helper()
	chain, key, shown := pemOf(t, a, hosts...)
	indented := func(text string) string { return strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n    ") }
	return fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: %s}\ntype: kubernetes.io/tls\nstringData:\n  tls.crt: |\n    %s\n  tls.key: |\n    %s\n",
		name, indented(chain), indented(key)), shown
}

func fingerprint(certificate []byte) string {
	sum := sha256.Sum256(certificate)
	return hex.EncodeToString(sum[:8])
}
