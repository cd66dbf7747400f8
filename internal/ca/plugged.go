package ca

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/lateen-mesh/lateen/internal/disk"
	"github.com/lateen-mesh/lateen/internal/identity"
)

// Plugged names the files, in PEM, of an authority that somebody else has made. All are given, or none; the chain may be left
// out when a root has signed the certificate, or is it.
type Plugged struct {
	CertChain   string // certificates between the one that signs and the root; may hold these two as well
	SigningCert string
	SigningKey  string
	RootCert    string // the roots that are trusted
}

// maxPEM bounds each of the files in bytes.
const maxPEM = 256 << 10

func (p Plugged) used() bool { return p != Plugged{} }

func (p Plugged) files() []string {
	files := []string{p.SigningCert, p.SigningKey, p.RootCert}
	if p.CertChain != "" {
		files = append(files, p.CertChain)
	}
	return files
}

// read reads the files, in the order of files.
func (p Plugged) read() ([][]byte, error) {
	if p.SigningCert == "" || p.SigningKey == "" || p.RootCert == "" {
		return nil, errors.New("an authority is plugged in with a signing certificate, its key and a root certificate: one is not given")
	}
	var texts [][]byte
	for _, path := range p.files() {
		text, err := disk.ReadFile(path, maxPEM)
		if err != nil {
			return nil, err
		}
		texts = append(texts, text)
	}
	return texts, nil
}

// signer puts together what the files hold.
func (p Plugged) signer(texts [][]byte, trustDomain string, now time.Time) (*signer, error) {
	certs, err := parseCertificates(texts[0])
	if err == nil && len(certs) == 0 {
		err = errors.New("there is no certificate")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.SigningCert, err)
	}
	block, rest := pem.Decode(texts[1])
	for block != nil && block.Type == "EC PARAMETERS" { // as openssl writes them before a key
		block, rest = pem.Decode(rest)
	}
	if block == nil || len(bytes.TrimSpace(rest)) > 0 {
		return nil, fmt.Errorf("%s: %w", p.SigningKey, errKey)
	}
	key, err := parseKey(block)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.SigningKey, err)
	}
	trust, err := identity.ParseBundle(trustDomain, texts[2])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.RootCert, err)
	}
	between := certs[1:]
	if len(texts) > 3 {
		more, err := parseCertificates(texts[3])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.CertChain, err)
		}
		between = append(between, more...)
	}
	s, err := newSigner(certs[0], key, between, trust, now)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.SigningCert, err)
	}
	return s, nil
}

func parseCertificates(text []byte) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != certificateBlock {
			return nil, errors.New("there is something else than certificates")
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	if len(bytes.TrimSpace(text)) > 0 {
		return nil, errors.New("there is something else than certificates")
	}
	return all, nil
}
