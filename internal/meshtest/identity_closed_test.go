package meshtest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/netns"
	"github.com/lateen-mesh/lateen/internal/serve"
)

// somebody is the user and group of whom others tests are: nobody's, on every system.
const somebody = 65534

// pathsVariable has, for the process that runs as another user, the paths that it tries.
const pathsVariable = "LATEEN_TEST_PATHS"

// triesOf tries to use what stands at paths, and returns the paths where that worked.
func triesOf(paths []string) []string {
	var open []string
	for _, path := range paths {
		info, err := os.Lstat(path)
		if err != nil {
			continue // not even that
		}
		if info.Mode().Type() == fs.ModeSocket {
			if conn, err := net.Dial("unix", path); err == nil {
				conn.Close()
				open = append(open, path)
			}
			continue
		}
		for _, flags := range []int{os.O_RDONLY, os.O_WRONLY} {
			if file, err := os.OpenFile(path, flags, 0); err == nil {
				file.Close()
				open = append(open, path)
			}
		}
	}
	return open
}

// Another user of the machine can read nothing in the state folder of a mesh, and connect to none of its sockets, even where
// the folders themselves would let everybody in.
func TestOtherUsersSeeNothing(t *testing.T) {
	if text := os.Getenv(pathsVariable); text != "" { // the other user
		var paths []string
		if err := json.Unmarshal([]byte(text), &paths); err != nil {
			t.Fatal(err)
		}
		for _, path := range triesOf(paths) {
			fmt.Fprintln(os.Stderr, "open:", path)
		}
		return
	}
	t.Parallel()
	m := meshtest.New(t)
	server := m.Start("server", "v1", meshtest.Named("v1"))
	door := m.Door()
	secret, _ := secretOf(t, newAuthority(t), "shop-tls", "shop.example.com")
	m.Apply(secret)
	if _, err := m.Token(t.Context(), server.Workload); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{m.Dir, server.Dir, door.Dir} {
		if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // so that what is in it is on its own
			t.Fatal(err)
		}
	}
	allowed := []string{m.Dir, server.Dir, door.Dir}
	for _, i := range []*meshtest.Instance{server, door} {
		allowed = append(allowed, filepath.Join(i.Dir, "access.log")) // Envoy makes it; a command keeps it closed, too
	}
	paths := below(t, m.Dir)
	for _, name := range []string{
		"api.sock", "xds.sock", "ca/root.pem", "ca/tokens.json", "cache/stances.json",
		server.Name + "/sds.sock", server.Name + "/admin.sock", server.Name + "/identity.json", "objects/secrets/default/shop-tls.yaml", server.Name + "/bootstrap.json", door.Name + "/sds.sock",
	} {
		if path := filepath.Join(m.Dir, name); !slices.Contains(paths, path) || !slices.Contains(triesOf(paths), path) {
			t.Errorf("%s is not there, or its owner cannot use it: this test shows nothing of it", name)
		}
	}
	isAllowed := func(path string) bool { return slices.Contains(allowed, path) }
	for _, path := range slices.DeleteFunc(slices.Clone(paths), isAllowed) {
		if info, err := os.Lstat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
	}
	if os.Geteuid() != 0 {
		return // nobody can be somebody else
	}
	if open := slices.DeleteFunc(otherUser(t, paths), isAllowed); len(open) > 0 {
		t.Errorf("another user can use %q", open)
	}
}

// below lists what there is below a folder, and the folder.
func below(t *testing.T, dir string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if !errors.Is(err, fs.ErrNotExist) { // what was there a moment ago
			paths = append(paths, path)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// otherUser lets another user try to use what stands at paths, and returns what that user could.
func otherUser(t *testing.T, paths []string) []string {
	t.Helper()
	text, err := json.Marshal(paths)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestOtherUsersSeeNothing$")
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", pathsVariable+"="+string(text))
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: somebody, Gid: somebody}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var open []string
	for line := range strings.Lines(string(out)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "open: "); ok {
			open = append(open, path)
		}
	}
	slices.Sort(open)
	return open
}

// Where nothing else is configured, a control plane listens where it answers over mutual TLS, and on the socket of its API:
// there is no xDS without a proof of who asks.
func TestNothingElseListens(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		secure, err := new(net.ListenConfig).Listen(context.WithoutCancel(t.Context()), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		plane, err := serve.New(serve.Config{StateDir: dir, Namespace: meshtest.Namespace, Secure: secure, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- plane.Run(ctx) }()
		client := api.NewClient(filepath.Join(dir, api.SocketName))
		meshtest.Await(t, "the control plane", func() bool { _, err := client.Status(t.Context()); return err == nil })
		var sockets []string
		for _, path := range below(t, dir) {
			if info, err := os.Lstat(path); err == nil && info.Mode().Type() == fs.ModeSocket {
				sockets = append(sockets, filepath.Base(path))
			}
		}
		if !slices.Equal(sockets, []string{"api.sock"}) {
			t.Errorf("there are the sockets %q, want that of the API", sockets)
		}
		if got, want := listening(t), []string{secure.Addr().String()}; !slices.Equal(got, want) {
			t.Errorf("it listens on %q, want %q", got, want)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// listening lists the addresses of TCP on which anything listens in this network namespace.
func listening(t *testing.T) (all []string) {
	t.Helper()
	for _, name := range []string{"tcp", "tcp6"} {
		text, err := os.ReadFile("/proc/self/net/" + name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			const listens = "0A"
			fields := strings.Fields(line)
			if len(fields) < 4 || fields[3] != listens {
				continue
			}
			var ip [4]byte
			var port int
			if _, err := fmt.Sscanf(fields[1], "%02X%02X%02X%02X:%04X", &ip[3], &ip[2], &ip[1], &ip[0], &port); err != nil || name == "tcp6" {
				all = append(all, fields[1])
				continue
			}
			all = append(all, netip.AddrPortFrom(netip.AddrFrom4(ip), uint16(port)).String()) //nolint:gosec // of four digits
		}
	}
	return all
}
