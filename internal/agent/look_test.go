package agent

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLook wants each page to come from where it is, and nothing else to be asked of an Envoy.
func TestLook(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "look") //nolint:usetesting // paths of sockets are short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if _, err := Look(t.Context(), dir, LookConfig); err == nil || !strings.Contains(err.Error(), "admin.sock") {
		t.Errorf("nobody is there: %v", err)
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "admin.sock")})
	if err != nil {
		t.Fatal(err)
	}
	large := strings.Repeat("x", 2<<20) // more than other requests read
	envoy := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(r.Method + " " + r.URL.RequestURI() + large))
	}))
	_ = envoy.Listener.Close() // for another one
	envoy.Listener = listener
	envoy.Start()
	t.Cleanup(envoy.Close)
	if err := os.WriteFile(filepath.Join(dir, statusName), []byte(`{"identity": "spiffe://x/ns/a/sa/b"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for page, want := range map[string]string{
		LookConfig: "GET /config_dump?include_eds" + large, LookCertificates: "GET /certs" + large, LookIdentity: `{"identity": "spiffe://x/ns/a/sa/b"}`,
	} {
		if text, err := Look(t.Context(), dir, page); err != nil || string(text) != want {
			t.Errorf("%s: %.80q %v", page, text, err)
		}
	}
	if _, err := Look(t.Context(), dir, "quitquitquit"); !errors.As(err, new(*Misused)) {
		t.Errorf("another page: %v", err)
	}
}
