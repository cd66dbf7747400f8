package ca

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lateen-mesh/lateen/internal/disk"
	"github.com/lateen-mesh/lateen/internal/identity"
)

// Files in the state folder.
const (
	lockFile = "ca.lock"
	// rootFile holds the root and its key.
	rootFile = "ca/root.pem"
	// foundFile is where a file goes that stood in the place of the root's and is not it; further ones get a number behind it.
	foundFile = "ca/root.pem.found"
	mostFound = 9
)

// maxRoot bounds the file of the root in bytes.
const maxRoot = 64 << 10

// Unusable is the error that the authority cannot be used until somebody has decided something.
type Unusable struct {
	Message string
	Advice  string // what to do
}

// Error returns what is wrong.
func (u *Unusable) Error() string { return u.Message }

// Hint returns what to do.
func (u *Unusable) Hint() string { return u.Advice }

// openState opens the state folder for one authority at a time: of two that start together, both would make a root.
func openState(dir string) (*disk.Folder, *os.File, error) {
	folder, err := disk.Open(dir)
	if err != nil {
		return nil, nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, nil, errors.Join(err, folder.Close())
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = &Unusable{Message: "another control plane uses the state folder " + dir, Advice: "stop it, or choose another folder"}
		}
		return nil, nil, errors.Join(err, lock.Close(), folder.Close())
	}
	return folder, lock, nil
}

// unlock gives the folder back also while a process that is just being started has the file too.
func unlock(lock *os.File) error {
	return errors.Join(unix.Flock(int(lock.Fd()), unix.LOCK_UN), lock.Close())
}

// load finds the signer: plugged in, kept, or made now.
func (a *Authority) load() (*signer, keeper, error) {
	known, err := readMarker(a.folder)
	if err != nil {
		return nil, nil, err
	}
	if a.c.Plugged.used() {
		return a.loadPlugged(known)
	}
	return a.loadOwn(known)
}

func (a *Authority) loadPlugged(known *marker) (*signer, keeper, error) {
	texts, err := a.c.Plugged.read()
	if err != nil {
		return nil, nil, err
	}
	s, err := a.c.Plugged.signer(texts, a.c.TrustDomain, a.c.Now())
	if err != nil {
		return nil, nil, err
	}
	if known != nil && !known.is(s) {
		a.c.Log.Warn("the mesh has other roots than before: workloads that trust those must be started again")
	}
	_, err = writeMarker(a.folder, known, newMarker(s, a.c.TrustDomain, true))
	return s, &pluggedKeeper{plugged: a.c.Plugged, texts: texts}, err
}

// loadOwn reads the root. It is made only where there is no trace of an earlier one.
func (a *Authority) loadOwn(known *marker) (*signer, keeper, error) {
	text, err := a.folder.Read(rootFile, maxRoot)
	if errors.Is(err, fs.ErrNotExist) && known == nil {
		return a.makeOwn()
	}
	if known != nil && known.PluggedIn {
		return nil, nil, a.unplugged(known)
	}
	if known != nil && known.TrustDomain != a.c.TrustDomain {
		return nil, nil, a.renamed(known)
	}
	var s *signer
	if err == nil {
		s, err = a.readOwn(text)
	}
	if err != nil {
		return nil, nil, a.lost(known, err)
	}
	if known != nil && !known.is(s) {
		return nil, nil, a.lost(known, errors.New("it is another root: "+identity.Fingerprint(s.cert)))
	}
	if err := a.tighten(text); err != nil {
		return nil, nil, err
	}
	return a.keep(s, text, known)
}

// keep has the files of a root that is ours looked after.
func (a *Authority) keep(s *signer, text []byte, known *marker) (*signer, keeper, error) {
	mark, err := writeMarker(a.folder, known, newMarker(s, a.c.TrustDomain, false))
	if err != nil {
		return nil, nil, err
	}
	stat, err := os.Lstat(a.folder.Path(rootFile))
	if err != nil {
		return nil, nil, err
	}
	return s, &ownKeeper{folder: a.folder, files: []keptFile{{rootFile, text}, {markerFile, mark}}, owner: ownerOf(stat)}, nil
}

func (a *Authority) readOwn(text []byte) (*signer, error) {
	cert, key, err := decodeRoot(text)
	if err != nil {
		return nil, err
	}
	return ownSigner(cert, key, a.c.TrustDomain, a.c.Now())
}

// makeOwn makes the root. The file comes first and the marker after it: a crash between the two leaves a root that is whole and
// that the next start takes.
func (a *Authority) makeOwn() (*signer, keeper, error) {
	s, err := makeRoot(a.c.TrustDomain, a.c.Now())
	if err != nil {
		return nil, nil, err
	}
	text, err := encodeRoot(s)
	if err != nil {
		return nil, nil, err
	}
	if err := a.folder.Write(rootFile, text); err != nil {
		return nil, nil, err
	}
	a.c.Log.Info("a root was made: keep a copy of its file", "file", a.folder.Path(rootFile))
	return a.keep(s, text, nil)
}

// tighten writes the root's file anew if others may read it.
func (a *Authority) tighten(text []byte) error {
	stat, err := os.Stat(a.folder.Path(rootFile))
	if err != nil || stat.Mode().Perm()&0o077 == 0 {
		return err
	}
	a.tellOpen(a.folder.Path(rootFile))
	return a.folder.Write(rootFile, text)
}

// lost says that the root is not there, and what can be done.
func (a *Authority) lost(known *marker, why error) error {
	which := ""
	if known != nil {
		which = fmt.Sprintf(" (SHA-256 %s)", known.Roots[0])
	}
	u := &Unusable{
		Message: fmt.Sprintf("the root of the mesh%s cannot be read from %s: %v", which, a.folder.Path(rootFile), why),
		Advice:  "put the file back from a copy; if there is none, " + a.begin(rootFile, markerFile),
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](why); ok && invalid.Reason == x509.Expired {
		u.Advice = "look at the clock of this machine; if it is right, " + a.begin(rootFile, markerFile)
	}
	return u
}

// begin says how to begin with a new root.
func (a *Authority) begin(files ...string) string {
	for i, name := range files {
		files[i] = a.folder.Path(name)
	}
	return fmt.Sprintf("stop the whole mesh, remove %s, and start it again: all workloads get certificates of a new root",
		strings.Join(files, " and "))
}

func (a *Authority) renamed(known *marker) error {
	return &Unusable{
		Message: fmt.Sprintf("the root of the mesh is of the trust domain %s, not of %s", known.TrustDomain, a.c.TrustDomain),
		Advice:  fmt.Sprintf("go on with %s, or %s", known.TrustDomain, a.begin(rootFile, markerFile)),
	}
}

func (a *Authority) unplugged(known *marker) error {
	return &Unusable{
		Message: fmt.Sprintf("the mesh has run with an authority that was plugged in (root SHA-256 %s), and none is given now", known.Roots[0]),
		Advice:  "give its files again; to change to a root of Lateen's own, " + a.begin(markerFile),
	}
}
