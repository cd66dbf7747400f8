package testcluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// certificateAge is how long certificates hold; a cluster lives for hours.
const certificateAge = 365 * 24 * time.Hour

// Authority issues certificates, and keeps them with their keys as NAME.crt and NAME.key in a folder.
type Authority struct {
	dir  string
	name string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes a certificate authority, and writes its certificate and key to NAME.crt and NAME.key.
func NewAuthority(dir, name string) (*Authority, error) {
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
	}
	a := &Authority{dir: dir, name: name}
	var err error
	a.cert, a.key, err = a.sign(template, name)
	return a, err
}

// File is where the certificate of the authority is.
func (a *Authority) File() string { return filepath.Join(a.dir, a.name+".crt") }

// Issue writes NAME.crt and NAME.key: a certificate for clients and servers of the user, its groups, and the addresses and
// DNS names.
func (a *Authority) Issue(name, user string, groups []string, hosts ...string) error {
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: user, Organization: groups},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	_, _, err := a.sign(template, name)
	return err
}

// sign completes the template, signs it, and writes the certificate and its key. An authority without a certificate signs
// its own.
func (a *Authority) sign(template *x509.Certificate, name string) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return nil, nil, err
	}
	now := time.Now()
	template.NotBefore, template.NotAfter = now.Add(-time.Minute), now.Add(certificateAge)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return nil, nil, fmt.Errorf("certificate of %s: %w", name, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, err
	}
	if err := os.WriteFile(filepath.Join(a.dir, name+".crt"), pemBlock("CERTIFICATE", der), 0o600); err != nil {
		return nil, nil, err
	}
	return cert, key, writeKey(filepath.Join(a.dir, name+".key"), key)
}

// writeKey writes a private key to a file, in the form that Kubernetes takes as a key for tokens too.
func writeKey(file string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return os.WriteFile(file, pemBlock("EC PRIVATE KEY", der), 0o600)
}

func pemBlock(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// newTokenKey writes the key with which the tokens of ServiceAccounts are signed.
func newTokenKey(file string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	return writeKey(file, key)
}

// Kubeconfig writes a kubeconfig for the certificate NAME in the folder of the authority, and returns its path.
func (a *Authority) Kubeconfig(name, server string) (string, error) {
	const format = `apiVersion: v1
kind: Config
clusters:
- {name: lateen-test, cluster: {server: %q, certificate-authority: %q}}
users:
- {name: lateen-test, user: {client-certificate: %q, client-key: %q}}
contexts:
- {name: lateen-test, context: {cluster: lateen-test, user: lateen-test}}
current-context: lateen-test
`
	file := filepath.Join(a.dir, name)
	text := fmt.Sprintf(format, server, a.File(), file+".crt", file+".key")
	return file + ".kubeconfig", os.WriteFile(file+".kubeconfig", []byte(text), 0o600)
}
