package meshtest_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
)

// seen is a request as an application got it.
type seen struct {
	Version, Method, Host, URI, Body string
	Header                           http.Header
}

// report is an application that answers with what it saw.
func report(version string) meshtest.App {
	return meshtest.Handler(func(w http.ResponseWriter, r *http.Request) { _ = json.NewEncoder(w).Encode(sight(version, r)) })
}

// sight reads a request.
func sight(version string, r *http.Request) seen {
	body, _ := io.ReadAll(r.Body)
	return seen{Version: version, Method: r.Method, Host: r.Host, URI: r.RequestURI, Body: string(body), Header: r.Header}
}

// reportMesh starts reviews v1 and v2, which answer with what they saw, with a rule that sends everybody to v1, and a caller.
func reportMesh(t *testing.T) (*meshtest.Mesh, *meshtest.Instance) {
	t.Helper()
	m := meshtest.New(t)
	m.Start("reviews", "v1", report("v1"))
	m.Start("reviews", "v2", report("v2"))
	m.Apply(rule("everybody", "precedence: 1, route: [{labels: {version: v1}}]"))
	return m, m.Caller("caller", mesh.Labels{"app": "caller", "version": "v1"})
}

// answer is what came back for a request.
type answer struct {
	status int
	header http.Header
	body   string
	err    error // of reading the body
	took   time.Duration
}

// saw returns what the application saw, which must have answered.
func (a answer) saw(t *testing.T) seen {
	t.Helper()
	var s seen
	if err := json.Unmarshal([]byte(a.body), &s); err != nil || a.status != http.StatusOK {
		t.Fatalf("no application answered: %d %q %v", a.status, a.body, err)
	}
	return s
}

// request is one that a test sends: its method is GET if it says none.
type request struct {
	method, url, body string
	header            []string // pairs
}

// send sends a request through an instance's Envoy and follows no redirect.
func send(t *testing.T, from *meshtest.Instance, r request) answer {
	t.Helper()
	client := from.Client()
	client.Timeout = meshtest.Patience
	defer client.CloseIdleConnections()
	return sendBy(t, client, r)
}

func sendBy(t *testing.T, client *http.Client, r request) answer {
	t.Helper()
	a, err := try(t.Context(), client, r)
	if err != nil {
		t.Fatalf("%s %s: %v", r.method, r.url, err)
	}
	return a
}

// try sends a request and follows no redirect.
func try(ctx context.Context, client *http.Client, r request) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, r.method, r.url, strings.NewReader(r.body))
	if err != nil {
		return answer{}, err
	}
	for n := 0; n < len(r.header); n += 2 {
		req.Header.Add(r.header[n], r.header[n+1])
	}
	once := *client
	once.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	begun := time.Now()
	res, err := once.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return answer{status: res.StatusCode, header: res.Header, body: string(body), err: err, took: time.Since(begun)}, nil
}

// get fetches a URL with headers given in pairs.
func get(t *testing.T, from *meshtest.Instance, url string, header ...string) answer {
	t.Helper()
	return send(t, from, request{url: url, header: header})
}
