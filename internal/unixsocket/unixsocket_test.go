package unixsocket

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// place returns a short path: those of sockets must be.
func place(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lt") //nolint:usetesting // TempDir holds the test's name, and paths of sockets are short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

func listen(t *testing.T, path string) net.Listener {
	t.Helper()
	l, err := Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestListen(t *testing.T) {
	t.Parallel()
	path := place(t)
	l := listen(t, path)
	stat, err := os.Stat(path)
	if err != nil || stat.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", stat.Mode(), err)
	}
	if l.Addr().String() != path {
		t.Errorf("the address is %s, want %s", l.Addr(), path)
	}
	if _, err := Listen(t.Context(), path); !errors.As(err, new(*InUse)) {
		t.Errorf("a second listener: %v, want InUse", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after Close the file is still there: %v", err)
	}
}

// A socket that a crash has left is replaced; one that took this one's place stays when this one is closed.
func TestReplaced(t *testing.T) {
	t.Parallel()
	path := place(t)
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	if err := left.Close(); err != nil {
		t.Fatal(err)
	}
	first := listen(t, path)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	second := listen(t, path)
	defer second.Close()
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	conn, err := new(net.Dialer).DialContext(t.Context(), "unix", path)
	if err != nil {
		t.Fatalf("the second listener has lost its file: %v", err)
	}
	_ = conn.Close()
}

func TestLongPath(t *testing.T) {
	t.Parallel()
	if _, err := Listen(t.Context(), "/"+strings.Repeat("x", 200)); err == nil || !strings.Contains(err.Error(), "201 bytes") {
		t.Errorf("a path of 201 bytes: %v", err)
	}
}
