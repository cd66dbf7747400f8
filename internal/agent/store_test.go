package agent

import (
	"bytes"
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/bootstrap"
)

// keptBy is one of the ways to keep a credential over a restart.
type keptBy interface {
	load(trustDomain string) (*credential, error)
	save(*credential) error
}

// What was kept is there again, for its owner only; the last one counts.
func TestKept(t *testing.T) {
	t.Parallel()
	d := newDirect(t, 0)
	for name, open := range map[string]func(dir string) (keptBy, string){
		"one file":     func(dir string) (keptBy, string) { return oneFile{dir}, identityName },
		"linked files": func(dir string) (keptBy, string) { return linkedFiles{dir}, bootstrap.KeyFile },
	} {
		dir := filepath.Join(t.TempDir(), "proxy")
		store, file := open(dir)
		if c, err := store.load(trustDomain); c != nil || err != nil {
			t.Errorf("%s: at first there is %v, %v", name, c, err)
		}
		for range 3 {
			want := d.credential(web)
			if err := store.save(want); err != nil {
				t.Fatal(err)
			}
			got, err := store.load(trustDomain)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			got.asked = at(time.Now)
			if err := got.check(web.Workload, time.Now()); err != nil || !got.leaf().Equal(want.leaf()) || !got.roots.Equal(want.roots) {
				t.Errorf("%s: kept %v, loaded %v, %v", name, want.leaf().SerialNumber, got.leaf().SerialNumber, err)
			}
		}
		path := filepath.Join(dir, file)
		if stat, err := os.Stat(path); err != nil || stat.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", name, stat.Mode(), err)
		}
		if err := os.Chmod(path, 0o640); err != nil {
			t.Fatal(err)
		}
		if _, err := store.load(trustDomain); err == nil || !strings.Contains(err.Error(), "0640") {
			t.Errorf("%s: a key that others can read is used: %v", name, err)
		}
	}
}

// Files that hold something else are errors without a word of the key.
func TestBadFile(t *testing.T) {
	t.Parallel()
	d := newDirect(t, 0)
	one, other := d.credential(web), d.credential(web)
	text, err := one.text()
	if err != nil {
		t.Fatal(err)
	}
	key, err := other.keyPEM()
	if err != nil {
		t.Fatal(err)
	}
	secret := strings.Split(string(key), "\n")[1]
	dir := t.TempDir()
	for name, content := range map[string][]byte{
		"nothing":        {},
		"no key":         one.chainPEM(),
		"a key alone":    key,
		"two keys":       append(bytes.Clone(key), text...),
		"something else": append(bytes.Clone(text), "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"...),
		"more":           append(bytes.Clone(text), "more"...),
		"a broken key":   bytes.Replace(append(bytes.Clone(key), one.chainPEM()...), []byte(secret[:20]), []byte("AAAAAAAAAAAAAAAAAAAA"), 1),
		"much":           bytes.Repeat(text, 2000),
	} {
		if err := os.WriteFile(filepath.Join(dir, identityName), content, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := oneFile{dir}.load(trustDomain)
		if err == nil || strings.Contains(err.Error(), secret[20:40]) {
			t.Errorf("%s: %v, %v", name, c, err)
		}
	}
	// The key of another certificate, and a certificate of another trust domain, are seen when they are checked.
	foreign, err := parseCredential(trustDomain, append(bytes.Clone(key), text[bytes.Index(text, []byte("-----BEGIN CERT")):]...))
	if err != nil {
		t.Fatal(err)
	}
	if err := foreign.check("", time.Now()); err == nil {
		t.Error("a certificate with another key is good")
	}
	if foreign, err = parseCredential("other.domain", text); err != nil {
		t.Fatal(err)
	}
	if err := foreign.check("", time.Now()); err == nil {
		t.Error("a certificate of another trust domain is good")
	}
	if err := one.check("web-v2-0.default", time.Now()); err == nil {
		t.Error("a certificate of another workload is good")
	}
	if err := one.check("", time.Now().Add(25*time.Hour)); err == nil {
		t.Error("a certificate that has expired is good")
	}
}

// Whoever reads while the files are replaced again and again finds a key and a certificate that belong together, and no file
// is ever missing. Old versions do not pile up.
func TestFilesMatch(t *testing.T) {
	t.Parallel()
	d := newDirect(t, 0)
	dir := t.TempDir()
	files := linkedFiles{dir}
	first := d.credential(web)
	versions := []*credential{first}
	for range 3 { // with the same key: see keepFiles
		versions = append(versions, &credential{key: first.key, chain: d.certify(first.key), roots: first.roots})
	}
	if err := files.save(first); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var reading sync.WaitGroup
	var reads [2]atomic.Int64
	for i, read := range []func() (cert, key []byte, err error){
		func() (cert, key []byte, err error) { // as Kubernetes says: resolve the link once
			data, err := filepath.EvalSymlinks(filepath.Join(dir, currentLink))
			cert, certErr := os.ReadFile(filepath.Join(data, bootstrap.CertificateFile))
			key, keyErr := os.ReadFile(filepath.Join(data, bootstrap.KeyFile))
			return cert, key, errors.Join(err, certErr, keyErr)
		},
		func() (cert, key []byte, err error) { // as gRPC does
			cert, certErr := os.ReadFile(filepath.Join(dir, bootstrap.CertificateFile))
			key, keyErr := os.ReadFile(filepath.Join(dir, bootstrap.KeyFile))
			return cert, key, errors.Join(certErr, keyErr)
		},
	} {
		reading.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				cert, key, err := read()
				if err != nil {
					t.Error(err)
				} else if _, err := tls.X509KeyPair(cert, key); err != nil {
					t.Error(err)
				}
				reads[i].Add(1)
			}
		})
	}
	for i := range 20 {
		if err := files.save(versions[i%len(versions)]); err != nil {
			t.Error(err)
		}
		for j := range reads { // until nobody reads in what was there before
			for before := reads[j].Load(); reads[j].Load() < before+2; {
				runtime.Gosched()
			}
		}
	}
	close(stop)
	reading.Wait()
	entries, err := os.ReadDir(dir)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if err != nil || len(names) != 6 {
		t.Errorf("in the folder there are %v, %v", names, err)
	}
}

// Nothing that is in a file makes the reader do anything but say so.
func FuzzParseCredential(f *testing.F) {
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nTrust: root\n\nAAAA\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := parseCredential(trustDomain, text)
		if (c == nil) == (err == nil) {
			t.Errorf("%v, %v", c, err)
		}
		if c != nil {
			_ = c.check(web.Workload, time.Now())
		}
	})
}
