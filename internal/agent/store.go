package agent

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/lateen-mesh/lateen/internal/disk"
	"github.com/lateen-mesh/lateen/internal/identity"
)

const (
	identityName = "identity.pem"
	maxIdentity  = 1 << 20 // bytes
	// rootHeader tells the roots in a file from the chain, which comes first.
	rootHeader = "Trust"
	rootValue  = "root"
)

// oneFile keeps a credential in one file: the key, its chain, and the roots.
type oneFile struct{ dir string }

// load returns nil when there is none.
func (f oneFile) load(trustDomain string) (*credential, error) {
	path := filepath.Join(f.dir, identityName)
	text, err := readPrivate(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // none
	}
	if err != nil {
		return nil, err
	}
	c, err := parseCredential(trustDomain, text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// save returns when it is on the disk.
func (f oneFile) save(c *credential) error {
	text, err := c.text()
	if err != nil {
		return err
	}
	folder, err := disk.Open(f.dir)
	if err != nil {
		return err
	}
	return errors.Join(folder.Write(identityName, text), folder.Close())
}

// text writes what [parseCredential] reads.
func (c *credential) text() ([]byte, error) {
	key, err := c.keyPEM()
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	text.Write(key)
	text.Write(c.chainPEM())
	for _, root := range c.roots.Roots {
		block := &pem.Block{Type: certificateBlock, Headers: map[string]string{rootHeader: rootValue}, Bytes: root.Raw}
		if err := pem.Encode(&text, block); err != nil {
			return nil, err
		}
	}
	return text.Bytes(), nil
}

// readPrivate reads a file with a key in it, which nobody else may be able to read.
func readPrivate(path string) ([]byte, error) {
	if stat, err := os.Stat(path); err != nil {
		return nil, err
	} else if mode := stat.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("%s has mode %04o: others can use the key in it. Take the file away, and ask for a new certificate with a new token", path, mode)
	}
	return disk.ReadFile(path, maxIdentity)
}

// parseCredential reads a key, a chain and roots, the latter marked as such.
func parseCredential(trustDomain string, text []byte) (*credential, error) {
	c := &credential{roots: identity.Bundle{TrustDomain: trustDomain}}
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type == keyBlock && c.key == nil {
			var err error
			if c.key, err = parseKey(block.Bytes); err != nil {
				return nil, err
			}
			continue
		}
		if block.Type != certificateBlock {
			return nil, fmt.Errorf("there should be one key and certificates, and there is %q", block.Type)
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		if block.Headers[rootHeader] == rootValue {
			c.roots.Roots = append(c.roots.Roots, certificate)
		} else {
			c.chain = append(c.chain, certificate)
		}
	}
	if c.key == nil || len(c.chain) == 0 || len(bytes.TrimSpace(text)) > 0 {
		return nil, errors.New("there should be a key, certificates and nothing else")
	}
	return c, nil
}

func parseKey(der []byte) (crypto.Signer, error) {
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("the private key cannot be read") // the reason may quote it
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("the private key cannot sign")
	}
	return signer, nil
}

// parsePair reads a chain and the key for its leaf.
func parsePair(chain, key []byte) (*credential, error) {
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, errors.New("the key and the certificate do not belong together, or are none")
	}
	signer, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, errors.New("the private key cannot sign")
	}
	c := &credential{key: signer}
	for _, der := range pair.Certificate {
		link, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		c.chain = append(c.chain, link)
	}
	return c, nil
}
