package serve

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/lateen-mesh/lateen/internal/api"
)

// The token is made once, for its owner only, and kept; one that others may have read, or that is none, is replaced.
func TestToken(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, api.TokenFile)
	open := func() string {
		t.Helper()
		gate, err := openGate(dir)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Lstat(path)
		if err != nil || info.Mode() != 0o600 || gate.File != path {
			t.Fatalf("the file %s is %v %v, want mode 0600", gate.File, info, err)
		}
		return gate.Token
	}
	first := open()
	if !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(first) {
		t.Errorf("the token is %q, want 128 bits", first)
	}
	if again := open(); again != first {
		t.Errorf("at the second start the token is another one")
	}
	seen := map[string]bool{first: true}
	for name, spoil := range map[string]func() error{
		"readable by others": func() error { return os.Chmod(path, 0o644) }, //nolint:gosec // that is the case
		"empty":              func() error { return os.WriteFile(path, nil, 0o600) },
		"short":              func() error { return os.WriteFile(path, []byte("abcd\n"), 0o600) },
		"long":               func() error { return os.WriteFile(path, make([]byte, 1<<20), 0o600) },
		"a link": func() error {
			other := filepath.Join(dir, "other")
			if err := os.WriteFile(other, []byte(first+"\n"), 0o600); err != nil {
				return err
			}
			if err := os.Remove(path); err != nil {
				return err
			}
			return os.Symlink(other, path)
		},
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if next := open(); seen[next] {
			t.Errorf("%s: the token is kept", name)
		} else {
			seen[next] = true
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 { // the token and the file that a link led to
		t.Errorf("files are left over: %v %v", left, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := openGate(dir); err == nil {
		t.Error("a folder in the place of the token is no error")
	}
}
