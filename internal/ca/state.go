package ca

import (
	"bytes"
	"context"
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

// lockFile is held by who uses the state folder.
const lockFile = "ca.lock"

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

// mostLoads bounds how often what is kept may change while it is read.
const mostLoads = 5

// load finds the signer: plugged in, kept, or made now. Others may make one in the same moment; then theirs is taken.
func (a *Authority) load(ctx context.Context) (s *signer, k keeper, err error) {
	for range mostLoads {
		if s, k, err = a.loadOnce(ctx); !errors.Is(err, errOvertaken) {
			break
		}
	}
	return s, k, err
}

// errOvertaken is the error that somebody else has just written what was to be written.
var errOvertaken = errors.New("what is kept of the authority was changed by somebody else")

func (a *Authority) loadOnce(ctx context.Context) (*signer, keeper, error) {
	known, err := a.readMarker(ctx)
	if err != nil {
		return nil, nil, err
	}
	if a.c.Plugged.used() {
		texts, err := a.c.Plugged.texts(ctx)
		if err != nil {
			return nil, nil, err
		}
		return a.loadPlugged(ctx, known, texts, a.c.Plugged.texts)
	}
	if p, ok := a.storage.(Pluggable); ok {
		texts, err := p.Plugged(ctx)
		if err == nil {
			return a.loadPlugged(ctx, known, texts, p.Plugged)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, err
		}
	}
	return a.loadOwn(ctx, known)
}

// readPlugged returns what is plugged in where the root is kept, nil for nothing that is whole.
func (a *Authority) readPlugged(ctx context.Context) (*signer, error) {
	p, ok := a.storage.(Pluggable)
	if !ok {
		return nil, nil //nolint:nilnil // nothing
	}
	texts, err := p.Plugged(ctx)
	if err != nil {
		return nil, err
	}
	return texts.signer(a.c.TrustDomain, a.c.Now())
}

func (a *Authority) loadPlugged(ctx context.Context, known *marker, texts PluggedTexts, again func(context.Context) (PluggedTexts, error)) (*signer, keeper, error) {
	s, err := texts.signer(a.c.TrustDomain, a.c.Now())
	if err != nil && known != nil && !known.PluggedIn && !a.c.Plugged.used() {
		return nil, nil, a.lost(known, err) // it is our own that was damaged
	}
	if err != nil {
		return nil, nil, err
	}
	if known != nil && !known.is(s) {
		a.c.Log.Warn("the mesh has other roots than before: workloads that trust those must be started again")
	}
	_, err = a.writeMarker(ctx, known, newMarker(s, a.c.TrustDomain, true))
	return s, &pluggedKeeper{read: again, was: texts}, err
}

// loadOwn reads the root. It is made only where there is no trace of an earlier one.
func (a *Authority) loadOwn(ctx context.Context, known *marker) (*signer, keeper, error) {
	text, err := a.storage.Read(ctx, RootPart)
	if errors.Is(err, ErrAway) {
		return nil, nil, err
	}
	if errors.Is(err, fs.ErrNotExist) && known == nil {
		return a.makeOwn(ctx)
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
	if !isSealed(a.storage, RootPart) {
		a.tellOpen(a.storage.Where(RootPart))
		if _, err := a.storage.Replace(ctx, RootPart, text); err != nil {
			return nil, nil, err
		}
	}
	return a.keep(ctx, s, text, known)
}

// keep has what is kept of a root that is ours looked after.
func (a *Authority) keep(ctx context.Context, s *signer, text []byte, known *marker) (*signer, keeper, error) {
	mark, err := a.writeMarker(ctx, known, newMarker(s, a.c.TrustDomain, false))
	if errors.Is(err, fs.ErrExist) {
		return nil, nil, fmt.Errorf("%w: %w", errOvertaken, err)
	}
	if err != nil {
		return nil, nil, err
	}
	return s, &ownKeeper{authority: a, signer: s, parts: []keptPart{{RootPart, text}, {MarkPart, mark}}}, nil
}

func (a *Authority) readOwn(text []byte) (*signer, error) {
	cert, key, err := decodeRoot(text)
	if err != nil {
		return nil, err
	}
	return ownSigner(cert, key, a.c.TrustDomain, a.c.Now())
}

// makeOwn makes the root. It comes first and the mark after it: a crash between the two leaves a root that is whole and that
// the next start takes. Where somebody was faster, theirs is the root.
func (a *Authority) makeOwn(ctx context.Context) (*signer, keeper, error) {
	if err := a.checkTraces(ctx); err != nil {
		return nil, nil, err
	}
	s, err := makeRoot(a.c.TrustDomain, a.c.Now())
	if err != nil {
		return nil, nil, err
	}
	text, err := encodeRoot(s)
	if err != nil {
		return nil, nil, err
	}
	if err := a.storage.Create(ctx, RootPart, text); err != nil {
		there, readErr := a.storage.Read(ctx, RootPart)
		switch {
		case readErr != nil:
			return nil, nil, err
		case !bytes.Equal(there, text):
			return nil, nil, fmt.Errorf("%w: %w", errOvertaken, err)
		} // else the answer was lost
	}
	a.c.Log.Info("a root was made: keep a copy of its file", "file", a.storage.Where(RootPart))
	return a.keep(ctx, s, text, nil)
}

// checkTraces returns an error when it is proven that somebody trusts a root of which nothing is kept.
func (a *Authority) checkTraces(ctx context.Context) error {
	t, ok := a.storage.(Traced)
	if !ok {
		return nil
	}
	trace, err := t.Trusted(ctx)
	if err != nil || trace.Fingerprint == "" {
		return err
	}
	if !trace.Proof {
		a.c.Log.Warn("a root is made, though another one is trusted: whoever has a certificate of that is a stranger until it gets a new one",
			"where", trace.Where, "sha256", trace.Fingerprint)
		return nil
	}
	var also []string
	if trace.Where != a.storage.Where(MarkPart) {
		also = append(also, trace.Where)
	}
	return a.lost(&marker{Roots: []string{trace.Fingerprint}}, fmt.Errorf("it is not there, and %s trusts it", trace.Where), also...)
}

// lost says that the root is not there, and what can be done; also is what else tells of the root.
func (a *Authority) lost(known *marker, why error, also ...string) error {
	which := ""
	if known != nil {
		which = fmt.Sprintf(" (SHA-256 %s)", known.Roots[0])
	}
	anew := begin(append([]string{a.storage.Where(RootPart), a.storage.Where(MarkPart)}, also...)...)
	u := &Unusable{
		Message: fmt.Sprintf("the root of the mesh%s cannot be read from %s: %v", which, a.storage.Where(RootPart), why),
		Advice:  "put it back from a copy; if there is none, " + anew,
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](why); ok && invalid.Reason == x509.Expired {
		u.Advice = "look at the clock of this machine; if it is right, " + anew
	}
	return u
}

// begin says how to begin with a new root, when these are removed.
func begin(where ...string) string {
	return fmt.Sprintf("stop the whole mesh, remove %s, and start it again: all workloads get certificates of a new root",
		strings.Join(where, " and "))
}

func (a *Authority) renamed(known *marker) error {
	return &Unusable{
		Message: fmt.Sprintf("the root of the mesh is of the trust domain %s, not of %s", known.TrustDomain, a.c.TrustDomain),
		Advice:  fmt.Sprintf("go on with %s, or %s", known.TrustDomain, begin(a.storage.Where(RootPart), a.storage.Where(MarkPart))),
	}
}

func (a *Authority) unplugged(known *marker) error {
	return &Unusable{
		Message: fmt.Sprintf("the mesh has run with an authority that was plugged in (root SHA-256 %s), and none is given now", known.Roots[0]),
		Advice:  "give its files again; to change to a root of Lateen's own, " + begin(a.storage.Where(MarkPart)),
	}
}
