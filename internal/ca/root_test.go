package ca_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/identity/identitytest"
)

const (
	rootFile   = "ca/root.pem"
	markerFile = "ca.made"
)

func TestRootIsMadeOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	made := r.fingerprint()
	root := r.Bundle().Roots[0]
	if !root.IsCA || root.MaxPathLen != 1 || root.KeyUsage != x509.KeyUsageCertSign|x509.KeyUsageCRLSign ||
		len(root.URIs) != 1 || root.URIs[0].String() != "spiffe://cluster.local" || root.NotAfter.Before(r.clock.Now().AddDate(9, 0, 0)) {
		t.Errorf("the root is %+v", root)
	}
	for name, mode := range map[string]os.FileMode{".": 0o700, "ca": 0o700, rootFile: 0o600, markerFile: 0o600, "ca.lock": 0o600} {
		if stat, err := os.Stat(r.file(name)); err != nil || stat.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v; want %s", name, stat.Mode(), err, mode)
		}
	}
	before := tree(t, r.config.State)
	for range 3 {
		r.stop()
		must(t, r.start())
		if r.fingerprint() != made {
			t.Fatal("a start has made another root")
		}
	}
	if after := tree(t, r.config.State); after != before {
		t.Errorf("starts have changed files:\n%s\nto\n%s", before, after)
	}
}

func TestOneAuthorityForAFolder(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	_, err := ca.Open(r.config)
	if u, ok := errors.AsType[*ca.Unusable](err); !ok || !strings.Contains(u.Message, "another control plane") {
		t.Errorf("the second is opened with %v", err)
	}
	r.stop()
	must(t, r.start())
}

// A root that was there and is not any more is told, with what to do, and nothing is made or changed.
func TestLostRootIsNeverReplaced(t *testing.T) {
	t.Parallel()
	other := newRig(t)
	another, err := os.ReadFile(other.file(rootFile))
	must(t, err)
	certificate := func(pem []byte) []byte { return pem[:bytes.Index(pem, []byte("-----BEGIN PRIVATE"))] }
	key := func(pem []byte) []byte { return pem[bytes.Index(pem, []byte("-----BEGIN PRIVATE")):] }
	rewrite := func(change func([]byte) []byte) func(t *testing.T, r *rig) {
		return func(t *testing.T, r *rig) {
			text, err := os.ReadFile(r.file(rootFile))
			must(t, err)
			must(t, os.WriteFile(r.file(rootFile), change(text), 0o600))
		}
	}
	aside := func(t *testing.T, r *rig) { must(t, os.Rename(r.file(rootFile), r.file("aside"))) }
	tests := []struct {
		name   string
		damage func(t *testing.T, r *rig)
		hint   string
	}{
		{"no file", func(t *testing.T, r *rig) { must(t, os.Remove(r.file(rootFile))) }, "from a copy"},
		{"no folder", func(t *testing.T, r *rig) { must(t, os.RemoveAll(r.file("ca"))) }, "from a copy"},
		{"an empty file", rewrite(func([]byte) []byte { return nil }), "from a copy"},
		{"half a file", rewrite(func(text []byte) []byte { return text[:len(text)/2] }), "from a copy"},
		{"another root", rewrite(func([]byte) []byte { return another }), "from a copy"},
		{"no key", rewrite(certificate), "from a copy"},
		{"no certificate", rewrite(key), "from a copy"},
		{"the key of another", rewrite(func(text []byte) []byte { return append(certificate(text), key(another)...) }), "from a copy"},
		{"more than there was", rewrite(func(text []byte) []byte { return append(text, another...) }), "from a copy"},
		{"zero bytes", rewrite(func(text []byte) []byte { return make([]byte, len(text)) }), "from a copy"},
		{"too large", rewrite(func(text []byte) []byte { return append(text, make([]byte, 1<<20)...) }), "from a copy"},
		{"a link", func(t *testing.T, r *rig) { aside(t, r); must(t, os.Symlink("../aside", r.file(rootFile))) }, "from a copy"},
		{"a folder", func(t *testing.T, r *rig) { aside(t, r); must(t, os.Mkdir(r.file(rootFile), 0o700)) }, "from a copy"},
		{"half of what is remembered", func(t *testing.T, r *rig) { must(t, os.Truncate(r.file(markerFile), 20)) }, "remove"},
		{"nothing of what is remembered", func(t *testing.T, r *rig) { must(t, os.Truncate(r.file(markerFile), 0)) }, "remove"},
		{"another form of what is remembered", func(t *testing.T, r *rig) {
			text, err := os.ReadFile(r.file(markerFile))
			must(t, err)
			must(t, os.WriteFile(r.file(markerFile), bytes.Replace(text, []byte("lateen-ca"), []byte("x"), 1), 0o600))
		}, "remove"},
		{"another trust domain", func(_ *testing.T, r *rig) { r.config.TrustDomain = "other.example" }, "go on with cluster.local"},
		{"a clock in the past", func(_ *testing.T, r *rig) { r.clock.move(-30 * 365 * 24 * time.Hour) }, "look at the clock"},
		{"a clock in the future", func(_ *testing.T, r *rig) { r.clock.move(30 * 365 * 24 * time.Hour) }, "look at the clock"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.stop()
			test.damage(t, r)
			before := tree(t, r.config.State)
			for range 2 { // the first refusal has not changed anything either
				err := r.start()
				if err == nil {
					t.Fatalf("it starts, with root %s", r.fingerprint())
				}
				if u, ok := errors.AsType[*ca.Unusable](err); !ok || !strings.Contains(u.Hint(), test.hint) || !strings.Contains(u.Hint(), r.config.State) {
					t.Errorf("the error is %v, %+v; want a hint with %q", err, u, test.hint)
				}
			}
			if after := tree(t, r.config.State); after != before {
				t.Errorf("files have changed:\n%s\nto\n%s", before, after)
			}
		})
	}
}

// What the hint says works: the copy is taken, or a new root is made when both files are gone.
func TestWhatTheHintSays(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	made := r.fingerprint()
	copied, err := os.ReadFile(r.file(rootFile))
	must(t, err)
	r.stop()
	must(t, os.Remove(r.file(rootFile)))
	if r.start() == nil {
		t.Fatal("it starts without a root")
	}
	must(t, os.WriteFile(r.file(rootFile), copied, 0o600))
	must(t, r.start())
	if r.fingerprint() != made {
		t.Error("the copy is not taken")
	}
	r.stop()
	must(t, errors.Join(os.Remove(r.file(rootFile)), os.Remove(r.file(markerFile))))
	must(t, r.start())
	if r.fingerprint() == made {
		t.Error("there is no new root")
	}
}

// A first start that was broken off is made up for. A root that is whole by then is the root.
func TestFirstStartWasBrokenOff(t *testing.T) {
	t.Parallel()
	other := newRig(t)
	made, err := os.ReadFile(other.file(rootFile))
	must(t, err)
	for name, files := range map[string]map[string]string{
		"folder":              {"ca/": ""},
		"half a root":         {"ca/.new": string(made[:100])},
		"an empty root":       {"ca/.new": ""},
		"a root without name": {"ca/.new": string(made)},
		"a root":              {rootFile: string(made)},
		"half of the mark":    {rootFile: string(made), ".new": `{"format":`},
		"tokens":              {"ca/tokens.json": `{"format":"lateen-tokens","version":1,"tokens":[]}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.stop()
			must(t, os.RemoveAll(r.config.State))
			for file, text := range files {
				must(t, os.MkdirAll(filepath.Dir(r.file(file)+"x"), 0o700))
				if !strings.HasSuffix(file, "/") {
					must(t, os.WriteFile(r.file(file), []byte(text), 0o600))
				}
			}
			must(t, r.start())
			if first := r.fingerprint(); (first == other.fingerprint()) != (files[rootFile] != "") {
				t.Errorf("the root is %s; what was there is %s", first, other.fingerprint())
			}
			first := r.fingerprint()
			r.stop()
			must(t, r.start())
			if r.fingerprint() != first {
				t.Error("the next start has another root")
			}
			for _, left := range []string{"ca/.new", ".new"} {
				if _, err := os.Stat(r.file(left)); err == nil {
					t.Errorf("%s is left", left)
				}
			}
		})
	}
}

// While the authority runs it keeps signing, tells that a file was lost, and puts it back.
func TestRootIsPutBack(t *testing.T) {
	t.Parallel()
	other := newRig(t)
	another, err := os.ReadFile(other.file(rootFile))
	must(t, err)
	for _, test := range []struct {
		name   string
		damage func(t *testing.T, r *rig)
		files  int    // put back
		found  string // what is set aside
	}{
		{"no file", func(t *testing.T, r *rig) { must(t, os.Remove(r.file(rootFile))) }, 1, ""},
		{"no folder", func(t *testing.T, r *rig) { must(t, os.RemoveAll(r.file("ca"))) }, 1, ""},
		{"no mark", func(t *testing.T, r *rig) { must(t, os.Remove(r.file(markerFile))) }, 1, ""},
		{"neither", func(t *testing.T, r *rig) {
			must(t, errors.Join(os.RemoveAll(r.file("ca")), os.Remove(r.file(markerFile))))
		}, 2, ""},
		{"damaged", func(t *testing.T, r *rig) { must(t, os.WriteFile(r.file(rootFile), []byte("x"), 0o600)) }, 1, "x"},
		{"empty", func(t *testing.T, r *rig) { must(t, os.Truncate(r.file(rootFile), 0)) }, 1, ""},
		{"another root", func(t *testing.T, r *rig) { must(t, os.WriteFile(r.file(rootFile), another, 0o600)) }, 1, string(another)},
		{"a link", func(t *testing.T, r *rig) {
			must(t, errors.Join(os.Remove(r.file(rootFile)), os.Symlink(other.file(rootFile), r.file(rootFile))))
		}, 1, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			text, err := os.ReadFile(r.file(rootFile))
			must(t, err)
			made := r.fingerprint()
			r.Look()
			if r.Status().Restored != 0 {
				t.Errorf("nothing was lost, and is told: %s", r.log)
			}
			test.damage(t, r)
			r.leafFor(t, identitytest.Peer(domain, "reviews", ""))
			r.Look()
			if got, err := os.ReadFile(r.file(rootFile)); err != nil || !bytes.Equal(got, text) {
				t.Errorf("the file is %q, %v", got, err)
			}
			if found, _ := os.ReadFile(r.file("ca/root.pem.found")); string(found) != test.found {
				t.Errorf("set aside is %q, want %q", found, test.found)
			}
			if s := r.Status(); s.Restored != test.files || s.Problem != "" || strings.Count(r.log.String(), "was put back") != test.files {
				t.Errorf("put back: %d, problem %q, want %d files; told is\n%s", s.Restored, s.Problem, test.files, r.log)
			}
			r.stop()
			must(t, r.start())
			if r.fingerprint() != made {
				t.Error("the next start has another root")
			}
		})
	}
}

// What cannot be put back is a problem, told once, until it can.
func TestRootCannotBePutBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	must(t, errors.Join(os.RemoveAll(r.file("ca")), os.WriteFile(r.file("ca"), nil, 0o600)))
	for range 3 {
		r.Look()
		r.leafFor(t, identitytest.Peer(domain, "reviews", ""))
	}
	if s := r.Status(); !strings.Contains(s.Problem, r.file(rootFile)) || s.Restored != 0 {
		t.Errorf("the problem is %q; %d were put back", s.Problem, s.Restored)
	}
	if n := strings.Count(r.log.String(), "is not as it was"); n != 1 {
		t.Errorf("it is told %d times:\n%s", n, r.log)
	}
	must(t, os.Remove(r.file("ca")))
	r.Look()
	if s := r.Status(); s.Problem != "" || s.Restored != 1 {
		t.Errorf("afterwards the problem is %q; %d were put back", s.Problem, s.Restored)
	}
}

// Run looks by itself, and ends with its context.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- r.Run(ctx) }()
		must(t, os.Remove(r.file(rootFile)))
		<-time.After(6 * time.Second)
		synctest.Wait()
		if _, err := os.Stat(r.file(rootFile)); err != nil {
			t.Errorf("after 6 seconds: %v", err)
		}
		cancel()
		must(t, <-ended)
	})
}

// A key that others could read is for its owner only from then on, and that is told.
func TestOthersCouldReadTheKey(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	made := r.fingerprint()
	r.stop()
	must(t, os.Chmod(r.file(rootFile), 0o640))
	must(t, r.start())
	stat, err := os.Stat(r.file(rootFile))
	must(t, err)
	if stat.Mode().Perm() != 0o600 || r.fingerprint() != made || !strings.Contains(r.log.String(), "others could read") {
		t.Errorf("the mode is %s; told is\n%s", stat.Mode(), r.log)
	}
}

// That is seen while the authority runs, too: somebody else's file, or one for others to read, is made anew.
func TestOthersMayReadTheKey(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for i, mode := range []fs.FileMode{0o644, 0o640, 0o601} {
		must(t, os.Chmod(r.file(rootFile), mode))
		r.Look()
		r.Look()
		stat, err := os.Stat(r.file(rootFile))
		must(t, err)
		if told := strings.Count(r.log.String(), "others could read"); stat.Mode().Perm() != 0o600 || told != i+1 || r.Status().Restored != i+1 {
			t.Errorf("from %s its mode is %s; told %d times", mode, stat.Mode(), told)
		}
	}
	if os.Geteuid() == 0 { // nobody else may give files away
		must(t, os.Chown(r.file(rootFile), 4242, -1))
		r.Look()
		stat, err := os.Stat(r.file(rootFile))
		must(t, err)
		if owner := stat.Sys().(*syscall.Stat_t).Uid; owner != 0 || r.Status().Restored != 4 {
			t.Errorf("its owner is %d; told is\n%s", owner, r.log)
		}
	}
	if _, err := os.Stat(r.file("ca/root.pem.found")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the root itself was set aside: %v", err)
	}
}

// What was set aside may be the only copy of a key: nothing takes its place, and nobody else reads it.
func TestWhatIsSetAsideStays(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for i := range 11 {
		for range 2 {
			must(t, os.WriteFile(r.file(rootFile), fmt.Append(nil, i), 0o644))
			r.Look()
		}
	}
	for i := range 11 {
		name := "ca/root.pem.found"
		if i > 0 {
			name += fmt.Sprint(".", i+1)
		}
		stat, err := os.Stat(r.file(name))
		if i >= 9 {
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("there is %s as well: %v", name, err)
			}
			continue
		}
		must(t, err)
		if text, err := os.ReadFile(r.file(name)); err != nil || string(text) != fmt.Sprint(i) || stat.Mode().Perm() != 0o600 {
			t.Errorf("%s is %q, %s, %v", name, text, stat.Mode(), err)
		}
	}
	if n := strings.Count(r.log.String(), "is not kept"); n != 4 || r.Status().Restored != 22 {
		t.Errorf("that something is not kept is told %d times; %d were put back", n, r.Status().Restored)
	}
}

// The key is in its file and nowhere else.
func TestKeyIsNowhereElse(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	text, err := os.ReadFile(r.file(rootFile))
	must(t, err)
	_, body, _ := strings.Cut(string(text), "-----BEGIN PRIVATE KEY-----\n")
	body, _, _ = strings.Cut(body, "\n-----END")
	der, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(body, "\n", ""))
	must(t, err)
	r.leafFor(t, identitytest.Peer(domain, "reviews", ""))
	must(t, os.WriteFile(r.file(rootFile), text[:len(text)-40], 0o600))
	r.stop()
	broken := r.start()
	if broken == nil {
		t.Fatal("a broken root is taken")
	}
	must(t, os.WriteFile(r.file(rootFile), text, 0o600))
	must(t, r.start())
	must(t, os.Remove(r.file(rootFile)))
	r.Look()
	all := r.log.String() + broken.Error() + tree(t, r.config.State)
	all = strings.Replace(all, strings.Trim(strings.ReplaceAll(string(text), "\n", `\n`), `"`), "", 1) // in its own file
	for _, secret := range []string{body[:60], string(der[len(der)-100 : len(der)-80]), base64.StdEncoding.EncodeToString(der[36:68])} {
		if strings.Contains(all, secret) {
			t.Errorf("the key is in\n%s", all)
		}
	}
}
