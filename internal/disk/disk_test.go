package disk_test

import (
	"bytes"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/lateen-mesh/lateen/internal/disk"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, dir string) *disk.Folder {
	t.Helper()
	f, err := disk.Open(dir)
	must(t, err)
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// A file is there as it was written last, for its owner only, and nothing else is left behind.
func TestWrite(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "b")
	f := open(t, dir)
	for _, text := range []string{"one", "", "three"} {
		must(t, f.Write("x/y/file", []byte(text)))
		if got, err := f.Read("x/y/file", 5); err != nil || string(got) != text {
			t.Errorf("%q is read for %q, %v", got, text, err)
		}
	}
	var there []string
	must(t, fs.WalkDir(f.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		must(t, err)
		info, err := entry.Info()
		must(t, err)
		there = append(there, name+" "+info.Mode().Perm().String())
		return nil
	}))
	if got, want := strings.Join(there, ", "), ". -rwx------, x -rwx------, x/y -rwx------, x/y/file -rw-------"; got != want {
		t.Errorf("there is %s, want %s", got, want)
	}
	if got := f.Path("x/y/file"); got != filepath.Join(dir, "x/y/file") {
		t.Errorf("its path is %s", got)
	}
	must(t, f.Remove("x/y/file"))
	if _, err := f.Read("x/y/file", 5); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after it was removed: %v", err)
	}
	if err := f.Remove("x/y/file"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removed again: %v", err)
	}
}

// Nothing is written through a folder that was given back.
func TestClosedFolder(t *testing.T) {
	t.Parallel()
	f, err := disk.Open(t.TempDir())
	must(t, err)
	must(t, f.Close())
	for _, name := range []string{"file", "x/y/file"} {
		if err := f.Write(name, nil); !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s is written with %v", name, err)
		}
	}
}

// What a crash left of a file that was being written is in nobody's way.
func TestUnfinishedFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, ".new"), []byte("half"), 0o400))
	f := open(t, dir)
	must(t, f.Write("file", []byte("whole")))
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != "file" {
		t.Errorf("there is %v, %v", entries, err)
	}
}

// Whoever reads while others write finds one of the files whole.
func TestWritesAtOnce(t *testing.T) {
	t.Parallel()
	f := open(t, t.TempDir())
	must(t, f.Write("file", nil))
	var all sync.WaitGroup
	for i := range 4 {
		text := bytes.Repeat([]byte{byte('a' + i)}, 10_000*(i+1))
		all.Go(func() {
			for range 5 {
				if err := f.Write("file", text); err != nil {
					t.Error(err)
				}
				got, err := f.Read("file", 40_000)
				if err != nil || len(got) == 0 || len(got) != 10_000*(int(got[0]-'a')+1) || bytes.Count(got, got[:1]) != len(got) {
					t.Errorf("a file of %d bytes is read, %v", len(got), err)
				}
			}
		})
	}
	all.Wait()
}

// oddities makes, beside the file "file", a link to it and one to nothing, a folder, a pipe, a link to the pipe and a socket.
func oddities(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	must(t, os.WriteFile(at("file"), []byte("12345"), 0o600))
	must(t, os.Symlink("file", at("link")))
	must(t, os.Symlink("nothing", at("dangling")))
	must(t, os.Mkdir(at("folder"), 0o700))
	must(t, syscall.Mkfifo(at("pipe"), 0o600))
	must(t, os.Symlink("pipe", at("piped")))
	socket, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", at("socket"))
	must(t, err)
	t.Cleanup(func() { _ = socket.Close() })
	return dir
}

// In its own folder only regular files are read, no links either, and nothing leads out of it.
func TestFolderReadsRegularFiles(t *testing.T) {
	t.Parallel()
	dir := oddities(t)
	f := open(t, filepath.Join(dir, "folder"))
	if _, err := f.Read("../file", 9); err == nil {
		t.Error("a file outside the folder is read")
	}
	if err := f.Write("../file", nil); err == nil {
		t.Error("a file outside the folder is written")
	}
	f = open(t, dir)
	for _, name := range []string{"link", "dangling", "folder", "pipe", "piped", "socket"} {
		if _, err := f.Read(name, 9); !errors.Is(err, disk.ErrNotRegular) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got, err := f.Read("file", 5); err != nil || string(got) != "12345" {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := f.Read("file", 4); !errors.Is(err, disk.ErrTooLarge) || len(got) > 4 {
		t.Errorf("%q, %v", got, err)
	}
}

// Anywhere else links are followed. What is no regular file keeps nobody waiting.
func TestReadFile(t *testing.T) {
	t.Parallel()
	dir := oddities(t)
	for _, c := range []struct {
		name string
		most int64
		want string
		err  error
	}{
		{"file", 5, "12345", nil},
		{"link", 6, "12345", nil},
		{"file", 4, "1234", disk.ErrTooLarge},
		{"dangling", 9, "", fs.ErrNotExist},
		{"none", 9, "", fs.ErrNotExist},
		{"file/below", 9, "", syscall.ENOTDIR},
		{"folder", 9, "", disk.ErrNotRegular},
		{"pipe", 9, "", disk.ErrNotRegular},
		{"piped", 9, "", disk.ErrNotRegular},
		{"socket", 9, "", disk.ErrNotRegular},
		{"/dev/zero", 9, "", disk.ErrNotRegular},
	} {
		path := c.name
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		got, err := disk.ReadFile(path, c.most)
		if string(got) != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %q, %v; want %q, %v", c.name, got, err, c.want, c.err)
		}
		if failed, ok := errors.AsType[*fs.PathError](err); c.err != nil && (!ok || failed.Path != path) {
			t.Errorf("%s: the error %q does not name it", c.name, err)
		}
	}
}
