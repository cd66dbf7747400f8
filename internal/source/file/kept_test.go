package file_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/cache"
	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/source/file"
)

// life is one run of a source that keeps what was good for the next.
type life struct {
	*watching
	end func() // returns when everything is on the disk
}

// live starts a source on a folder that keeps what was good in another.
func live(t *testing.T, dir, state string, paths ...string) life {
	t.Helper()
	return liveWith(t, dir, file.Config{Rescan: never, Cache: keptIn(t, state)}, paths...)
}

func keptIn(t *testing.T, dir string) *cache.Cache {
	t.Helper()
	kept, err := cache.Open(cache.Config{Dir: dir, Mesh: "shop", Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	return kept
}

// liveWith starts a source and its cache. Objects whose name begins with "secret" are never kept.
func liveWith(t *testing.T, dir string, c file.Config, paths ...string) life {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Cache.Run(ctx) }()
	c.Keeps = func(o *config.Object) bool { return !strings.HasPrefix(o.Name, "secret") }
	w := watchWith(t, dir, c, paths...)
	l := life{watching: w}
	l.end = sync.OnceFunc(func() {
		w.stop()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(l.end)
	return l
}

// readAt is how a hint says since when something is in force.
var readAt = regexp.MustCompile(`stays in force, read at \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`)

func TestWhatWasGoodSurvivesARestart(t *testing.T) {
	t.Parallel()
	three := object("a", "1") + "---\n" + object("b", "1") + "---\n" + object("c", "1")
	for name, c := range map[string]struct {
		away     string // what the file says when the program starts again
		objects  string
		problems []string
	}{
		"nothing is wrong":                {object("a", "2") + "---\n" + object("b", "1"), "a=2 b=1", nil},
		"one object is broken":            {object("a", "bad") + "---\n" + object("b", "2") + "---\n" + object("c", "1"), "a=1 b=2 c=1", []string{"f.yaml: bad"}},
		"and another was taken out":       {object("a", "bad") + "---\n" + object("b", "2"), "a=1 b=2", []string{"f.yaml: bad"}},
		"the frame of an object is wrong": {"apiVersion: v1\nkind: Test\nmetadata: {name: a}\nmetadata: {}\n", "a=1", []string{"f.yaml: duplicate-field"}},
		"a document is not YAML":          {object("b", "2") + "---\nkind: [\n", "a=1 b=2 c=1", []string{"f.yaml: syntax"}},
		"nothing is YAML":                 {"kind: [\n", "a=1 b=1 c=1", []string{"f.yaml: syntax"}},
		"a document has no name":          {"apiVersion: v1\nkind: Test\nmetadata: {}\n", "a=1 b=1 c=1", []string{"f.yaml: missing-field"}},
		"what is broken was never good":   {object("n", "bad"), "", []string{"f.yaml: bad"}},
		"the file is empty for a moment":  {"", "a=1 b=1 c=1", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, state := t.TempDir(), t.TempDir()
			write(t, dir, "f.yaml", three)
			first := live(t, dir, state, "")
			first.await("a=1 b=1 c=1")
			first.end()
			write(t, dir, "f.yaml", c.away)
			for range 2 { // the second restart finds what the first one kept
				again := live(t, dir, state, "")
				again.await(c.objects, c.problems...)
				if kept := strings.Contains(c.objects, "a=1"); c.problems != nil && kept != readAt.MatchString(again.hints) {
					t.Errorf("it is told that %s", again.hints)
				}
				again.end()
			}
		})
	}
}

func TestWhatWasTakenAwayMeanwhileStaysAway(t *testing.T) {
	t.Parallel()
	dir, state := t.TempDir(), t.TempDir()
	write(t, dir, "f.yaml", object("a", "1"))
	write(t, dir, "g.yaml", object("b", "1"))
	write(t, dir, "sub/h.yaml", object("h", "1"))
	l := live(t, dir, state, "")
	l.await("a=1 b=1 h=1")
	l.end()
	// The file is gone; the other one is broken, and its object stands elsewhere now; a folder cannot be read.
	must(t, os.Remove(filepath.Join(dir, "f.yaml")))
	write(t, dir, "g.yaml", "kind: [\n")
	write(t, dir, "z.yaml", object("b", "2"))
	must(t, os.Rename(filepath.Join(dir, "sub"), filepath.Join(dir, ".away")))
	must(t, os.Symlink("sub", filepath.Join(dir, "sub")))
	l = live(t, dir, state, "")
	l.await("h=1 b=2", "g.yaml: syntax", "sub: unreadable-file")
	must(t, os.Remove(filepath.Join(dir, "sub")))
	must(t, os.Rename(filepath.Join(dir, ".away"), filepath.Join(dir, "sub")))
	l.await("h=1 b=2", "g.yaml: syntax")
	l.end()
	must(t, os.RemoveAll(filepath.Join(dir, "sub")))
	live(t, dir, state, "").await("b=2", "g.yaml: syntax")
}

// What is revived stands where it stood, so that what is wrong with it is told at its place.
func TestRevivedObjectHasItsPlace(t *testing.T) {
	t.Parallel()
	dir, state := t.TempDir(), t.TempDir()
	write(t, dir, "f.yaml", "# about a\n"+object("a", "1")+"---\n# about b\n\n"+object("b", "1"))
	var lines []int
	for _, text := range []string{"", "kind: [\n"} {
		if text != "" {
			write(t, dir, "f.yaml", text)
		}
		l := live(t, dir, state, "")
		l.await("a=1 b=1", map[bool][]string{true: {"f.yaml: syntax"}}[text != ""]...)
		for _, o := range l.source.Objects() {
			lines = append(lines, o.Origin.Line, o.At("spec.x").Line)
		}
		l.end()
	}
	if want := []int{2, 6, 10, 14, 2, 6, 10, 14}; fmt.Sprint(lines) != fmt.Sprint(want) {
		t.Errorf("lines %v, want %v", lines, want)
	}
}

func TestWhatMayNotBeKeptIsNot(t *testing.T) {
	t.Parallel()
	dir, state := t.TempDir(), t.TempDir()
	write(t, dir, "f.yaml", object("a", "1")+"---\n"+object("secret", "hunter2")+
		"---\napiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Test\n  metadata: {name: secret2}\n  spec:\n    x: hunter2\n")
	l := live(t, dir, state, "")
	l.await("a=1 secret=hunter2 secret2=hunter2")
	write(t, dir, "f.yaml", object("a", "1")+"---\n"+object("secret", "bad"))
	l.await("a=1 secret=hunter2", "f.yaml: bad")
	l.end()
	data, err := os.ReadFile(filepath.Join(state, "files.json"))
	must(t, err)
	if !bytes.Contains(data, []byte("name: a")) || bytes.Contains(data, []byte("hunter2")) {
		t.Errorf("what is kept: %s", data)
	}
	live(t, dir, state, "").await("a=1", "f.yaml: bad")
}

// What was kept and cannot be used is a problem until it is written anew.
func TestRefusedCacheIsAProblem(t *testing.T) {
	t.Parallel()
	dir, state := t.TempDir(), t.TempDir()
	path := filepath.Join(state, "files.json")
	write(t, dir, "f.yaml", object("a", "1"))
	write(t, state, "files.json", "{}\n")
	l := liveWith(t, dir, file.Config{Rescan: 10 * time.Millisecond, Cache: keptIn(t, state)}, "")
	name, err := filepath.Rel(dir, path)
	must(t, err)
	l.await("a=1", name+": damaged-cache")
	l.await("a=1") // nothing but that has changed
	l.end()
	live(t, dir, state, "").await("a=1")
}
