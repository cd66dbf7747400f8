package agent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// adminWait bounds one request to the admin interface.
const adminWait = 2 * time.Second

// admin is Envoy's admin interface on a Unix socket.
type admin struct {
	http http.Client
}

func newAdmin(socket string) *admin {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	return &admin{http: http.Client{
		Timeout:   adminWait,
		Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true},
	}}
}

func (a *admin) close() { a.http.CloseIdleConnections() }

// ready tells whether Envoy has its first configuration and takes requests.
func (a *admin) ready(ctx context.Context) bool {
	_, err := a.do(ctx, http.MethodGet, "/ready")
	return err == nil
}

// drain makes Envoy ask its clients to go, with each answer.
func (a *admin) drain(ctx context.Context) error {
	_, err := a.do(ctx, http.MethodPost, "/drain_listeners?graceful")
	return err
}

// refuse makes Envoy take no more connections. What is open stays.
func (a *admin) refuse(ctx context.Context) error {
	_, err := a.do(ctx, http.MethodPost, "/drain_listeners")
	return err
}

func (a *admin) reopenLogs(ctx context.Context) error {
	_, err := a.do(ctx, http.MethodPost, "/reopen_logs")
	return err
}

// active returns how many requests, and connections of other protocols than HTTP, clients have open.
func (a *admin) active(ctx context.Context) (int, error) {
	stats, err := a.do(ctx, http.MethodGet, "/stats?filter=downstream_(cx|rq)_active$")
	if err != nil {
		return 0, err
	}
	return countActive(stats), nil
}

// countActive reads Envoy's statistics. HTTP connections that carry no request do not count: their clients find them
// closed, and try again.
func countActive(stats string) int {
	var requests, httpConnections, connections int
	lines := bufio.NewScanner(strings.NewReader(stats))
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		n, err := strconv.Atoi(value)
		if err != nil || strings.HasPrefix(name, "http.admin.") || strings.HasPrefix(name, "listener.admin.") {
			continue
		}
		inHTTP := strings.HasPrefix(name, "http.")
		switch {
		case inHTTP && strings.HasSuffix(name, ".downstream_rq_active"):
			requests += n
		case inHTTP && strings.HasSuffix(name, ".downstream_cx_active"):
			httpConnections += n
		case strings.HasPrefix(name, "listener.") && strings.HasSuffix(name, ".downstream_cx_active") && !strings.Contains(name, ".worker_"):
			connections += n
		}
	}
	return requests + max(0, connections-httpConnections)
}

func (a *admin) do(ctx context.Context, method, path string) (string, error) {
	const enough = 1 << 20
	body, err := a.ask(ctx, method, path, enough)
	return string(body), err
}

// page returns a page of at most so many bytes.
func (a *admin) page(ctx context.Context, path string, most int64) ([]byte, error) {
	body, err := a.ask(ctx, http.MethodGet, path, most+1)
	if err == nil && int64(len(body)) > most {
		return nil, fmt.Errorf("envoy admin %s: more than %d bytes", path, most)
	}
	return body, err
}

// ask returns the first bytes of an answer.
func (a *admin) ask(ctx context.Context, method, path string, most int64) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://envoy"+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := a.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("envoy admin: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, most))
	switch {
	case err != nil:
		return nil, fmt.Errorf("envoy admin %s: %w", path, err)
	case response.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("envoy admin %s: %s", path, response.Status)
	}
	return body, nil
}

// removeStale removes the socket that a killed Envoy left behind.
func removeStale(socket string) error {
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove old socket: %w", err)
	}
	return nil
}
