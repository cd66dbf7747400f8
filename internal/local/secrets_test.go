package local

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// files returns everything in the state folder that is no link, with its mode.
func (w *town) files() map[string]fs.FileMode {
	w.t.Helper()
	all := map[string]fs.FileMode{}
	err := filepath.WalkDir(w.config.StateDir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Type() == fs.ModeSymlink {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			all[path] = info.Mode()
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

// textOf returns a regular file, "" for anything else.
func textOf(t *testing.T, path string) string {
	t.Helper()
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Another user of the machine gets at nothing: no socket, no file and no folder of a running mesh is open to others, and
// there is no private key but where one must be.
func TestNothingIsForOthers(t *testing.T) {
	w := allSorted(t)
	old := syscall.Umask(0) // nothing may depend on it; the processes of the mesh inherit it
	defer syscall.Umask(old)
	w.running()
	kinds, keys := map[fs.FileMode]int{}, []string{}
	for path, mode := range w.files() {
		want := fs.FileMode(0o600)
		if mode.IsDir() {
			want = 0o700
		}
		if mode.Perm()&^want != 0 {
			t.Errorf("%s has mode %v", path, mode)
		}
		kinds[mode.Type()]++
		if strings.Contains(textOf(t, path), "PRIVATE KEY") {
			relative, err := filepath.Rel(w.config.StateDir, path)
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, regexp.MustCompile(`\.\.data-[^/]*`).ReplaceAllString(relative, "DATA"))
		}
	}
	slices.Sort(keys)
	if want := []string{"ca/root.pem", "proxies/shop-v1-0.default/DATA/key.pem"}; !slices.Equal(keys, want) {
		t.Errorf("keys are in %q, want %q", keys, want)
	}
	if kinds[fs.ModeSocket] < 6 || kinds[0] < 10 || kinds[fs.ModeDir] < 5 {
		t.Errorf("there are only so many sockets, files and folders: %v", kinds)
	}
}

// A folder in which others may write is no state folder, and is left as it is.
func TestStateFolderOfOthers(t *testing.T) {
	t.Parallel()
	for _, mode := range []fs.FileMode{0o777 | fs.ModeSticky, 0o770, 0o702} {
		dir := t.TempDir()
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		s, err := openState(dir, "town")
		if f, ok := errors.AsType[*Failure](err); !ok || !strings.Contains(f.Hint(), "chmod go-w "+dir) {
			t.Errorf("mode %v: %v, %v", mode, s, err)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
			t.Errorf("mode %v: there are %v, %v", mode, entries, err)
		}
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s, err := openState(dir, "town")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}

// A join token stands in no command line, no environment and no file, and what an agent asks through is open in no other process.
func TestTokensAreForAgents(t *testing.T) {
	t.Parallel()
	w := allSorted(t)
	w.running()
	token := regexp.MustCompile(`lateen1\.[A-Za-z0-9_-]{8}`)
	told := token.FindString(fmt.Sprint(w.out, w.err))
	for path := range w.files() {
		told += token.FindString(textOf(t, path))
	}
	agents := map[string]bool{} // sockets that agents have
	others := map[string]string{}
	for _, line := range survivors(w.dir()) {
		pid, command, _ := strings.Cut(line, " ")
		environ, err := os.ReadFile(filepath.Join("/proc", pid, "environ"))
		if err != nil {
			t.Fatal(err)
		}
		told += token.FindString(command + string(environ))
		for _, socket := range sockets(t, pid) {
			if strings.Contains(command, " agent ") {
				agents[socket] = true
			} else {
				others[socket] = command
			}
		}
	}
	if told != "" {
		t.Errorf("a token is to be found: %s", told)
	}
	if len(agents) < 3 {
		t.Errorf("the agents have the sockets %v", slices.Collect(maps.Keys(agents)))
	}
	pairs := 0
	for _, socket := range sockets(t, "self") { // the supervisor runs in this process
		if command, ok := others[socket]; ok {
			t.Errorf("a socket of the supervisor is open in %s", command)
		}
		pairs++
	}
	if pairs < 3 {
		t.Errorf("the supervisor has %d sockets", pairs)
	}
	for socket, command := range others {
		if agents[socket] {
			t.Errorf("a socket of an agent is open in %s", command)
		}
	}
}

// sockets returns the sockets that a process has.
func sockets(t *testing.T, pid string) []string {
	t.Helper()
	links, err := filepath.Glob(filepath.Join("/proc", pid, "fd", "*"))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && strings.HasPrefix(target, "socket:") {
			all = append(all, target)
		}
	}
	return all
}
