package meshtest_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
)

// A redirect is an answer of 302 that names the other place; what the rule leaves out stays as it was asked for.
func TestRedirect(t *testing.T) {
	t.Parallel()
	m, caller := reportMesh(t)
	for _, c := range []struct{ redirect, url, location string }{
		{`{uri: /new/path, authority: b}`, "http://reviews:9080/old?x=1&y", "http://b/new/path?x=1&y"},
		{`{uri: /new/path, authority: "b:8080"}`, "http://reviews:9080/old/er", "http://b:8080/new/path"},
		{`{uri: /new/path}`, "http://reviews.default:9080/old?x=1", "http://reviews.default:9080/new/path?x=1"},
		{`{authority: b.other.svc.cluster.local}`, "http://reviews:9080/old/er?x=1", "http://b.other.svc.cluster.local/old/er?x=1"},
		{`{authority: "b:80"}`, "http://reviews:9080/old", "http://b:80/old"},
		{`{authority: "[::1]:8080"}`, "http://reviews:9080/old", "http://[::1]:8080/old"},
		{`{authority: "[::1]"}`, "http://reviews:9080/old", "http://[::1]/old"},
		{`{authority: "127.0.0.1:8080"}`, "http://reviews:9080/old", "http://127.0.0.1:8080/old"},
	} {
		m.Apply(rule("away", "precedence: 2, match: {request: {headers: {uri: {prefix: /old}}}}, redirect: "+c.redirect))
		got := get(t, caller, c.url)
		if location := got.header.Get("Location"); got.status != http.StatusFound || location != c.location {
			t.Errorf("redirect %s of %s: %d to %q, want 302 to %q", c.redirect, c.url, got.status, location, c.location)
		}
		if got := get(t, caller, "http://reviews:9080/other").saw(t); got.Version != "v1" {
			t.Errorf("what is not redirected goes to %s, want v1", got.Version)
		}
	}
}

// A client that follows a redirect arrives at the other service.
func TestRedirectIsFollowed(t *testing.T) {
	t.Parallel()
	m, caller := reportMesh(t)
	m.Start("b", "v1", report("b"))
	m.Apply(rule("away", `precedence: 2, match: {request: {headers: {testredirect: {exact: enabled}}}}, redirect: {uri: /new/path, authority: "b:9080"}`))
	status, body := caller.Get("http://reviews:9080/a?x=1", "testredirect", "enabled")
	if got := (answer{status: status, body: body}).saw(t); got.Version != "b" || got.URI != "/new/path?x=1" {
		t.Errorf("the client that follows arrives at %s %s, want b /new/path?x=1", got.Version, got.URI)
	}
}

// A rewrite replaces the prefix that was matched, else the whole path, and never the query.
func TestRewriteURI(t *testing.T) {
	t.Parallel()
	m, caller := reportMesh(t)
	for _, c := range []struct{ uri, rewrite, path, want string }{
		{`{prefix: /old/}`, "/new/", "/old/a/b?x=/old/", "/new/a/b?x=/old/"},
		{`{prefix: /old/}`, "/", "/old/a", "/a"},
		{`{prefix: /old}`, "/new", "/old", "/new"},
		{`{prefix: /old}`, "/new", "/older/old?x", "/newer/old?x"},
		{`{prefix: /}`, "/new/", "/a/b?x=1", "/new/a/b?x=1"},
		{`{exact: /old}`, "/new", "/old?x=1", "/new?x=1"},
		{`{regex: "/(old|older)/[0-9]+"}`, "/new", "/older/7?x=1", "/new?x=1"},
		{`{regex: "/o(l)d"}`, `/new\1\0`, "/old", "/new/1/0"}, // as proxies spell a backslash
		{"", "/new", "/any/path?x=1", "/new?x=1"},
		{"", "/new", "/", "/new"},
	} {
		match := ""
		if c.uri != "" {
			match = "match: {request: {headers: {uri: " + c.uri + "}}}, "
		}
		m.Apply(rule("some", fmt.Sprintf("precedence: 2, %sroute: [{labels: {version: v2}}], rewrite: {uri: '%s'}", match, c.rewrite)))
		if got := get(t, caller, "http://reviews:9080"+c.path).saw(t); got.Version != "v2" || got.URI != c.want {
			t.Errorf("%s rewritten to %s: %s arrives at %s as %s, want v2 %s", c.uri, c.rewrite, c.path, got.Version, got.URI, c.want)
		}
	}
}

// A rewrite of the authority is the host that the application sees; without one it sees what the client wrote.
func TestRewriteAuthority(t *testing.T) {
	t.Parallel()
	m, caller := reportMesh(t)
	m.Apply(rule("some", `precedence: 2, match: {request: {headers: {uri: {prefix: /some}}}}, rewrite: {uri: /other, authority: "shop.example:81"}`))
	if got := get(t, caller, "http://reviews:9080/some").saw(t); got.Host != "shop.example:81" || got.URI != "/other" {
		t.Errorf("the application sees %s %s, want shop.example:81 /other", got.Host, got.URI)
	}
	if got := get(t, caller, "http://reviews.default:9080/").saw(t); got.Host != "reviews.default:9080" {
		t.Errorf("without a rewrite the application sees %s, want reviews.default:9080", got.Host)
	}
}

// Requests are shared out by weight, also with another service, and a share of 0 gets none.
func TestWeightsOfVersionsAndServices(t *testing.T) {
	t.Parallel()
	m := meshtest.New(t)
	m.Start("reviews", "v1", meshtest.Named("v1"))
	m.Start("reviews", "v2", meshtest.Named("v2"))
	m.Start("other", "v1", meshtest.Named("other"))
	caller := m.Caller("caller", mesh.Labels{"app": "caller"})
	for _, c := range []struct {
		route string
		want  map[string]float64
	}{
		{"[{labels: {version: v1}, weight: 100}]", map[string]float64{"v1": 100}},
		{"[{labels: {version: v2}}]", map[string]float64{"v2": 100}},
		{"[{labels: {version: v1}, weight: 75}, {labels: {version: v2}, weight: 25}]", map[string]float64{"v1": 75, "v2": 25}},
		{"[{labels: {version: v1}, weight: 100}, {labels: {version: v2}, weight: 0}]", map[string]float64{"v1": 100}},
		{"[{labels: {version: v1}, weight: 20}, {destination: {name: other}, weight: 80}]", map[string]float64{"v1": 20, "other": 80}},
	} {
		m.Apply(rule("shares", "route: "+c.route))
		wantShares(t, caller, reviews, c.want)
	}
}

// wantShares sends so many requests that a share that is right misses its 5 points by chance once in a million runs.
func wantShares(t *testing.T, from *meshtest.Instance, url string, want map[string]float64) {
	t.Helper()
	const requests = 2400
	client := from.Client()
	defer client.CloseIdleConnections()
	seen := map[string]int{}
	for range requests {
		seen[fetch(t, client, url)]++
	}
	for body, n := range seen {
		if share := 100 * float64(n) / requests; share < want[body]-5 || share > want[body]+5 || want[body] == 0 {
			t.Errorf("%q answers %.1f %% of the requests, want %.0f", body, share, want[body])
		}
	}
	for body := range want {
		if seen[body] == 0 {
			t.Errorf("%q answers nothing", body)
		}
	}
}
