package ca

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
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

// texts reads the files.
func (p Plugged) texts(context.Context) (PluggedTexts, error) {
	if p.SigningCert == "" || p.SigningKey == "" || p.RootCert == "" {
		return PluggedTexts{}, errors.New("an authority is plugged in with a signing certificate, its key and a root certificate: one is not given")
	}
	var t PluggedTexts
	for _, file := range []struct {
		path string
		to   *Text
	}{{p.SigningCert, &t.Cert}, {p.SigningKey, &t.Key}, {p.RootCert, &t.Roots}, {p.CertChain, &t.Chain}} {
		if file.path == "" {
			continue
		}
		text, err := disk.ReadFile(file.path, maxPEM)
		if err != nil {
			return PluggedTexts{}, err
		}
		*file.to = Text{file.path, text}
	}
	return t, nil
}

// all lists the texts.
func (t PluggedTexts) all() []Text { return []Text{t.Cert, t.Key, t.Roots, t.Chain} }

// signer puts together what the texts hold.
func (t PluggedTexts) signer(trustDomain string, now time.Time) (*signer, error) {
	wrap := func(at Text, err error) error { return fmt.Errorf("%s: %w", at.Where, err) }
	certs, err := parseCertificates(t.Cert.Text)
	if err == nil && len(certs) == 0 {
		err = errors.New("there is no certificate")
	}
	if err != nil {
		return nil, wrap(t.Cert, err)
	}
	block, rest := pem.Decode(t.Key.Text)
	for block != nil && block.Type == "EC PARAMETERS" { // as openssl writes them before a key
		block, rest = pem.Decode(rest)
	}
	if block == nil || len(bytes.TrimSpace(rest)) > 0 {
		return nil, wrap(t.Key, errKey)
	}
	key, err := parseKey(block)
	if err != nil {
		return nil, wrap(t.Key, err)
	}
	trust, err := identity.ParseBundle(trustDomain, t.Roots.Text)
	if err != nil {
		return nil, wrap(t.Roots, err)
	}
	more, err := parseCertificates(t.Chain.Text)
	if err != nil {
		return nil, wrap(t.Chain, err)
	}
	s, err := newSigner(certs[0], key, slices.Concat(certs[1:], more), trust, now)
	if err != nil {
		return nil, wrap(t.Cert, err)
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
