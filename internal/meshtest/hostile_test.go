package meshtest_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/meshtest"
)

// statusOf sends a request for a host exactly as it is spelled and returns the status of the answer.
func statusOf(t *testing.T, i *meshtest.Instance, host string) int {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", i.Proxy())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(meshtest.Patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("host %q: %v", host, err)
	}
	defer res.Body.Close()
	return res.StatusCode
}

// Whatever a client writes as host, it gets an answer, and no later request for another host is led astray: a virtual
// host for "*" would take them all.
func TestHostileHosts(t *testing.T) {
	t.Parallel()
	m := meshtest.New(t)
	m.Start("reviews", "v1", meshtest.Named("v1"))
	caller := m.Caller("caller", nil)
	for host, want := range map[string]int{
		"*": 404, "*:80": 404, "*.com": 404, "*-foo.bar:9080": 404, "a*b": 404, "%00": 404, "": 404, "_init": 404,
		"_init.invalid": 502, "[::1]:80": 502, "x..y": 502, ":80": 502, "reviews:": 502, "reviews:9080:1": 502, "reviews:99999": 502,
		"a/b": 400, "a b": 400, strings.Repeat("x", 300): 404, strings.Repeat("x.", 100): 502,
		"REVIEWS:9080": 200, "reviews.:9080": 200,
	} {
		for range 2 { // asked, then known
			if got := statusOf(t, caller, host); got != want {
				t.Errorf("host %.40q: status %d, want %d", host, got, want)
			}
		}
	}
	wantBody(t, caller, reviews, "v1")
	if status, _ := caller.Get("http://nowhere:9080/"); status != http.StatusBadGateway {
		t.Errorf("an unknown host: status %d, want 502", status)
	}
	if held := heldBy(t, caller.Admin("/config_dump")); slices.ContainsFunc(held, func(s string) bool { return strings.Contains(s, "*") }) {
		t.Errorf("the sidecar holds a wildcard: %q", held)
	}
}
