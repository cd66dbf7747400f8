package plan

import (
	"regexp"
	"strings"
	"testing"
)

var (
	somePaths = []string{
		"/", "/a", "/a/", "/a/b", "/a/b/", "/a/b/c", "/ab", "/abc", "/a/bc", "/b", "/b/a", "/A", "/a/b.c", "/axb", "/aab",
	}
	someMatches = []PathMatch{
		anyPath,
		{PathExact, "/"},
		{PathExact, "/a"},
		{PathExact, "/a/"},
		{PathExact, "/a/b"},
		{PathExact, "/ab"},
		{PathPrefix, "/a"},
		{PathPrefix, "/a/"},
		{PathPrefix, "/a/b"},
		{PathPrefix, "/ab"},
		{PathPrefix, "/b"},
		{PathElementPrefix, "/a"},
		{PathElementPrefix, "/a/b"},
		{PathElementPrefix, "/ab"},
		{PathElementPrefix, "/b"},
		{PathRegex, "/.*"},
		{PathRegex, "/a.*b"},
		{PathRegex, "/(a|b)/?"},
		{PathRegex, "/[^b]+$"},
		{PathRegex, "^/(?i:a)"},
		{PathRegex, "/a[a-z?]*b"},
	}
)

// What is made of two matches takes the paths that both take and no other, whatever query a request has.
func TestBoth(t *testing.T) {
	takes := map[PathMatch]map[string]bool{}
	for _, m := range someMatches {
		takes[m] = map[string]bool{}
		for _, path := range somePaths {
			takes[m][path] = m.Takes(path)
		}
	}
	for _, a := range someMatches {
		for _, b := range someMatches {
			lead, also, ok := both(a, b)
			if also != nil && a.Kind != PathRegex && b.Kind != PathRegex {
				t.Errorf("%v and %v are two conditions, and one would do", a, b)
			}
			if also != nil && lead != b {
				t.Errorf("of %v and %v the first one leads", a, b)
			}
			var some bool
			var condition HeaderMatch
			if also != nil {
				condition = pathHeader(*also)
			}
			for _, path := range somePaths {
				want := takes[a][path] && takes[b][path]
				some = some || want
				for _, query := range []string{"", "?", "?x=b", "?/a/b", "?c=/a/b/"} {
					got := ok && takes[lead][path] && (also == nil || condition.Takes(path+query))
					if got != want {
						t.Errorf("%v and %v: takes %s: %v, want %v (%v, %v)", a, b, path+query, got, want, lead, also)
					}
				}
			}
			if !ok && some {
				t.Errorf("%v and %v are said to have nothing in common", a, b)
			}
		}
	}
}

// An exact path in the pseudo-header is the path with any query.
func TestExactPathHeader(t *testing.T) {
	h := pathHeader(PathMatch{PathExact, "/a.b"})
	for path, want := range map[string]bool{"/a.b": true, "/a.b?": true, "/a.b?x=/": true, "/axb": false, "/a.b/": false} {
		if got := h.Takes(path); got != want {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
}

// FuzzWithoutQuery looks for expressions that take a query for a part of the path, or lose a path.
func FuzzWithoutQuery(f *testing.F) {
	for _, m := range someMatches {
		f.Add(m.Value, "/a/b", "x=b")
	}
	f.Fuzz(func(t *testing.T, expression, path, query string) {
		m := PathMatch{PathRegex, expression}
		if _, err := regexp.Compile(expression); err != nil || strings.ContainsAny(path, "?\n") || strings.Contains(query, "\n") ||
			strings.ContainsAny(expression, "^$\\") || len(expression) > 40 {
			return
		}
		if got := pathHeader(m).Takes(path + "?" + query); got != m.Takes(path) {
			t.Errorf("%q takes %q: %v, with a query %q: %v by %s", expression, path, m.Takes(path), query, got, pathHeader(m).Value)
		}
	})
}
