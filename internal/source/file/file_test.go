package file_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/source/file"
)

const (
	never   = time.Hour // between slow looks, where a test is about notices
	atOnce  = 10 * time.Millisecond
	tooLong = time.Minute
)

// handed is what the source handed over: objects as "name=value", problems as "file: code".
type handed struct {
	objects  []string
	problems []string
	hints    string
}

// watching is a source at work in a folder of its own.
type watching struct {
	t      *testing.T
	dir    string
	handed chan handed
	all    []handed
	hints  string // of the problems handed over last
	source *file.Source
	stop   func()
}

// watch watches what paths name in the folder. An object whose value is "bad" is broken.
func watch(t *testing.T, dir string, rescan time.Duration, paths ...string) *watching {
	t.Helper()
	return watchWith(t, dir, file.Config{Rescan: rescan}, paths...)
}

func watchWith(t *testing.T, dir string, c file.Config, paths ...string) *watching {
	t.Helper()
	w := &watching{t: t, dir: dir, handed: make(chan handed, 100)}
	for i, p := range paths {
		paths[i] = filepath.Join(dir, p)
	}
	c.Paths, c.Log = paths, slog.New(slog.DiscardHandler)
	c.Check = func(o *config.Object) []mesh.Problem {
		if value(o) == "bad" {
			return []mesh.Problem{o.Problem("bad", "spec.x", "bad")}
		}
		return nil
	}
	c.Sink = func(_ context.Context, objects []config.Object, problems []mesh.Problem) error {
		var h handed
		for _, o := range objects {
			h.objects = append(h.objects, o.Name+"="+value(&o))
		}
		for _, p := range problems {
			name, _ := filepath.Rel(dir, p.Position.File)
			h.problems = append(h.problems, name+": "+p.Code)
			h.hints += p.Hint + "\n"
		}
		w.handed <- h
		return nil
	}
	s, err := file.New(c)
	w.source = s
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(w.stop)
	return w
}

func value(o *config.Object) string {
	_, v, _ := strings.Cut(o.Text, "x: ")
	v, _, _ = strings.Cut(v, "\n")
	return v
}

// await waits until exactly this is handed over.
func (w *watching) await(objects string, problems ...string) {
	w.t.Helper()
	want := handed{objects: strings.Fields(objects), problems: problems}
	timeout := time.After(tooLong)
	for {
		select {
		case h := <-w.handed:
			w.all, w.hints = append(w.all, h), h.hints
			if slices.Equal(h.objects, want.objects) && slices.Equal(h.problems, want.problems) {
				return
			}
		case <-timeout:
			w.t.Fatalf("want %v, were handed %v", want, w.all)
		}
	}
}

// always fails the test if an object was missing in anything handed over until now.
func (w *watching) always(name string) {
	w.t.Helper()
	for _, h := range w.all {
		if !slices.ContainsFunc(h.objects, func(o string) bool { return strings.HasPrefix(o, name+"=") }) {
			w.t.Errorf("%s was missing: %v", name, h)
		}
	}
}

func object(name, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Test\nmetadata: {name: %s}\nspec:\n  x: %s\n", name, value)
}

func (w *watching) write(name, text string) { write(w.t, w.dir, name, text) }

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestFolderIsReadAndFollowed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "b.yml", object("b", "1"))
	write(t, dir, "a.yaml", object("a", "1")+"---\n"+object("a2", "1"))
	write(t, dir, "sub/c.json", `{"apiVersion":"v1","kind":"Test","metadata":{"name":"c"}}`)
	write(t, dir, ".hidden.yaml", object("hidden", "1"))
	write(t, dir, ".git/d.yaml", object("hidden", "1"))
	write(t, dir, "notes.txt", object("text", "1"))
	must(t, os.Symlink(dir, filepath.Join(dir, "sub", "loop")))
	must(t, os.Symlink("nowhere.yaml", filepath.Join(dir, "dangling.yaml")))
	w := watch(t, dir, never, "")
	w.await("a=1 a2=1 b=1 c=")
	w.write("a.yaml", object("a", "2")+"---\n"+object("a2", "1"))
	w.await("a=2 a2=1 b=1 c=")
	w.write("new/deep/e.yaml", object("e", "1"))
	w.await("a=2 a2=1 b=1 e=1 c=")
	w.write("new/deep/e.yaml", object("e", "2"))
	w.await("a=2 a2=1 b=1 e=2 c=")
	must(t, os.Remove(filepath.Join(dir, "b.yml")))
	w.await("a=2 a2=1 e=2 c=")
	w.write("a.yaml", object("a", "2"))
	w.await("a=2 e=2 c=")
}

func TestWhatIsWrongKeepsWhatWasGood(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "f.yaml", object("a", "1")+"---\n"+object("b", "1"))
	write(t, dir, "g.yaml", object("g", "1"))
	w := watch(t, dir, never, "")
	w.await("a=1 b=1 g=1")

	// One object is broken: its last good version stays, and the other one changes.
	w.write("f.yaml", object("a", "2")+"---\n"+object("b", "bad"))
	w.await("a=2 b=1 g=1", "f.yaml: bad")
	// A document that is not YAML could be any object, so none goes; what can be read counts.
	w.write("f.yaml", object("a", "3")+"---\nkind: [\n")
	w.await("a=3 b=1 g=1", "f.yaml: syntax")
	w.write("f.yaml", "kind: [\n")
	w.await("a=3 b=1 g=1", "f.yaml: syntax")
	// A broken object that is new was never good.
	w.write("f.yaml", object("b", "2")+"---\n"+object("n", "bad"))
	w.await("b=2 g=1", "f.yaml: bad")
	w.write("f.yaml", object("b", "2")+"---\n"+object("n", "1"))
	w.await("b=2 n=1 g=1")
	must(t, os.Remove(filepath.Join(dir, "f.yaml")))
	w.await("g=1")
	w.always("g")
}

func TestObjectThatMovesToAnotherFileWhileItsOwnIsBroken(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "f.yaml", object("a", "1"))
	w := watch(t, dir, never, "")
	w.await("a=1")
	w.write("f.yaml", "kind: [\n")
	w.await("a=1", "f.yaml: syntax")
	w.write("g.yaml", object("a", "2"))
	w.await("a=2", "f.yaml: syntax")
	w.always("a")
}

func TestEditorsSaveInManyWays(t *testing.T) {
	t.Parallel()
	for name, save := range map[string]func(path, text string) error{
		"in place": func(path, text string) error { return os.WriteFile(path, []byte(text), 0o600) },
		"backup, then a new file": func(path, text string) error {
			if err := os.Rename(path, path+"~"); err != nil {
				return err
			}
			return os.WriteFile(path, []byte(text), 0o600)
		},
		"new file, then rename": func(path, text string) error {
			if err := os.WriteFile(path+".tmp", []byte(text), 0o600); err != nil {
				return err
			}
			return os.Rename(path+".tmp", path)
		},
		"in pieces": func(path, text string) error {
			f, err := os.Create(path)
			for i := 0; err == nil && i < len(text); i += 10 {
				_, err = f.WriteString(text[i:min(i+10, len(text))])
			}
			must(t, f.Close())
			return err
		},
	} {
		for kind, watched := range map[string]string{"file": "f.yaml", "folder": ""} {
			t.Run(name+", "+kind, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				write(t, dir, "f.yaml", object("a", "0"))
				w := watch(t, dir, never, watched)
				w.await("a=0")
				for i := range 3 {
					v := fmt.Sprint(i + 1)
					must(t, save(filepath.Join(dir, "f.yaml"), object("a", v)))
					w.await("a=" + v)
				}
				w.always("a")
			})
		}
	}
}

func TestConfigMapIsSwapped(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "..1/f.yaml", object("a", "1"))
	must(t, os.Symlink("..1", filepath.Join(dir, "..data")))
	must(t, os.Symlink("..data/f.yaml", filepath.Join(dir, "f.yaml")))
	for _, watched := range []string{"", "f.yaml"} {
		t.Run("watched "+watched, func(t *testing.T) {
			w := watch(t, dir, never, watched)
			w.await("a=1")
			write(t, dir, "..2/f.yaml", object("a", "2"))
			must(t, os.Symlink("..2", filepath.Join(dir, "..data_tmp")))
			must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
			w.await("a=2")
			w.always("a")
			must(t, os.Symlink("..1", filepath.Join(dir, "..data_tmp")))
			must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
			w.await("a=1")
		})
	}
}

func TestLinkedFileIsFollowed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "real/f.yaml", object("a", "1"))
	must(t, os.MkdirAll(filepath.Join(dir, "watched"), 0o700))
	must(t, os.Symlink("../real/f.yaml", filepath.Join(dir, "watched", "f.yaml")))
	w := watch(t, dir, never, "watched")
	w.await("a=1")
	w.write("real/f.yaml", object("a", "2"))
	w.await("a=2")
}

func TestEmptyFileWaitsForItsText(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "f.yaml", object("a", "1"))
	write(t, dir, "g.yaml", object("g", "1"))
	w := watch(t, dir, never, "")
	w.await("a=1 g=1")
	w.write("f.yaml", "") // as a shell does for "lateen get … > f.yaml", long before there is something to write
	w.write("g.yaml", object("g", "2"))
	w.await("a=1 g=2")
	w.write("f.yaml", object("a", "2"))
	w.await("a=2 g=2")

	w = watch(t, dir, atOnce, "")
	w.await("a=2 g=2")
	w.write("f.yaml", "")
	w.await("g=2") // when it stays empty, it is meant
}

func TestNamedPathThatIsGoneTakesNothingWithIt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "f.yaml", object("a", "1"))
	write(t, dir, "sub/b.yaml", object("b", "1"))
	w := watch(t, dir, never, "f.yaml", "sub")
	w.await("a=1 b=1")
	must(t, os.Remove(filepath.Join(dir, "f.yaml")))
	w.await("a=1 b=1", "f.yaml: unreadable-file")
	must(t, os.Rename(filepath.Join(dir, "sub"), filepath.Join(dir, "away")))
	w.await("a=1 b=1", "f.yaml: unreadable-file", "sub: unreadable-file")
	w.write("f.yaml", object("a", "2"))
	w.await("a=2 b=1", "sub: unreadable-file")
	w.write("sub/c.yaml", object("c", "1"))
	w.await("a=2 c=1")
	w.write("sub/c.yaml", object("c", "2"))
	w.await("a=2 c=2")
}

func TestSlowLooksFindWhatIsNotNoticed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	// The target of the middle link is in no folder that is watched.
	write(t, dir, "one/f.yaml", object("a", "1"))
	write(t, dir, "two/f.yaml", object("a", "2"))
	must(t, os.MkdirAll(filepath.Join(dir, "middle"), 0o700))
	must(t, os.MkdirAll(filepath.Join(dir, "watched"), 0o700))
	must(t, os.Symlink("../one", filepath.Join(dir, "middle", "link")))
	must(t, os.Symlink("../middle/link/f.yaml", filepath.Join(dir, "watched", "f.yaml")))
	w := watch(t, dir, atOnce, "watched")
	w.await("a=1")
	must(t, os.Symlink("../two", filepath.Join(dir, "middle", "next")))
	must(t, os.Rename(filepath.Join(dir, "middle", "next"), filepath.Join(dir, "middle", "link")))
	w.await("a=2")
}

func TestWhatCannotBeReadHidesNothingElse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	must(t, os.Symlink("knot.yaml", filepath.Join(dir, "knot.yaml")))
	write(t, dir, "sub/a.yaml", object("a", "1"))
	write(t, dir, "z.yaml", object("z", "1"))
	w := watch(t, dir, never, "")
	w.await("a=1 z=1", "knot.yaml: unreadable-file")
	must(t, os.Remove(filepath.Join(dir, "z.yaml")))
	w.await("a=1", "knot.yaml: unreadable-file")
	// A folder that cannot be read keeps what was read of it.
	must(t, os.Rename(filepath.Join(dir, "sub"), filepath.Join(dir, "tmp")))
	w.await("a=1", "knot.yaml: unreadable-file") // moved, not gone
	must(t, os.Remove(filepath.Join(dir, "tmp", "a.yaml")))
	w.await("", "knot.yaml: unreadable-file")
	must(t, os.Remove(filepath.Join(dir, "knot.yaml")))
	w.await("")
}

func TestPathsMustExistAtTheStart(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "rules.yaml")
	_, err := file.New(file.Config{Paths: []string{missing}})
	want := "watch files: stat " + missing + ": no such file or directory"
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestListNamesTheFilesOfAPath(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"b.yaml", "a.yml", "sub/c.json", "notes.txt", ".hidden.yaml"} {
		write(t, dir, name, "")
	}
	got, err := file.List(dir)
	must(t, err)
	want := []string{filepath.Join(dir, "a.yml"), filepath.Join(dir, "b.yaml"), filepath.Join(dir, "sub", "c.json")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	got, err = file.List(filepath.Join(dir, "notes.txt"))
	must(t, err)
	if diff := cmp.Diff([]string{filepath.Join(dir, "notes.txt")}, got); diff != "" {
		t.Errorf("a file that is named counts whatever it is called: %s", diff)
	}
}
