package ca_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/attest"
	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/identity/identitytest"
	"github.com/lateen-mesh/lateen/internal/testkit"
)

// files are those of an authority to plug in.
type files struct{ chain, cert, key, root []byte }

func (f files) write(t testing.TB) ca.Plugged {
	t.Helper()
	dir := t.TempDir()
	p := ca.Plugged{
		SigningCert: write(t, dir, "cert.pem", f.cert), SigningKey: write(t, dir, "key.pem", f.key), RootCert: write(t, dir, "root.pem", f.root),
	}
	if f.chain != nil {
		p.CertChain = write(t, dir, "chain.pem", f.chain)
	}
	return p
}

// filesOf returns the files of an authority below a root.
func filesOf(t testing.TB, root, between, signing *identitytest.Authority) files {
	t.Helper()
	pem := identitytest.PEM
	f := files{cert: pem(signing.Cert), key: identitytest.KeyPEM(t, signing.Key), root: pem(root.Cert)}
	if between != nil {
		f.chain = pem(between.Cert)
	}
	return f
}

// selfSigned returns a root with a key of any kind.
func selfSigned(t testing.TB, key crypto.Signer) *identitytest.Authority {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "somebody's"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	root, err := x509.ParseCertificate(der)
	must(t, err)
	return &identitytest.Authority{TrustDomain: domain, Cert: root, Key: key}
}

// withoutKeyID returns the files of a root without an identifier of its key, which crypto/x509 does not make.
func withoutKeyID(t testing.TB) files {
	t.Helper()
	dir := t.TempDir()
	key, cert := filepath.Join(dir, "key.pem"), filepath.Join(dir, "cert.pem")
	if out, err := openssl(t, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", "/CN=nameless",
		"-addext", "keyUsage=critical,keyCertSign", "-addext", "subjectKeyIdentifier=none", "-addext", "authorityKeyIdentifier=none", "-keyout", key, "-out", cert); err != nil {
		t.Fatal(out, err)
	}
	certText, err := os.ReadFile(cert)
	must(t, err)
	keyText, err := os.ReadFile(key)
	must(t, err)
	return files{cert: certText, key: keyText, root: certText}
}

func TestPluggedIn(t *testing.T) {
	t.Parallel()
	root := identitytest.New(t, domain, time.Now())
	between := root.Below(t, "between")
	signing := between.Below(t, "signing")
	pemOf := identitytest.PEM
	whole := filesOf(t, root, between, signing)
	rsaRoot, p384 := selfSigned(t, rsaKey(t, 2048)), selfSigned(t, ecdsaKey(t, elliptic.P384()))
	sec1, err := x509.MarshalECPrivateKey(signing.Key.(*ecdsa.PrivateKey))
	must(t, err)
	with := func(f files, change func(*files)) files { change(&f); return f }
	for _, test := range []struct {
		name  string
		files files
		chain int // certificates that go with a leaf
	}{
		{"with one between", whole, 3},
		{"the chain has all", with(whole, func(f *files) { f.chain = pemOf(signing.Cert, between.Cert, root.Cert) }), 3},
		{"the chain stands behind the certificate", with(whole, func(f *files) { f.chain = nil; f.cert = pemOf(signing.Cert, between.Cert) }), 3},
		{"signed by a root", filesOf(t, root, nil, between), 2},
		{"a root", filesOf(t, root, nil, root), 1},
		{"a root of RSA", filesOf(t, rsaRoot, nil, rsaRoot), 1},
		{"a root on P-384", filesOf(t, p384, nil, p384), 1},
		{"one of two roots", with(whole, func(f *files) { f.root = pemOf(p384.Cert, root.Cert) }), 3},
		{"a key as openssl ecparam writes it", with(whole, func(f *files) {
			f.key = append(pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}}),
				pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1})...)
		}), 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, func(c *ca.Config) { c.Plugged = test.files.write(t) })
			p, key := identitytest.Peer(domain, "reviews", "127.9.8.1"), identitytest.NewKey(t)
			chain, err := r.Sign(t.Context(), newCSR(t, key, x509.CertificateRequest{}), attest.Attested{Peer: p, By: attest.ByToken})
			must(t, err)
			if len(chain) != test.chain {
				t.Errorf("the chain has %d certificates, want %d", len(chain), test.chain)
			}
			checkLeaf(t, r, chain[0], p)
			checkWithOthers(t, r.Bundle(), chain, p, key)
			if s := r.Status(); !s.PluggedIn || len(s.Issuing) != max(1, test.chain-1) {
				t.Errorf("the status is %+v", s)
			}
			if _, err := os.Stat(r.file(rootFile)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("there is a root of our own too: %v", err)
			}
			if bytes.Contains([]byte(tree(t, r.config.State)), []byte("PRIVATE")) {
				t.Error("the key was copied")
			}
		})
	}
}

func TestWhatCannotBePluggedIn(t *testing.T) {
	t.Parallel()
	now := time.Now()
	root, other := identitytest.New(t, domain, now), identitytest.New(t, domain, now)
	between := root.Below(t, "between")
	signing := between.Below(t, "signing")
	leaf := root.Leaf(t, identitytest.Peer(domain, "reviews", ""))
	old := root.Below(t, "old", identitytest.Until(now.Add(-time.Minute)))
	shallow := root.Below(t, "shallow", func(c *x509.Certificate) { c.MaxPathLenZero = true })
	noSigner := root.Below(t, "no signer", func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature })
	nameless := withoutKeyID(t)
	small, p224 := selfSigned(t, rsaKey(t, 1024)), selfSigned(t, ecdsaKey(t, elliptic.P224()))
	whole := filesOf(t, root, between, signing)
	with := func(change func(*files)) files { f := whole; change(&f); return f }
	for _, test := range []struct {
		name  string
		files files
		want  string
	}{
		{"another key", with(func(f *files) { f.key = identitytest.KeyPEM(t, other.Key) }), "the key is not that of the certificate"},
		{"no identifier of the key", nameless, "has no subject key identifier"},
		{"another root", with(func(f *files) { f.root = identitytest.PEM(other.Cert) }), "unknown authority"},
		{"nothing between", with(func(f *files) { f.chain = nil }), "unknown authority"},
		{"a workload's certificate", with(func(f *files) {
			f.cert, f.key = identitytest.PEM(leaf.Leaf), identitytest.KeyPEM(t, leaf.PrivateKey)
		}), "may not sign others"},
		{"one that may not sign", filesOf(t, root, nil, noSigner), "may not sign others"},
		{"one that has ended", filesOf(t, root, nil, old), "expired"},
		{"below one with nothing below", filesOf(t, root, shallow, shallow.Below(t, "too deep")), "too many intermediates"},
		{"a small RSA key", filesOf(t, small, nil, small), "RSA of 2048 to 4096 bits"},
		{"P-224", filesOf(t, p224, nil, p224), "ECDSA on P-256 or P-384"},
		{"no certificate", with(func(f *files) { f.cert = []byte("x") }), "something else than certificates"},
		{"an empty file", with(func(f *files) { f.cert = nil }), "there is no certificate"},
		{"no key", with(func(f *files) { f.key = []byte("secret words") }), "the key cannot be read"},
		{"a certificate as key", with(func(f *files) { f.key = f.cert }), "the key cannot be read"},
		{"two keys", with(func(f *files) { f.key = append(bytes.Clone(f.key), f.key...) }), "the key cannot be read"},
		{"a key among the roots", with(func(f *files) { f.root = append(bytes.Clone(f.root), f.key...) }), "holds certificates"},
		{"a key in the chain", with(func(f *files) { f.chain = f.key }), "something else than certificates"},
		{"a file that is too large", with(func(f *files) { f.chain = bytes.Repeat(f.chain, 1000) }), "too large"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			plugged := test.files.write(t)
			dir := filepath.Join(t.TempDir(), "state")
			_, err := ca.Open(ca.Config{State: dir, TrustDomain: domain, Plugged: plugged, Log: new(testkit.Output).Log()})
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "secret words") {
				t.Errorf("the error is %v, want %q", err, test.want)
			}
			if _, err := os.Stat(filepath.Join(dir, markerFile)); err == nil {
				t.Error("it is remembered all the same")
			}
		})
	}
	plugged := whole.write(t)
	for name, change := range map[string]func(*ca.Plugged){
		"no certificate": func(p *ca.Plugged) { p.SigningCert = "" }, "no key": func(p *ca.Plugged) { p.SigningKey = "" },
		"no root": func(p *ca.Plugged) { p.RootCert = "" }, "a missing file": func(p *ca.Plugged) { p.SigningKey += ".x" },
	} {
		some := plugged
		change(&some)
		if _, err := ca.Open(ca.Config{State: t.TempDir(), TrustDomain: domain, Plugged: some, Log: new(testkit.Output).Log()}); err == nil {
			t.Errorf("%s: it is taken", name)
		}
	}
}

// A mesh does not get a root of its own by a forgotten option, and a change of roots is told.
func TestPluggedInAndOut(t *testing.T) {
	t.Parallel()
	root := identitytest.New(t, domain, time.Now())
	r := newRig(t, func(c *ca.Config) { c.Plugged = filesOf(t, root, nil, root).write(t) })
	plugged := r.config.Plugged
	r.stop()
	r.config.Plugged = ca.Plugged{}
	before := tree(t, r.config.State)
	err := r.start()
	if u, ok := errors.AsType[*ca.Unusable](err); !ok || !strings.Contains(u.Hint(), "give its files again") {
		t.Errorf("without its files: %v", err)
	}
	if after := tree(t, r.config.State); after != before {
		t.Errorf("files have changed:\n%s\nto\n%s", before, after)
	}
	r.config.Plugged = plugged
	must(t, r.start())
	if strings.Contains(r.log.String(), "other roots") {
		t.Errorf("the same root is told: %s", r.log)
	}
	r.stop()
	other := identitytest.New(t, domain, time.Now())
	r.config.Plugged = filesOf(t, other, nil, other).write(t)
	must(t, r.start())
	if !strings.Contains(r.log.String(), "other roots") {
		t.Errorf("another root is not told: %s", r.log)
	}
	r.stop()
	must(t, os.Remove(r.file(markerFile))) // as the hint says
	r.config.Plugged = ca.Plugged{}
	must(t, r.start())
	if r.Status().PluggedIn {
		t.Error("the root is not our own")
	}
}

// Files that are somebody else's are watched, and left alone.
func TestPluggedInFilesAreWatched(t *testing.T) {
	t.Parallel()
	root := identitytest.New(t, domain, time.Now())
	r := newRig(t, func(c *ca.Config) { c.Plugged = filesOf(t, root, nil, root).write(t) })
	key := r.config.Plugged.SigningKey
	text, err := os.ReadFile(key)
	must(t, err)
	expect := func(want string) {
		t.Helper()
		r.Look()
		r.leafFor(t, identitytest.Peer(domain, "reviews", ""))
		if s := r.Status(); !strings.Contains(s.Problem, want) || (s.Problem == "") != (want == "") || s.Restored != 0 {
			t.Errorf("the problem is %q, want %q; %d were put back", s.Problem, want, s.Restored)
		}
	}
	expect("")
	must(t, os.Remove(key))
	expect("cannot be read, and the next start will fail")
	must(t, os.WriteFile(key, append(text, '\n'), 0o600))
	expect("has changed: the control plane goes on with what it has read")
	must(t, os.WriteFile(key, text, 0o600))
	expect("")
}
