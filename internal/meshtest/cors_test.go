package meshtest_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/internal/meshtest"
)

// corsHeaders returns what an answer says to browsers, with names of headers in lower case.
func corsHeaders(a answer) map[string]string {
	said := map[string]string{}
	for name, values := range a.header {
		if what, ok := strings.CutPrefix(name, "Access-Control-"); ok {
			said[what] = strings.ToLower(strings.Join(values, "|"))
		}
	}
	return said
}

// A proxy answers a preflight by itself, tells browsers of allowed origins that scripts may read an answer, and others
// nothing.
func TestCORS(t *testing.T) {
	t.Parallel()
	const good, bad = "http://good.test", "http://bad.test"
	m, caller := reportMesh(t)
	preflight := func(origin string) answer {
		return send(t, caller, request{method: "OPTIONS", url: reviews, header: []string{"Origin", origin, "Access-Control-Request-Method", "PUT"}})
	}
	for _, c := range []struct {
		name, policy, origin string
		preflight, simple    map[string]string
	}{
		{
			"the least", "{allowOrigin: ['" + good + "']}", good,
			map[string]string{"Allow-Origin": good},
			map[string]string{"Allow-Origin": good},
		},
		{
			"everything", "{allowOrigin: ['http://other.test:81', '" + good + "'], allowMethods: [GET, PUT], allowHeaders: [X-Foo-Bar, content-type], " +
				"exposeHeaders: [X-Seen, x-also], maxAge: 1h, allowCredentials: true}", good,
			map[string]string{
				"Allow-Origin": good, "Allow-Methods": "get,put", "Allow-Headers": "x-foo-bar,content-type", "Max-Age": "3600", "Allow-Credentials": "true",
			},
			map[string]string{"Allow-Origin": good, "Expose-Headers": "x-seen,x-also", "Allow-Credentials": "true"},
		},
		{
			"every origin", "{allowOrigin: ['*'], allowMethods: [POST], maxAge: 0s}", bad,
			map[string]string{"Allow-Origin": bad, "Allow-Methods": "post", "Max-Age": "0"},
			map[string]string{"Allow-Origin": bad},
		},
	} {
		m.Apply(rule("some", "precedence: 2, route: [{labels: {version: v2}}], corsPolicy: "+c.policy))
		got := preflight(c.origin)
		said := corsHeaders(got)
		delete(said, "Expose-Headers") // of no meaning here
		if diff := cmp.Diff(c.preflight, said); got.status != http.StatusOK || got.body != "" || diff != "" {
			t.Errorf("%s: the preflight is answered with %d %q\n%s", c.name, got.status, got.body, diff)
		}
		got = get(t, caller, reviews, "Origin", c.origin)
		if diff := cmp.Diff(c.simple, corsHeaders(got)); got.saw(t).Version != "v2" || diff != "" {
			t.Errorf("%s: a simple request is answered with other headers:\n%s", c.name, diff)
		}
		if got := get(t, caller, reviews); got.saw(t).Version != "v2" || len(corsHeaders(got)) > 0 {
			t.Errorf("%s: without an origin the answer says %v", c.name, corsHeaders(got))
		}
	}
	m.Apply(rule("some", "precedence: 2, corsPolicy: {allowOrigin: ['"+good+"'], allowMethods: [PUT], allowCredentials: true}"))
	for _, origin := range []string{bad, good + ".bad.test", "https://good.test", "null"} {
		if got := get(t, caller, reviews, "Origin", origin); got.status != http.StatusOK || len(corsHeaders(got)) > 0 {
			t.Errorf("the origin %s is told %d %v, want nothing", origin, got.status, corsHeaders(got))
		}
		if got := preflight(origin); len(corsHeaders(got)) > 0 {
			t.Errorf("a preflight of the origin %s is told %v, want nothing", origin, corsHeaders(got))
		}
	}
}

// A preflight is answered where its own rule's policy says so, also when the rule aborts requests: a browser then sees
// the abort.
func TestCORSBesideFaults(t *testing.T) {
	t.Parallel()
	m, caller := reportMesh(t)
	m.Apply(rule("some", "precedence: 2, corsPolicy: {allowOrigin: ['http://good.test'], allowMethods: [GET]}, httpFault: {abort: {httpStatus: 503}}"))
	header := []string{"Origin", "http://good.test"}
	if got := send(t, caller, request{method: "OPTIONS", url: reviews, header: append(header, "Access-Control-Request-Method", "GET")}); got.status != http.StatusOK {
		t.Errorf("the preflight is answered with %d, want 200", got.status)
	}
	got := get(t, caller, reviews, header...)
	if got.status != http.StatusServiceUnavailable || corsHeaders(got)["Allow-Origin"] != "http://good.test" {
		t.Errorf("the abort is answered with %d %v, want 503 for the origin", got.status, corsHeaders(got))
	}
}

// What an application says to browsers itself is replaced where a rule has a policy, and left alone elsewhere.
func TestCORSOfTheApplication(t *testing.T) {
	t.Parallel()
	m := meshtest.New(t)
	m.Start("reviews", "v1", meshtest.Handler(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "http://own.test")
	}))
	caller := m.Caller("caller", nil)
	if got := corsHeaders(get(t, caller, reviews, "Origin", "http://own.test")); got["Allow-Origin"] != "http://own.test" {
		t.Errorf("without a rule the answer says %v, want what the application said", got)
	}
	m.Apply(rule("some", "corsPolicy: {allowOrigin: ['http://good.test']}"))
	if got := corsHeaders(get(t, caller, reviews, "Origin", "http://good.test")); got["Allow-Origin"] != "http://good.test" {
		t.Errorf("with a rule the answer says %v, want the rule's origin alone", got)
	}
}
