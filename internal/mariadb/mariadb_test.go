package mariadb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/internal/bookinfo"
	"github.com/lateen-mesh/lateen/internal/netns"
)

const (
	stars = `200 {"id":0,"ratings":{"Reviewer1":5,"Reviewer2":4}}`
	none  = `500 {"error":"could not connect to ratings database"}`
)

// ratings makes ratings v2 on a database.
func ratings(t *testing.T, d bookinfo.Database, log *bytes.Buffer) http.Handler {
	t.Helper()
	h, err := bookinfo.New("ratings", bookinfo.Config{
		Version: "v2", Database: d, Logger: slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// answer is what ratings says, with the status before it.
func answer(t *testing.T, ratings http.Handler) string {
	t.Helper()
	w := httptest.NewRecorder()
	ratings.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/ratings/0", nil))
	return fmt.Sprint(w.Code, " ", w.Body)
}

func expect(t *testing.T, ratings http.Handler, when, want string) {
	t.Helper()
	if diff := cmp.Diff(want, answer(t, ratings)); diff != "" {
		t.Errorf("%s, ratings v2 answers (-want +got):\n%s", when, diff)
	}
}

// BookInfo's ratings follow the database: there, away, and back.
func TestRatings(t *testing.T) {
	t.Parallel()
	server := Start(t, "")
	var log bytes.Buffer
	h := ratings(t, bookinfo.Database{Host: server.Address, User: User, Password: Password}, &log)
	expect(t, h, "with the database", stars)
	expect(t, h, "asked again", stars)
	server.Stop()
	expect(t, h, "without the database", none)
	Start(t, server.Address)
	expect(t, h, "with the database back", stars)
	if n := strings.Count(log.String(), "no stars from the database"); n != 1 || strings.Contains(log.String(), "err=<nil>") {
		t.Errorf("%d failures are logged, want 1:\n%s", n, log.String())
	}
}

func TestWrongPassword(t *testing.T) {
	t.Parallel()
	const wrong = "swordfish"
	server := Start(t, "")
	for name, d := range map[string]bookinfo.Database{
		"wrong password": {Host: server.Address, User: User, Password: wrong},
		"wrong user":     {Host: server.Address, User: "nobody", Password: wrong},
	} {
		var log bytes.Buffer
		expect(t, ratings(t, d, &log), "with a "+name, none)
		if text := log.String(); !strings.Contains(text, "Access denied") || strings.Contains(text, wrong) {
			t.Errorf("%s: logged, want the reason without the password:\n%s", name, text)
		}
	}
}

// The rows are read as they are: any number of reviewers, and none for those without a rating.
func TestRows(t *testing.T) {
	t.Parallel()
	server := Start(t, "")
	h := ratings(t, bookinfo.Database{Host: server.Address, User: User, Password: Password}, &bytes.Buffer{})
	db, err := open(server.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }() // nobody is left to tell
	for _, c := range []struct{ change, want string }{
		{"INSERT INTO ratings VALUES (3, NULL), (4, 1)", `200 {"id":0,"ratings":{"Reviewer1":5,"Reviewer2":4,"Reviewer4":1}}`},
		{"DELETE FROM ratings", `200 {"id":0,"ratings":{}}`},
		{"INSERT INTO ratings VALUES (1, 1)", `200 {"id":0,"ratings":{"Reviewer1":1}}`},
		{"DROP TABLE ratings", none},
	} {
		if _, err := db.ExecContext(t.Context(), c.change); err != nil {
			t.Fatal(err)
		}
		expect(t, h, "after "+c.change, c.want)
	}
}

// A test may choose the address, as in a mesh, where each workload has one of its own.
func TestAddress(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		const address = "127.20.30.40:3306"
		server := Start(t, address)
		if server.Address != address {
			t.Errorf("answers on %s, want %s", server.Address, address)
		}
		other := Start(t, "127.20.30.41:3306")
		for _, s := range []*Server{server, other} {
			h := ratings(t, bookinfo.Database{Host: s.Address, User: User, Password: Password}, &bytes.Buffer{})
			expect(t, h, "on "+s.Address, stars)
		}
		if conn, err := dial(t, "127.0.0.1:3306"); err == nil {
			conn.Close()
			t.Error("it answers on other addresses as well")
		}
	})
}

func dial(t *testing.T, address string) (net.Conn, error) {
	t.Helper()
	return new(net.Dialer).DialContext(t.Context(), "tcp", address)
}

func TestEndsWithTest(t *testing.T) {
	t.Parallel()
	var address string
	t.Run("inner", func(t *testing.T) {
		address = Start(t, "").Address
	})
	if conn, err := dial(t, address); err == nil {
		conn.Close()
		t.Error("the server answers after its test")
	}
}

func TestTakenAddress(t *testing.T) {
	t.Parallel()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p, err := find()
	if err != nil {
		t.Fatal(err)
	}
	_, running, err := p.start(t.Context(), t.TempDir(), netip.MustParseAddrPort(l.Addr().String()))
	if err == nil {
		running.Kill()
	}
	if !errors.Is(err, errTaken) || !strings.Contains(err.Error(), "Address already in use") {
		t.Errorf("started with %v, want an error that says that the address is in use", err)
	}
}

func TestStartIsBounded(t *testing.T) {
	t.Parallel()
	p, err := find()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := p.start(ctx, t.TempDir(), netip.MustParseAddrPort("127.0.0.1:1")); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, path := range []string{"fetched/usr/sbin/mariadbd", "system/usr/sbin/mariadbd", "bare/sbin/mariadbd"} {
		write(t, filepath.Join(dir, path), 0o700)
	}
	for _, path := range []string{
		"fetched/usr/share/mysql/mysql_system_tables.sql", "system/usr/share/mariadb/mariadb_system_tables.sql",
		"fetched/usr/lib/x86_64-linux-gnu/libaio.so.1", "plain/mariadbd",
	} {
		write(t, filepath.Join(dir, path), 0o600)
	}
	if err := os.Symlink("usr/sbin", filepath.Join(dir, "system", "sbin")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ fetched, path, want string }{
		{"fetched", "system/sbin", "fetched/usr/sbin/mariadbd with fetched/usr/lib/x86_64-linux-gnu"},
		{"nothing", "plain:system/sbin", "system/usr/sbin/mariadbd with "},
		{"nothing", "plain", "error: this test needs a MariaDB server, and there is none (`make mariadb` fetches one)"},
		{"nothing", "bare/sbin", "error: bare has no share/mysql/mysql_system_tables.sql: `make mariadb` fetches a MariaDB that has"},
	} {
		var path []string
		for p := range strings.SplitSeq(c.path, ":") {
			path = append(path, filepath.Join(dir, p))
		}
		p, err := findIn(filepath.Join(dir, c.fetched), strings.Join(path, ":"))
		got := p.server + " with " + p.libraries
		if err != nil {
			got = "error: " + err.Error()
		}
		if diff := cmp.Diff(c.want, strings.ReplaceAll(got, dir+"/", "")); diff != "" {
			t.Errorf("fetched %s, path %s (-want +got):\n%s", c.fetched, c.path, diff)
		}
	}
}

func write(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, mode); err != nil {
		t.Fatal(err)
	}
}

// deed names, in the environment of this program run again, what TestDeed does.
const deed = "LATEEN_MARIADB_DEED"

// TestDeed starts a server and ends in a bad way when it is told to.
func TestDeed(t *testing.T) {
	t.Parallel()
	server := Start(t, "")
	fmt.Printf("uid %d, address %s\n", os.Geteuid(), server.Address)
	switch os.Getenv(deed) {
	case "panic":
		panic("overboard")
	case "kill":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
}

// again runs TestDeed in another process and returns its output.
func again(t *testing.T, what string, attributes *syscall.SysProcAttr) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.v", "-test.run=^TestDeed$")
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", "TMPDIR="+t.TempDir(), deed+"="+what)
	cmd.SysProcAttr = attributes
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// The server of a test that panics, or is killed, ends as well; the port is free again then.
func TestBadEnd(t *testing.T) {
	t.Parallel()
	for what, want := range map[string]string{"panic": "exit status 2", "kill": "signal: killed"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			out, err := again(t, what, nil)
			_, after, ok := strings.Cut(out, ", address ")
			if !ok || fmt.Sprint(err) != want {
				t.Fatalf("ended with %v, want %s:\n%s", err, want, out)
			}
			address, _, _ := strings.Cut(after, "\n")
			awaitGone(t, address)
		})
	}
}

// awaitGone waits until nobody listens: a killed process ends a moment later.
func awaitGone(t *testing.T, address string) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; <-tick.C {
		conn, err := dial(t, address)
		if err != nil {
			return
		}
		conn.Close()
		if time.Now().After(end) {
			t.Fatalf("the server on %s outlives its test", address)
		}
	}
}

// A user who is not root starts servers, too. Root becomes a user of a namespace, who may read what root may.
func TestUnprivileged(t *testing.T) {
	t.Parallel()
	var attributes *syscall.SysProcAttr
	if os.Geteuid() == 0 {
		attributes = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: 0, Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: os.Getegid(), Size: 1}},
		}
	}
	out, err := again(t, "nothing", attributes)
	if err != nil || !strings.Contains(out, "--- PASS: TestDeed") || strings.Contains(out, "uid 0,") {
		t.Errorf("%v\n%s", err, out)
	}
}
