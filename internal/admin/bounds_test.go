package admin_test

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/places/placestest"
)

// connect connects to health and metrics from an address.
func (s *server) connect(t *testing.T, host string) net.Conn {
	t.Helper()
	c, err := placestest.Dialer(host).DialContext(t.Context(), "tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return c
}

// askOn asks whether somebody is there, and returns the first line of the answer; "": the connection is closed.
func askOn(c net.Conn) string {
	_, _ = io.WriteString(c, "GET /healthz HTTP/1.0\r\n\r\n") // what cannot be written is not answered
	text, _ := io.ReadAll(c)
	line, _, _ := strings.Cut(string(text), "\r\n")
	return line
}

// One who holds connections open takes its share of the port and no more: others are answered.
func TestConnectionsHaveShares(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	var held []net.Conn
	for range 64 {
		held = append(held, s.connect(t, "127.1.1.1"))
	}
	for range 3 {
		if got := askOn(s.connect(t, "127.1.1.1")); got != "" {
			t.Errorf("one more is answered %q", got)
		}
	}
	if got := askOn(s.connect(t, "127.1.1.2")); !strings.Contains(got, "200") {
		t.Errorf("another one is answered %q", got)
	}
	if got := askOn(held[0]); !strings.Contains(got, "200") {
		t.Errorf("one of its own is answered %q", got)
	}
}

// A header that has no end is refused when it is too long.
func TestHeadersAreBounded(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.address+"/healthz", nil)
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("X", strings.Repeat("x", 80<<10))
	answer, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("the status is %d", answer.StatusCode)
	}
}
