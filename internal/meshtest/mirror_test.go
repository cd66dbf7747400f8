package meshtest_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/internal/meshtest"
)

// watched is an application that shows what it sees on a channel and answers with 503, which nobody may notice.
func watched(version string) (meshtest.App, chan seen) {
	shown := make(chan seen, 64)
	return meshtest.Handler(func(w http.ResponseWriter, r *http.Request) {
		shown <- sight(version, r)
		w.WriteHeader(http.StatusServiceUnavailable)
	}), shown
}

// next returns what a watched application saw next.
func next(t *testing.T, shown <-chan seen) seen {
	t.Helper()
	select {
	case s := <-shown:
		return s
	case <-time.After(meshtest.Patience):
		t.Fatal("nothing arrived at the mirror")
		return seen{}
	}
}

// A mirror gets a copy of each request, with body, headers and host, as the destination got it; its answers go nowhere.
func TestMirror(t *testing.T) {
	t.Parallel()
	m, caller := reportMesh(t)
	app, shown := watched("mirror")
	m.Start("mirror", "v1", app)
	m.Apply(rule("some", "precedence: 2, match: {request: {headers: {uri: {prefix: /some/}}}}, route: [{labels: {version: v2}}], "+
		"rewrite: {uri: /other/}, appendHeaders: {x-added: by the rule}, mirror: {name: mirror}"))
	for _, r := range []request{
		{method: "POST", url: "http://reviews:9080/some/1?x=1", body: "a body", header: []string{"X-Own", "mine"}},
		{url: "http://reviews.default:9080/some/2"},
		{method: "DELETE", url: "http://reviews:9080/some/3"},
	} {
		want := send(t, caller, r).saw(t)
		got := next(t, shown)
		if want.Version != "v2" || want.Header.Get("X-Added") != "by the rule" {
			t.Errorf("%v: the destination sees %+v", r, want)
		}
		for _, s := range []*seen{&want, &got} {
			s.Version = ""
			// Envoy tells a mirror who makes the copy, and that it does not know the length of what it copies.
			for _, own := range []string{"X-Envoy-Internal", "X-Forwarded-For", "Content-Length"} {
				s.Header.Del(own)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%v: the mirror sees another request:\n%s", r, diff)
		}
	}
	get(t, caller, reviews).saw(t)
	if len(shown) > 0 {
		t.Errorf("the mirror got more: %+v", <-shown)
	}
}

// A mirror may be a version, of the destination itself too.
func TestMirrorWithLabels(t *testing.T) {
	t.Parallel()
	m := meshtest.New(t)
	m.Start("reviews", "v1", report("v1"))
	app, shown := watched("v2")
	m.Start("reviews", "v2", app)
	caller := m.Caller("caller", nil)
	m.Apply(rule("mirrored", "route: [{labels: {version: v1}}], mirror: {name: reviews, labels: {version: v2}}"))
	for range 5 {
		if got := get(t, caller, reviews).saw(t).Version; got != "v1" {
			t.Errorf("the answer is of %s, want v1", got)
		}
		if got := next(t, shown); got.Host != "reviews:9080" {
			t.Errorf("the mirror is called as %s, want reviews:9080", got.Host)
		}
	}
}

// A mirror that refuses connections, has no endpoint, or never answers, does no harm.
func TestDeadMirrorDoesNoHarm(t *testing.T) {
	t.Parallel()
	m, caller := reportMesh(t)
	m.Start("silent", "v1", meshtest.Handler(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	m.Start("dead", "v1", meshtest.Named("dead")).Stop()
	m.AddDeadEndpoint("dead")
	for _, c := range []struct{ mirror, warning string }{
		{"{name: silent}", ""}, {"{name: dead}", ""}, {"{name: reviews, labels: {version: v9}}", "empty-subset"}, {"{name: nowhere}", "unknown-host"},
	} {
		var warnings []string
		if c.warning != "" {
			warnings = []string{c.warning}
		}
		m.Apply(rule("everybody", "precedence: 1, route: [{labels: {version: v1}}], mirror: "+c.mirror), warnings...)
		for range 10 {
			got := send(t, caller, request{method: "POST", url: reviews, body: "a body"})
			if s := got.saw(t); s.Version != "v1" || s.Body != "a body" || got.took > bound {
				t.Errorf("mirror %s: %+v after %v", c.mirror, s, got.took)
			}
		}
	}
}

// Appended headers arrive as they are written, beside what the client sent under the same name.
func TestAppendHeaders(t *testing.T) {
	t.Parallel()
	m, caller := reportMesh(t)
	const odd = `100 % of "%REQ(:path)%" {x}, \n é`
	m.Apply(rule("some", `precedence: 2, route: [{labels: {version: v2}}], appendHeaders: {istio-custom-header: user-defined-value, x-odd: '`+odd+`', X-Upper: one}`))
	got := get(t, caller, reviews, "X-Upper", "zero").saw(t)
	for name, want := range map[string][]string{
		"Istio-Custom-Header": {"user-defined-value"}, "X-Odd": {odd}, "X-Upper": {"zero", "one"},
	} {
		if diff := cmp.Diff(want, got.Header[name]); diff != "" {
			t.Errorf("the application sees another %s:\n%s", name, diff)
		}
	}
	m.Apply(rule("some", "precedence: 2, route: [{labels: {version: v2}}]"))
	if got := get(t, caller, reviews).saw(t); got.Version != "v2" || got.Header["X-Upper"] != nil {
		t.Errorf("without the rule's headers the application still sees %v", got.Header)
	}
}
