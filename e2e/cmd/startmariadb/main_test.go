package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/bookinfo"
)

// installed is MariaDB as `make mariadb` leaves it, or as the machine has it.
func installed(t *testing.T) settings {
	t.Helper()
	base, err := filepath.Abs("../../../bin/mariadb/usr")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(base); err == nil {
		libraries, err := filepath.Glob(base + "/lib/*-linux-gnu")
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv("LD_LIBRARY_PATH", strings.Join(libraries, ":"))
	} else {
		base = "/usr"
	}
	server := filepath.Join(base, "sbin/mariadbd")
	if _, err := os.Stat(server); err != nil {
		t.Fatalf("this test needs a MariaDB server (`make mariadb` fetches one): %v", err)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return settings{server: server, base: base, data: t.TempDir(), port: port, user: "ratings", password: `it's "secret"; \ --`}
}

// start starts the server; what it returns ends it.
func (s settings) start(t *testing.T) (stop func()) {
	t.Helper()
	if err := s.prepare(); err != nil {
		t.Fatal(err)
	}
	command := s.command()
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	var out strings.Builder
	cmd.Stderr = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() {
		cancel()
		if err := cmd.Wait(); err == nil {
			t.Errorf("the server ended by itself: %s", out.String())
		}
	}
}

// ratings is the answer of BookInfo's ratings v2 that signs in with a password.
func (s settings) ratings(t *testing.T, password string) (status int, body string) {
	t.Helper()
	h, err := bookinfo.New("ratings", bookinfo.Config{Version: "v2", Database: bookinfo.Database{Host: "127.0.0.1", Port: s.port, User: s.user, Password: password}})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/ratings/0", nil))
	text, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, string(text)
}

// await returns when ratings have the answer.
func (s settings) await(t *testing.T, password, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		status, body := s.ratings(t, password)
		if status == http.StatusOK && strings.Contains(body, want) {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("status %d: %s", status, body)
		}
	}
}

// Ratings v2 reads the stars with the password, whatever characters it has, and not with another; after a restart, which changes the password, likewise. No
// file has the password.
func TestStart(t *testing.T) {
	s := installed(t)
	first := s.password
	if err := os.Mkdir(filepath.Join(s.data, "half"), 0o700); err != nil { // of a start that was killed
		t.Fatal(err)
	}
	const want = `{"Reviewer1":5,"Reviewer2":4}`
	stop := s.start(t)
	s.await(t, first, want)
	for _, wrong := range []string{"", "password"} {
		if status, body := s.ratings(t, wrong); status != http.StatusInternalServerError {
			t.Errorf("with password %q: status %d, %s", wrong, status, body)
		}
	}
	stop()
	s.password = "another"
	stop = s.start(t)
	s.await(t, "another", want)
	if status, _ := s.ratings(t, first); status != http.StatusInternalServerError {
		t.Errorf("with the password of before: status %d", status)
	}
	stop()
	text, err := os.ReadFile(filepath.Join(s.data, "start.sql"))
	if err != nil || strings.Contains(string(text), "another") {
		t.Errorf("the password is in a file: %v", err)
	}
}

// Without a password nothing is started.
func TestNoPassword(t *testing.T) {
	s := installed(t)
	s.password = ""
	if err := s.prepare(); err == nil || !strings.Contains(err.Error(), "MYSQL_PASSWORD") {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(s.data, "tables")); !errors.Is(err, os.ErrNotExist) {
		t.Error("there are tables")
	}
}
