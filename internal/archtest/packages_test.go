package archtest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/lateen-mesh/lateen/internal/golden"
)

// TestPackagesPage wants the list of packages to be what their comments say. With -update it writes the list.
func TestPackagesPage(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	page, err := packagesOf(os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, packagesPage)
	if golden.Updating() {
		if err := os.WriteFile(path, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != page {
		t.Errorf("%s is not what the packages say (%v): make generate", packagesPage, err)
	}
}
