package settings

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// watch watches a file, and returns what it says.
func watch(t *testing.T, path string) <-chan Reading {
	t.Helper()
	said, ended := make(chan Reading, 1), make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		ended <- Watch(ctx, Config{
			Path: path, Rescan: 100 * time.Millisecond, Log: slog.New(slog.DiscardHandler),
			Sink: func(ctx context.Context, r Reading) error {
				select {
				case said <- r:
				case <-ctx.Done():
				}
				return nil
			},
		})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return said
}

func next(t *testing.T, said <-chan Reading) Reading {
	t.Helper()
	select {
	case r := <-said:
		return r
	case <-time.After(20 * time.Second):
		t.Fatal("nothing is said")
		return Reading{}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestWatch follows a file that comes late, changes, goes and comes back.
func TestWatch(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "mesh")
	said := watch(t, path)
	if r := next(t, said); r.Found || r.Err != nil {
		t.Fatalf("a file that is not there: %+v", r)
	}
	for _, text := range []string{"a", "b"} {
		write(t, path+".new", text)
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
		if r := next(t, said); string(r.Text) != text || !r.Found || r.Err != nil {
			t.Fatalf("%+v, want %s", r, text)
		}
	}
	write(t, path, "") // about to be written
	write(t, path, "c")
	if r := next(t, said); string(r.Text) != "c" {
		t.Fatalf("%+v, want c", r)
	}
	write(t, path, "")
	if r := next(t, said); !r.Found || len(r.Text) > 0 {
		t.Fatalf("a file that stays empty: %+v", r)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if r := next(t, said); r.Err == nil || r.Found {
		t.Fatalf("a file that went: %+v", r)
	}
	write(t, path, "b")
	if r := next(t, said); string(r.Text) != "b" || r.Err != nil {
		t.Fatalf("a file that came back: %+v", r)
	}
}

// TestLinks follows a file as Kubernetes mounts ConfigMaps: a link to a file below a link that is replaced.
func TestLinks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, version := range []string{"1", "2"} {
		if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, version, "mesh"), version)
	}
	link := func(to, name string) {
		t.Helper()
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	link("1", "..data")
	link("..data/mesh", "mesh")
	said := watch(t, filepath.Join(dir, "mesh"))
	if r := next(t, said); string(r.Text) != "1" {
		t.Fatalf("%+v", r)
	}
	link("2", "..data_tmp")
	if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	if r := next(t, said); string(r.Text) != "2" {
		t.Fatalf("%+v", r)
	}
}
