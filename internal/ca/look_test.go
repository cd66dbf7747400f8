package ca_test

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/identity"
)

// Who looks while an authority runs disturbs nobody, and is told what a start would be told.
func TestLooking(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	before := tree(t, r.config.State)
	kept, err := ca.Look(r.config.State, r.clock.Now())
	if err != nil || kept.TrustDomain != "cluster.local" || kept.Plugged || identity.Fingerprint(kept.Root) != r.fingerprint() {
		t.Fatalf("%+v, %v", kept, err)
	}
	if tree(t, r.config.State) != before {
		t.Error("looking has changed files")
	}
	text, err := os.ReadFile(r.file(rootFile))
	must(t, err)
	for name, c := range map[string]struct {
		edit func() error
		want string
	}{
		"lost":    {func() error { return os.Remove(r.file(rootFile)) }, "it is not there"},
		"cut":     {func() error { return os.WriteFile(r.file(rootFile), text[:len(text)/2], 0o600) }, "cannot be read from " + r.file(rootFile)},
		"another": {func() error { return os.WriteFile(r.file(rootFile), anotherRoot(t), 0o600) }, "it is another root"},
		"marker":  {func() error { return os.WriteFile(r.file(markerFile), []byte("{"), 0o600) }, "which remembers the root of the mesh"},
	} {
		mark, err := os.ReadFile(r.file(markerFile))
		must(t, err)
		must(t, c.edit())
		_, err = ca.Look(r.config.State, r.clock.Now())
		u, ok := errors.AsType[*ca.Unusable](err)
		if !ok || !strings.Contains(u.Message, c.want) || u.Hint() == "" {
			t.Errorf("%s: %v", name, err)
		}
		must(t, os.WriteFile(r.file(rootFile), text, 0o600))
		must(t, os.WriteFile(r.file(markerFile), mark, 0o600))
	}
	if _, err := ca.Look(t.TempDir(), r.clock.Now()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing: %v", err)
	}
}

// anotherRoot is the file of the root of another mesh.
func anotherRoot(t *testing.T) []byte {
	t.Helper()
	other := newRig(t)
	text, err := os.ReadFile(other.file(rootFile))
	must(t, err)
	return text
}
