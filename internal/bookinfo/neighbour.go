package bookinfo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"
)

// maxAnswer bounds what is read of another service's answer.
const maxAnswer = 256 << 10

// neighbour is another service as one service sees it: where it is, how long to
// wait for it and how often to ask.
type neighbour struct {
	name    string
	base    *url.URL
	client  *http.Client
	timeout time.Duration // of one try, with the body
	tries   int
	log     *slog.Logger
}

// answer is what came of asking a neighbour, after the last try.
type answer struct {
	status int    // 0 if none came
	body   []byte // valid JSON if err is nil
	err    error  // nil only for status 200 with a JSON body
	tries  int
	took   time.Duration // all tries together
}

func newNeighbour(name, address string, c Config) (neighbour, error) {
	base, err := baseURL(name, address)
	return neighbour{
		name:    name,
		base:    base,
		client:  &http.Client{Transport: c.Transport},
		timeout: 3 * time.Second,
		tries:   1,
		log:     c.Logger,
	}, err
}

// get asks until there is a good answer or no try is left. Any answer but 200
// uses up a try, as in the original. The error is logged, and kept for the
// caller to decide on.
func (n neighbour) get(ctx context.Context, header http.Header, path ...string) answer {
	var a answer
	start := time.Now()
	for a.tries < n.tries {
		a.status, a.body, a.err = n.try(ctx, header, path)
		a.tries++
		if a.err == nil || ctx.Err() != nil {
			break
		}
	}
	a.took = time.Since(start)
	if a.err != nil {
		n.log.Warn("call without a good answer", "host", n.name, "tries", a.tries, "duration", a.took, "err", a.err)
	}
	return a
}

func (n neighbour) try(ctx context.Context, header http.Header, path []string) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, n.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.base.JoinPath(path...).String(), nil)
	if err != nil {
		return 0, nil, err
	}
	req.Header = header.Clone()
	resp, err := n.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	// Read to the end, so that the connection can be used again.
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case resp.StatusCode != http.StatusOK:
		return resp.StatusCode, nil, fmt.Errorf("answer %s", statusText(resp.StatusCode))
	case err != nil:
		return 0, nil, fmt.Errorf("read answer: %w", err)
	case len(body) > maxAnswer:
		return resp.StatusCode, nil, fmt.Errorf("answer is longer than %d bytes", maxAnswer)
	case !json.Valid(body):
		return resp.StatusCode, nil, errors.New("answer is not JSON")
	}
	return resp.StatusCode, body, nil
}

// refused tells that the neighbour, or a proxy on the way, said no.
func (a answer) refused() bool {
	return a.status != 0 && a.status != http.StatusOK
}

// outcome is the answer in a few words, without anything the other side wrote.
func (a answer) outcome() string {
	switch {
	case a.err == nil:
		return statusText(a.status)
	case a.refused():
		return "answered " + statusText(a.status)
	case a.status == http.StatusOK:
		return "sent an answer that cannot be read"
	case errors.Is(a.err, context.DeadlineExceeded):
		return "gave no answer in time"
	}
	return "cannot be reached"
}

func statusText(code int) string {
	if text := http.StatusText(code); text != "" {
		return fmt.Sprintf("%d %s", code, text)
	}
	return fmt.Sprint(code)
}

// defaultTransport takes the proxy from the environment, which net/http reads
// once per process. All calls through a proxy share its idle connections, hence
// more of them than the two that are usual per host.
func defaultTransport() http.RoundTripper {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		MaxIdleConnsPerHost:    64,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		TLSHandshakeTimeout:    3 * time.Second,
	}
}
