package file_test

import (
	"os"
	"path/filepath"
	"syscall"
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

// What is no file in the place of a certificate, or of a watched file, keeps nobody waiting; when one comes, it is read.
func TestPipesAreNotReadFrom(t *testing.T) {
	t.Parallel()
	dir, elsewhere := t.TempDir(), t.TempDir()
	pipe, certificate := filepath.Join(dir, "p.yaml"), filepath.Join(elsewhere, "tls.crt")
	write(t, dir, "f.yaml", object("a", "tls.crt")+"---\n"+object("b", "."))
	must(t, syscall.Mkfifo(certificate, 0o600))
	must(t, syscall.Mkfifo(pipe, 0o600))
	w := watchWith(t, dir, file.Config{
		Rescan: never, Beside: func(o *config.Object) []string { return []string{filepath.Join(elsewhere, value(o))} },
	}, "f.yaml", "p.yaml")
	w.await("a=tls.crt b=.", "p.yaml: unreadable-file")
	write(t, elsewhere, "next", "one")
	must(t, os.Rename(filepath.Join(elsewhere, "next"), certificate))
	w.await("a=tls.crt b=.", "p.yaml: unreadable-file")
	must(t, os.Remove(pipe))
	w.write("p.yaml", object("c", "tls.crt"))
	w.await("a=tls.crt b=. c=tls.crt")
}
