package dump

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"syscall"
	"time"
)

// Reader gets a proxy's dump from where the proxy is.
type Reader interface {
	Dump(ctx context.Context) ([]byte, error)
}

// Socket is the Unix socket of an Envoy's admin interface on this machine.
type Socket string

// ErrNobody tells that no proxy answers.
var ErrNobody = errors.New("no proxy answers")

const (
	maxDump  = 64 << 20
	dumpWait = 5 * time.Second
)

// Dump reads the whole dump of the Envoy, with its endpoints.
func (s Socket) Dump(ctx context.Context) ([]byte, error) {
	return s.Get(ctx, "/config_dump?include_eds")
}

// Get reads a page of the admin interface, "/certs".
func (s Socket) Get(ctx context.Context, page string) ([]byte, error) {
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", string(s))
	}}
	client := http.Client{Transport: transport, Timeout: dumpWait}
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://envoy"+page, nil)
	if err != nil {
		return nil, err
	}
	path := request.URL.Path
	response, err := client.Do(request)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("%w on %s", ErrNobody, string(s))
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		return nil, fmt.Errorf("it does not answer %s within %s", path, dumpWait)
	case err != nil:
		return nil, fmt.Errorf("ask the proxy for %s: %w", path, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxDump+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the proxy's %s: %w", path, err)
	case response.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("the proxy answers %s when it is asked for %s", response.Status, path)
	case len(body) > maxDump:
		return nil, fmt.Errorf("the proxy's %s has more than %d bytes", path, maxDump)
	}
	return body, nil
}
