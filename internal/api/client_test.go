package api_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

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

// A control plane that takes connections and says nothing, as one that is stopped, keeps nobody waiting. What is waited for on
// purpose comes on top.
func TestSilenceEnds(t *testing.T) {
	t.Parallel()
	socket := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/ca" { // it stops in the middle of an answer
			_, _ = w.Write([]byte("{"))
			_ = http.NewResponseController(w).Flush()
		}
		if r.FormValue("wait") == "1m0s" { // longer than the client waits for others
			timer := time.NewTimer(200 * time.Millisecond)
			defer timer.Stop()
			<-timer.C
			_, _ = w.Write([]byte("{}"))
			return
		}
		_, _ = io.Copy(io.Discard, r.Body) // so that the end of the connection is seen
		<-r.Context().Done()
	})
	client := api.NewClient(socket)
	client.Hurry(50 * time.Millisecond)
	for name, ask := range map[string]func() error{
		"a question": func() error { _, err := client.Status(t.Context()); return err },
		"an edit":    func() error { _, err := client.Write(t.Context(), api.Write{}); return err },
		"half":       func() error { _, err := client.Authority(t.Context()); return err },
	} {
		err := ask()
		silent, ok := errors.AsType[*api.Unreachable](err)
		if !ok || !errors.Is(err, api.ErrSilent) || err.Error() != "the control plane on "+socket+" does not answer" || !strings.Contains(silent.Hint(), "it hangs") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := client.Progress(t.Context(), 1, time.Minute); err != nil {
		t.Errorf("waiting on purpose: %v", err)
	}
}
