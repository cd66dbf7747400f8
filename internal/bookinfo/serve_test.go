package bookinfo

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener without sockets, for synctest.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func newPipes() *pipes { return &pipes{make(chan net.Conn), make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9080} }

// request sends one and returns a channel with the first line of the answer,
// which is empty if the connection ends without one.
func (p *pipes) request(path string) <-chan string {
	ours, theirs := net.Pipe()
	p.conns <- theirs
	line := make(chan string, 1)
	go func() {
		defer ours.Close()
		fmt.Fprintf(ours, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
		first, _ := bufio.NewReader(ours).ReadString('\n')
		line <- strings.TrimSpace(first)
	}()
	return line
}

func TestServeEnds(t *testing.T) {
	tests := []struct {
		name   string
		needs  time.Duration // by the request under way
		answer string
		took   time.Duration
		clean  bool
	}{
		{"request under way is finished", 4 * time.Second, "HTTP/1.1 200 OK", 4 * time.Second, true},
		{"request that never ends is cut", time.Hour, "", shutdownGrace, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				ln, ended := newPipes(), make(chan error, 1)
				go func() {
					ended <- serve(ctx, ln, late(tt.needs, says(200, "")), slog.New(slog.DiscardHandler))
				}()
				answer := ln.request("/")
				synctest.Wait()
				start := time.Now()
				cancel()
				err := <-ended
				if (err == nil) != tt.clean || (!tt.clean && !errors.Is(err, context.DeadlineExceeded)) {
					t.Errorf("error %v, want none: %v", err, tt.clean)
				}
				if got := <-answer; got != tt.answer {
					t.Errorf("answer %q, want %q", got, tt.answer)
				}
				// Shutdown looks for finished requests twice a second at least.
				if took := time.Since(start); took < tt.took || took > tt.took+time.Second/2 {
					t.Errorf("ended after %v, want %v", took, tt.took)
				}
			})
		})
	}
}

func TestServeOnAddress(t *testing.T) {
	lines, out := io.Pipe()
	log := slog.New(slog.NewTextHandler(out, nil))
	h, err := New("details", Config{Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, "127.0.0.1:0", h, log) }()
	said := bufio.NewScanner(lines)
	said.Scan()
	_, address, ok := strings.Cut(said.Text(), "msg=ready address=")
	if !ok {
		t.Fatalf("first line is %s", said.Text())
	}
	requestLine := make(chan string, 1)
	go func() { said.Scan(); requestLine <- said.Text() }()
	resp, err := http.Get("http://" + address + "/details/x%0ay")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if line := <-requestLine; !strings.Contains(line, `msg=request method=GET path="/details/x\ny" status=400 duration=`) {
		t.Errorf("logged %s", line)
	}
	if err := Serve(ctx, address, h, log); err == nil || !strings.Contains(err.Error(), address) {
		t.Errorf("second service on the same address: %v", err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestProbesAreLoggedForDebuggingOnly(t *testing.T) {
	var out bytes.Buffer
	h, err := New("ratings", Config{Logger: slog.New(slog.NewTextHandler(&out, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ask(h, "GET", "/health", "")
	ask(h, "GET", "/ratings/0", "")
	if lines := strings.Count(out.String(), "\n"); lines != 1 || !strings.Contains(out.String(), "path=/ratings/0 status=200") {
		t.Errorf("logged:\n%s", out.String())
	}
}

// On one machine every call goes through a sidecar as HTTP proxy. One connection
// to it must do for all calls, one after the other, good or bad.
func TestCallsThroughProxy(t *testing.T) {
	all := newTown(t, "v2")
	all["details"] = says(503, strings.Repeat("no healthy upstream ", 100))
	var opened, calls atomic.Int32
	proxy := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		all[r.URL.Hostname()].ServeHTTP(w, r)
	}))
	proxy.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			opened.Add(1)
		}
	}
	proxy.Start()
	defer proxy.Close()
	address, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	transport := defaultTransport().(*http.Transport)
	transport.Proxy = http.ProxyURL(address)
	defer transport.CloseIdleConnections()
	page, err := New("productpage", Config{Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		body := ask(page, "GET", "/productpage", "").Body.String()
		if !strings.Contains(body, "Error fetching product details!") || strings.Count(body, "glyphicon-star") != 10 {
			t.Fatalf("page: %s", body)
		}
	}
	if opened.Load() != 1 || calls.Load() != 10 {
		t.Errorf("%d calls on %d connections, want 10 on 1", calls.Load(), opened.Load())
	}
}
