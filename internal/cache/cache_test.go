package cache_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lateen-mesh/lateen/internal/cache"
	"github.com/lateen-mesh/lateen/internal/testkit"
)

// part is what the tests keep.
type part struct {
	Names []string `json:"names"`
	Count int      `json:"count"`
}

// newer is the same in a later program.
type newer struct {
	part
	Added string `json:"added"`
}

func open(t testing.TB, dir, mesh string) *cache.Cache {
	t.Helper()
	c, err := cache.Open(cache.Config{Dir: dir, Mesh: mesh, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsSavedIsLoaded(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "cache")
	before := time.Now().Truncate(time.Second)
	must(t, open(t, dir, "shop").Save("learned", part{Names: []string{"a", "<b>"}, Count: 2}))
	must(t, open(t, dir, "shop").Save("learned", part{Names: []string{"c"}, Count: 3}))
	for _, mesh := range []string{"shop", ""} {
		var got part
		saved, err := open(t, dir, mesh).Load("learned", &got)
		if err != nil || len(got.Names) != 1 || got.Count != 3 || saved.Before(before) || saved.After(time.Now()) {
			t.Errorf("mesh %q: %v at %v, %v", mesh, got, saved, err)
		}
	}
	if _, err := open(t, dir, "shop").Load("other", &part{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a part that was never saved: %v", err)
	}
	for name, want := range map[string]fs.FileMode{dir: 0o700 | fs.ModeDir, filepath.Join(dir, "learned.json"): 0o600} {
		if stat, err := os.Stat(name); err != nil || stat.Mode() != want {
			t.Errorf("%s has mode %v, want %v (%v)", name, stat.Mode(), want, err)
		}
	}
}

// saved returns what a file of a part looks like.
func saved(t testing.TB, name, mesh string, v any) []byte {
	t.Helper()
	dir := t.TempDir()
	must(t, open(t, dir, mesh).Save(name, v))
	data, err := os.ReadFile(filepath.Join(dir, name+".json"))
	must(t, err)
	return data
}

func TestWhatIsNotOursIsRefused(t *testing.T) {
	t.Parallel()
	good := saved(t, "learned", "shop", part{Names: []string{"a"}})
	for name, c := range map[string]struct {
		data []byte
		why  cache.Reason
		says string
	}{
		"empty":                 {nil, cache.Foreign, "does not begin"},
		"text":                  {[]byte("hello\n"), cache.Foreign, "does not begin"},
		"other JSON":            {[]byte("{}\n{}\n"), cache.Foreign, "does not begin"},
		"cut in the first line": {good[:20], cache.Foreign, "does not begin"},
		"cut after it":          {good[:bytes.IndexByte(good, '\n')+1], cache.Damaged, "checksum"},
		"cut at the end":        {good[:len(good)-1], cache.Damaged, "checksum"},
		"more at the end":       {append(bytes.Clone(good), '\n'), cache.Damaged, "checksum"},
		"another format":        {bytes.Replace(good, []byte("lateen-cache"), []byte("others-cache"), 1), cache.Foreign, "does not begin"},
		"a later format":        {bytes.Replace(good, []byte(`"version":1`), []byte(`"version":2`), 1), cache.Foreign, "number 2"},
		"content was changed":   {bytes.Replace(good, []byte(`"a"`), []byte(`"b"`), 1), cache.Damaged, "checksum"},
		"another part":          {saved(t, "other", "shop", part{}), cache.Foreign, `"other"`},
		"another mesh":          {saved(t, "learned", "bookinfo", part{}), cache.Foreign, `"bookinfo"`},
		"a later program":       {saved(t, "learned", "shop", newer{}), cache.Foreign, `unknown field "added"`},
		"something else":        {saved(t, "learned", "shop", "text"), cache.Foreign, "another version"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, "learned.json")
			must(t, os.WriteFile(path, c.data, 0o600))
			kept := open(t, dir, "shop")
			_, err := kept.Load("learned", &part{})
			refused, ok := errors.AsType[*cache.Refused](err)
			if !ok || refused.Why != c.why || !strings.Contains(refused.Detail, c.says) || refused.File != path {
				t.Fatalf("error %v, want %s", err, c.why)
			}
			if p := refused.Problem(); p.Position.File != path || !strings.Contains(p.Message, c.says) {
				t.Errorf("problem %v", p)
			}
			must(t, kept.Save("learned", part{Count: 7}))
			var got part
			if _, err := kept.Load("learned", &got); err != nil || got.Count != 7 {
				t.Errorf("after the next save: %v, %v", got, err)
			}
		})
	}
}

func TestOnlyRegularFilesAreRead(t *testing.T) {
	t.Parallel()
	dir, elsewhere := t.TempDir(), t.TempDir()
	must(t, open(t, elsewhere, "shop").Save("learned", part{Count: 1}))
	must(t, os.Symlink(filepath.Join(elsewhere, "learned.json"), filepath.Join(dir, "learned.json")))
	must(t, os.Mkdir(filepath.Join(dir, "folder.json"), 0o700))
	must(t, os.Symlink(filepath.Join(elsewhere, "victim"), filepath.Join(dir, ".new")))
	large, err := os.Create(filepath.Join(dir, "large.json"))
	must(t, err)
	must(t, errors.Join(large.Truncate(cache.MaxSize+1), large.Close()))
	kept := open(t, dir, "shop")
	for _, name := range []string{"learned", "folder", "large"} {
		_, err := kept.Load(name, &part{})
		if refused, ok := errors.AsType[*cache.Refused](err); !ok || refused.Why != cache.Unreadable {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A save puts a file in the place of a link, and nothing where the link leads.
	must(t, kept.Save("learned", part{Count: 2}))
	var here, there part
	_, err = kept.Load("learned", &here)
	must(t, err)
	_, err = open(t, elsewhere, "shop").Load("learned", &there)
	must(t, err)
	if here.Count != 2 || there.Count != 1 {
		t.Errorf("here %d, where the link led %d", here.Count, there.Count)
	}
	if _, err := os.Lstat(filepath.Join(elsewhere, "victim")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something was written through a link: %v", err)
	}
}

func TestNoNameLeadsOutOfTheFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	kept := open(t, filepath.Join(dir, "cache"), "shop")
	for _, name := range []string{"", ".", "..", "../x", "a/b", "/x", "a.b", "a\x00", "A", "-", "a-", strings.Repeat("a", 65)} {
		if err := kept.Save(name, part{}); err == nil {
			t.Errorf("%q was saved", name)
		}
		if _, err := kept.Load(name, &part{}); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q was looked for: %v", name, err)
		}
	}
	entries, err := os.ReadDir(dir)
	must(t, err)
	if len(entries) != 1 {
		t.Errorf("there are %v", entries)
	}
}

// What a crash leaves of a file that was being written changes nothing, and the next save takes its place.
func TestCrashBeforeTheFileIsInPlace(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	must(t, open(t, dir, "shop").Save("learned", part{Count: 1}))
	must(t, os.WriteFile(filepath.Join(dir, ".new"), []byte(`{"format":"lateen-ca`), 0o400))
	kept := open(t, dir, "shop")
	for want := 1; want <= 2; want++ {
		var got part
		if _, err := kept.Load("learned", &got); err != nil || got.Count != want {
			t.Errorf("got %v, %v; want %d", got, err, want)
		}
		must(t, kept.Save("learned", part{Count: 2}))
	}
	if _, err := os.Lstat(filepath.Join(dir, ".new")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
}

func TestSavesAtOnce(t *testing.T) {
	t.Parallel()
	kept := open(t, t.TempDir(), "shop")
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := range 5 {
				if err := kept.Save("learned", part{Count: n, Names: []string{strings.Repeat("x", 1000*i)}}); err != nil {
					t.Error(err)
				}
				var got part
				if _, err := kept.Load("learned", &got); err != nil || len(got.Names) != 1 {
					t.Errorf("%v: %v", got.Count, err)
				}
			}
		})
	}
	all.Wait()
}

// running is a cache at work.
type running struct {
	*cache.Cache
	dir  string
	log  testkit.Output
	stop func()
}

func run(t *testing.T) *running {
	t.Helper()
	r := &running{dir: filepath.Join(t.TempDir(), "cache")}
	var err error
	r.Cache, err = cache.Open(cache.Config{Dir: r.dir, Mesh: "shop", Log: slog.New(slog.NewTextHandler(&r.log, nil))})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(r.stop)
	return r
}

// on returns the count that is on the disk.
func (r *running) on(t *testing.T) string {
	t.Helper()
	var got part
	_, err := open(t, r.dir, "shop").Load("learned", &got)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(got.Count)
}

// The first value is saved at once, then only the newest of those that came within a second, and at the end the last.
func TestBurstsBecomeOneSave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := run(t)
		var saves atomic.Int64
		keep := func(count int) {
			r.Keep("learned", func() any { saves.Add(1); return part{Count: count} })
		}
		expect := func(when, count string, times int64) {
			t.Helper()
			synctest.Wait()
			if got := r.on(t); got != count || saves.Load() != times {
				t.Errorf("%s: %s on the disk after %d saves, want %s after %d", when, got, saves.Load(), count, times)
			}
		}
		expect("before", "learned: file does not exist", 0)
		keep(0)
		expect("at first", "0", 1)
		for i := range 100 {
			keep(i + 1)
		}
		expect("soon after", "0", 1)
		<-time.After(time.Second)
		expect("a second later", "100", 2)
		keep(101)
		expect("within the next second", "100", 2)
		r.stop()
		expect("at the end", "101", 3)
	})
}

// A disk that fails is told once, and what waits is saved when it is mended.
func TestDiskThatFailsIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := run(t)
		must(t, os.Mkdir(filepath.Join(r.dir, "learned.json"), 0o700))
		for i := range 5 {
			r.Keep("learned", func() any { return part{Count: i} })
			<-time.After(time.Minute)
		}
		if n := strings.Count(r.log.String(), "level=WARN"); n != 1 {
			t.Errorf("told %d times:\n%s", n, &r.log)
		}
		must(t, os.Remove(filepath.Join(r.dir, "learned.json")))
		<-time.After(time.Minute)
		if got := r.on(t); got != "4" || !strings.Contains(r.log.String(), "again") {
			t.Errorf("on the disk is %s:\n%s", got, &r.log)
		}
	})
}

// FuzzDamage changes one byte of a good file, or cuts it: it is refused unless it is as it was.
func FuzzDamage(f *testing.F) {
	good := saved(f, "learned", "shop", part{Names: []string{"reviews", "ratings"}, Count: 12})
	for at := range good {
		f.Add(at, byte(1<<(at%8)), false)
	}
	f.Add(3, byte(0), true)
	dir := f.TempDir()
	kept := open(f, dir, "shop")
	f.Fuzz(func(t *testing.T, at int, flip byte, cut bool) {
		data := bytes.Clone(good)
		at = int(uint(at) % uint(len(data)))
		data[at] ^= flip
		if cut {
			data = data[:at]
		}
		must(t, os.WriteFile(filepath.Join(dir, "learned.json"), data, 0o600))
		_, err := kept.Load("learned", &part{})
		if _, refused := errors.AsType[*cache.Refused](err); refused == bytes.Equal(data, good) {
			t.Errorf("byte %d with bits %b, cut %v: %v", at, flip, cut, err)
		}
	})
}
