package admin_test

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

const token = "0123456789abcdef0123456789abcdef"

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// ask sends one request and follows nothing.
func (s *server) ask(t *testing.T, method, path string, edit func(*http.Request)) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.address+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if edit != nil {
		edit(request)
	}
	client := http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(body)}
}

func bearer(value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+value) }
}

// protected are the pages for those who know the token, with a word that each of them says.
var protected = map[string]string{
	"/debug/":                        "/debug/proxies",
	"/debug/proxies":                 "no good",
	"/debug/problems":                "Nothing is wrong",
	"/debug/snapshot":                "What is known",
	"/debug/pprof/":                  "goroutine",
	"/debug/pprof/goroutine":         "",
	"/debug/pprof/profile?seconds=1": "",
	"/v1/status":                     `"ready":true`,
	"/v1/proxies":                    `"b.default"`,
	"/v1/explain?proxy=a.default":    "plan of",
}

// The pages are for who shows the token, in a name of this machine; everybody else is told where it stands, and nothing
// of it stands in an answer.
func TestGate(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	if _, err := s.client.PutRegistry(t.Context(), mesh.Registry{}); err != nil {
		t.Fatal(err)
	}
	for path, says := range protected {
		for name, c := range map[string]struct {
			edit   func(*http.Request)
			status int
			words  string
		}{
			"none":         {nil, http.StatusUnauthorized, "/state/admin.token"},
			"wrong":        {bearer(strings.Repeat("0", len(token))), http.StatusForbidden, "/state/admin.token"},
			"a part":       {bearer(token[:31]), http.StatusForbidden, "wrong"},
			"empty":        {bearer(""), http.StatusUnauthorized, "needs the token"},
			"other scheme": {func(r *http.Request) { r.Header.Set("Authorization", "Basic "+token) }, http.StatusUnauthorized, "needs the token"},
			"right":        {bearer(token), http.StatusOK, says},
			"other name":   {func(r *http.Request) { bearer(token)(r); r.Host = "evil.example:8090" }, http.StatusForbidden, "this machine"},
			"address":      {func(r *http.Request) { bearer(token)(r); r.Host = "192.0.2.1" }, http.StatusForbidden, "this machine"},
			"suffix":       {func(r *http.Request) { bearer(token)(r); r.Host = "localhost.evil.example" }, http.StatusForbidden, "this machine"},
		} {
			got := s.ask(t, http.MethodGet, path, c.edit)
			if got.status != c.status || !strings.Contains(got.body, c.words) {
				t.Errorf("%s with %s: %d %.200s, want %d with %q", path, name, got.status, got.body, c.status, c.words)
			}
			if got.header.Get("Cache-Control") != "no-store" || got.header.Get("Referrer-Policy") != "no-referrer" {
				t.Errorf("%s with %s may be kept: %v", path, name, got.header)
			}
			if strings.Contains(got.body, token) {
				t.Errorf("%s with %s tells the token", path, name)
			}
		}
	}
	for _, host := range []string{"localhost", "LOCALHOST:8090", "127.0.0.1:8090", "127.9.9.9", "[::1]:8090", "[::1]"} {
		if got := s.ask(t, http.MethodGet, "/debug/", func(r *http.Request) { bearer(token)(r); r.Host = host }); got.status != http.StatusOK {
			t.Errorf("host %s: %d %s", host, got.status, got.body)
		}
	}
}

// Nothing can be changed on the port, not even with the token.
func TestGateReadsOnly(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch} {
		for _, path := range []string{"/v1/objects", "/v1/registry", "/debug/pprof/symbol"} {
			if got := s.ask(t, method, path, bearer(token)); got.status != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %d %s", method, path, got.status, got.body)
			}
		}
	}
	if got := s.ask(t, http.MethodGet, "/v1/registry", bearer(token)); got.status != http.StatusNotFound {
		t.Errorf("GET /v1/registry: %d %s", got.status, got.body)
	}
}

// The URL that people are given is exchanged for one without the token, and for a cookie that only these pages get.
func TestGateCookie(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	if _, err := s.client.PutRegistry(t.Context(), mesh.Registry{}); err != nil {
		t.Fatal(err)
	}
	got := s.ask(t, http.MethodGet, "/debug/pprof/goroutine?debug=1&token="+token, nil)
	if got.status != http.StatusSeeOther || got.header.Get("Location") != "/debug/pprof/goroutine?debug=1" {
		t.Errorf("the URL with the token: %d to %q", got.status, got.header.Get("Location"))
	}
	paths := map[string]bool{}
	for _, line := range got.header.Values("Set-Cookie") {
		c, err := http.ParseSetCookie(line)
		if err != nil || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.MaxAge != 0 || c.Domain != "" {
			t.Errorf("the cookie is %q %v", line, err)
			continue
		}
		paths[c.Path] = true
	}
	if want := []string{"/debug", "/v1"}; !slices.Equal(slices.Sorted(maps.Keys(paths)), want) {
		t.Errorf("cookies are for %v, want %v", paths, want)
	}
	if got := s.ask(t, http.MethodGet, "/debug/?token=x", nil); got.status != http.StatusForbidden || len(got.header.Values("Set-Cookie")) != 0 {
		t.Errorf("the URL with a wrong token: %d %v", got.status, got.header)
	}

	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}}
	for _, path := range []string{"/debug/?token=" + token, "/debug/proxies", "/v1/status"} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.address+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := browser.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK || response.Request.URL.RawQuery != "" {
			t.Errorf("a browser at %s: %s at %s", path, response.Status, response.Request.URL)
		}
	}
	if sent := jar.Cookies(&url.URL{Scheme: "http", Host: s.address, Path: "/productpage"}); len(sent) != 0 {
		t.Errorf("other pages of the same host are sent %v", sent)
	}
	stale := func(r *http.Request) {
		_, port, _ := strings.Cut(s.address, ":")
		r.AddCookie(&http.Cookie{Name: "lateen-" + port, Value: "old"}) //nolint:gosec // a request has no attributes of cookies
	}
	if got := s.ask(t, http.MethodGet, "/debug/", stale); got.status != http.StatusForbidden {
		t.Errorf("a cookie of an earlier start: %d %s", got.status, got.body)
	}
}

// The counts of the cache are for everybody, in numbers that add up.
func TestCacheStats(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	got := s.ask(t, http.MethodGet, "/cache_stats", nil)
	var stats api.CacheStats
	if err := json.Unmarshal([]byte(got.body), &stats); err != nil || got.status != http.StatusOK {
		t.Fatalf("%d %v\n%s", got.status, err, got.body)
	}
	if _, ok := stats.Kinds["cluster"]; !ok || stats.Hits != 0 || stats.Misses != 0 {
		t.Errorf("an engine without proxies says %+v", stats)
	}
}
