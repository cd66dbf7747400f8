package file_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/source/file"
)

// A change of a file that an object names has everything handed over anew, however the file is replaced; one that no
// object names any more is nobody's business.
func TestFilesThatObjectsNameAreWatched(t *testing.T) {
	t.Parallel()
	dir, elsewhere := t.TempDir(), t.TempDir()
	write(t, dir, "f.yaml", object("a", "tls.crt"))
	write(t, elsewhere, "tls.crt", "one")
	write(t, elsewhere, "next", "three")
	w := watchWith(t, dir, file.Config{
		Rescan: never, Beside: func(o *config.Object) []string { return []string{filepath.Join(elsewhere, value(o))} },
	}, "f.yaml")
	w.await("a=tls.crt")
	write(t, elsewhere, "tls.crt", "two")
	w.await("a=tls.crt")
	must(t, os.Rename(filepath.Join(elsewhere, "next"), filepath.Join(elsewhere, "tls.crt")))
	w.await("a=tls.crt")
	must(t, os.Remove(filepath.Join(elsewhere, "tls.crt")))
	w.await("a=tls.crt")
	before := len(w.all)
	w.write("f.yaml", object("a", "other.crt"))
	w.await("a=other.crt")
	write(t, elsewhere, "tls.crt", "four")
	write(t, elsewhere, "other.crt", "one")
	w.await("a=other.crt")
	if n := len(w.all) - before; n != 2 {
		t.Errorf("two changes were handed over %d times", n)
	}
}
