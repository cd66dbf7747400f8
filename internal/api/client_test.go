package api_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/api"
)

// serve answers every request on a socket as handler says, and returns the socket's path.
func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), api.SocketName)
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() {
		if err := errors.Join(server.Close(), <-ended); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return path
}

func TestErrorsOfAClientSayWhatHappened(t *testing.T) {
	t.Parallel()
	nobody := filepath.Join(t.TempDir(), api.SocketName)
	for name, c := range map[string]struct {
		socket string
		want   string
	}{
		"nobody listens": {nobody, "no control plane answers on " + nobody},
		"a refusal": {serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusConflict)
			w.Write([]byte(`{"error":"no","hint":"yes"}`))
		}), "no"},
		"an answer of something else": {serve(t, func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "<html>", http.StatusBadGateway)
		}), "the control plane answers 502 Bad Gateway"},
		"an answer in another form": {serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Write([]byte("hello"))
		}), "GET /v1/status: answer: invalid character 'h' looking for beginning of value"},
	} {
		_, err := api.NewClient(c.socket).Status(t.Context())
		if err == nil || err.Error() != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

// A control plane that does not know what it is asked is of another version.
func TestAnotherVersionIsHinted(t *testing.T) {
	t.Parallel()
	socket := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		if strings.HasSuffix(r.URL.Path, "/nobody") {
			_, _ = w.Write([]byte(`{"error":"no proxy nobody"}`))
			return
		}
		_, _ = w.Write([]byte(`{"error":"there is no ` + r.Method + " " + r.URL.Path + `"}`))
	})
	for name, hinted := range map[string]bool{"a b": true, "nobody": false} {
		_, err := api.NewClient(socket).Proxy(t.Context(), name)
		refused, ok := errors.AsType[*api.Error](err)
		if !ok || strings.Contains(refused.Hint, "another version of lateen") != hinted {
			t.Errorf("%s: %v, %+v", name, err, refused)
		}
	}
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	socket := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	if _, err := api.NewClient(socket).Status(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestPathOfASocketIsShort(t *testing.T) {
	t.Parallel()
	if path, err := api.Socket("/state"); err != nil || path != "/state/api.sock" {
		t.Errorf("%s, %v", path, err)
	}
	_, err := api.Socket("/" + strings.Repeat("x", 100))
	if refused, ok := errors.AsType[*api.Error](err); !ok || refused.Hint == "" {
		t.Errorf("error %v", err)
	}
}
