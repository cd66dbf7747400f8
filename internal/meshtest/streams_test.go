package meshtest_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/meshtest"
)

// How long streams are quiet and answers are awaited: longer than the 10 s that a first request waits for its host.
const (
	quietTime  = 30 * time.Second
	answerTime = 12 * time.Second
)

// slowApp has a stream that is quiet in the middle, an answer that takes its time, and an echo over WebSocket.
func slowApp() meshtest.App {
	mux := http.NewServeMux()
	wait := func(r *http.Request, d time.Duration) {
		select {
		case <-time.After(d):
		case <-r.Context().Done():
		}
	}
	mux.HandleFunc("GET /stream", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "one ")
		_ = http.NewResponseController(w).Flush()
		wait(r, quietTime)
		_, _ = io.WriteString(w, "two")
	})
	mux.HandleFunc("POST /slow", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		wait(r, answerTime)
		_, _ = fmt.Fprintf(w, "got %s", body)
	})
	mux.HandleFunc("GET /slow", func(w http.ResponseWriter, r *http.Request) {
		wait(r, answerTime)
		_, _ = io.WriteString(w, "at last")
	})
	mux.HandleFunc("GET /ws", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Upgrade", "websocket")
		w.Header().Set("Connection", "Upgrade")
		w.WriteHeader(http.StatusSwitchingProtocols)
		conn, both, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_ = both.Flush()
		_, _ = io.Copy(conn, both)
	})
	return meshtest.Handler(mux.ServeHTTP)
}

// A quiet stream, late answers and a WebSocket live, as the first request to a host and as a later one.
func TestLongRequests(t *testing.T) {
	t.Parallel()
	m := meshtest.New(t)
	m.Start("slow", "v1", slowApp())
	for _, c := range []struct {
		name string
		call func(*testing.T, *meshtest.Instance)
	}{{"quiet stream", quietStream}, {"late answer", lateAnswer}, {"late answer without body", lateAnswerToGet}, {"websocket", webSocket}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			first := m.Caller("first-"+strings.ReplaceAll(c.name, " ", "-"), nil) // has called nobody
			later := m.Caller("later-"+strings.ReplaceAll(c.name, " ", "-"), nil)
			later.Get("http://slow:9080/")
			t.Run("first", func(t *testing.T) { t.Parallel(); c.call(t, first) })
			t.Run("later", func(t *testing.T) { t.Parallel(); c.call(t, later) })
		})
	}
}

func quietStream(t *testing.T, from *meshtest.Instance) {
	body, err := meshtest.Fetch(t.Context(), from.Client(), "http://slow:9080/stream")
	if err != nil || body != "one two" {
		t.Errorf("got %q, %v; want both parts", body, err)
	}
}

func lateAnswer(t *testing.T, from *meshtest.Instance) {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://slow:9080/slow", strings.NewReader("a body"))
	if err != nil {
		t.Fatal(err)
	}
	res, err := from.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || string(body) != "got a body" {
		t.Errorf("got %s %q, %v; want 200 and the body back", res.Status, body, err)
	}
}

func lateAnswerToGet(t *testing.T, from *meshtest.Instance) {
	body, err := meshtest.Fetch(t.Context(), from.Client(), "http://slow:9080/slow")
	if err != nil || body != "at last" {
		t.Errorf("got %q, %v; want the late answer", body, err)
	}
}

func webSocket(t *testing.T, from *meshtest.Instance) {
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", from.Proxy())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = io.WriteString(conn, "GET http://slow:9080/ws HTTP/1.1\r\nHost: slow:9080\r\nConnection: Upgrade\r\n"+
		"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(conn)
	res, err := http.ReadResponse(reader, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got %v, %v; want 101", res, err)
	}
	defer res.Body.Close()
	echo := make([]byte, 5)
	for _, word := range []string{"hello", "again"} {
		if _, err := io.WriteString(conn, word); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(reader, echo); err != nil || string(echo) != word {
			t.Fatalf("echo %q, %v; want %q", echo, err, word)
		}
		select { // quiet for longer than a first request may wait
		case <-time.After(answerTime):
		case <-t.Context().Done():
		}
	}
}
