package bookinfo

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// town is a network inside the process: what is sent to http://reviews:9080 is
// served by the handler called "reviews". It has no sockets, so that real
// timeouts can be tested in the time of a synctest bubble.
type town map[string]http.Handler

func (t town) RoundTrip(r *http.Request) (*http.Response, error) {
	h, lives := t[r.URL.Hostname()]
	if !lives {
		return nil, fmt.Errorf("dial %s: connection refused", r.URL.Host)
	}
	answered := make(chan *http.Response, 1)
	arrived := r.Clone(r.Context())
	go func() {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, arrived)
		answered <- w.Result()
	}()
	select {
	case resp := <-answered:
		return resp, nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

// newTown has every service as it is shipped, with one version of reviews.
func newTown(t *testing.T, reviews string) town {
	t.Helper()
	all := town{}
	for _, name := range Services() {
		c := Config{Transport: all}
		if name == "reviews" {
			c.Version, c.Instance = reviews, "reviews-"+reviews+"-0"
		}
		h, err := New(name, c)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = h
	}
	return all
}

// says always answers the same.
func says(status int, body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		w.Write([]byte(body))
	})
}

// late answers like next after a delay, unless the caller goes first.
func late(delay time.Duration, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(delay):
			next.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	})
}

// recorder keeps the headers of every request that passes through it.
type recorder struct {
	next http.Handler
	mu   sync.Mutex
	seen []http.Header
}

func (p *recorder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.seen = append(p.seen, r.Header.Clone())
	p.mu.Unlock()
	p.next.ServeHTTP(w, r)
}

func (p *recorder) headers() []http.Header {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen
}

// ask sends a request to a handler. Headers are "Name: value".
func ask(h http.Handler, method, target, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}
