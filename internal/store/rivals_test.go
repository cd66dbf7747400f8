package store_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// TestRivals shows, for pairs of matches of one precedence, whether the second rule is never reached, whether both may take
// a request, or neither.
func TestRivals(t *testing.T) {
	const (
		unreachable = "unreachable-rule"
		overlapping = "overlapping-rules"
	)
	uri := func(kind, value string) string { return "uri: {kind: " + kind + ", value: '" + value + "'}" }
	headers := func(all ...string) string { // "name kind value"
		list := make([]string, 0, len(all))
		for _, h := range all {
			part := strings.SplitN(h, " ", 3)
			list = append(list, fmt.Sprintf("{name: %s, kind: %s, value: '%s'}", part[0], part[1], part[2]))
		}
		return "headers: [" + strings.Join(list, ", ") + "]"
	}
	for _, c := range []struct{ first, second, want string }{
		{"", "", unreachable},
		{"", uri("exact", "/a"), unreachable},
		{uri("prefix", "/"), headers("a exact b"), unreachable},
		{uri("exact", "/a"), "", overlapping},
		{"precedence: 1, " + uri("exact", "/a"), "", ""},
		{"precedence: 1", "", unreachable},
		{"source: {host: a}", "", overlapping},
		{"source: {host: a}", "source: {host: a}", unreachable},
		{"source: {host: a}", "source: {host: a, labels: {v: x}}", unreachable},
		{"source: {host: a, labels: {v: x}}", "source: {host: a}", overlapping},
		{"source: {host: a, labels: {v: x}}", "source: {host: a, labels: {v: y}}", ""},
		{"source: {labels: {v: x}}", "source: {host: a, labels: {v: x}}", unreachable},
		{"source: {labels: {v: x}}", "source: {labels: {u: x}}", overlapping},
		{"source: {host: a}", "source: {host: b}", ""},
		{"", "source: {host: a}", unreachable},
		{uri("prefix", "/a"), uri("exact", "/ab"), unreachable},
		{uri("prefix", "/a"), uri("prefix", "/a/b"), unreachable},
		{uri("prefix", "/a/b"), uri("prefix", "/a"), overlapping},
		{uri("prefix", "/a"), uri("prefix", "/b"), ""},
		{uri("exact", "/a"), uri("exact", "/a"), unreachable},
		{uri("exact", "/a"), uri("exact", "/b"), ""},
		{uri("exact", "/a"), uri("prefix", "/b"), ""},
		{uri("elements", "/a"), uri("exact", "/a/b"), unreachable},
		{uri("elements", "/a"), uri("exact", "/ab"), ""},
		{uri("elements", "/a"), uri("prefix", "/a/"), unreachable},
		{uri("elements", "/a"), uri("prefix", "/a"), overlapping},
		{uri("prefix", "/a"), uri("elements", "/a"), unreachable},
		{uri("elements", "/"), uri("regex", ".*"), unreachable},
		{uri("regex", "/a.*"), uri("exact", "/ab"), unreachable},
		{uri("regex", "/a"), uri("exact", "/ab"), ""}, // the whole path must match
		{uri("regex", "/a.*"), uri("exact", "/b"), ""},
		{uri("regex", "/a.*"), uri("regex", "/b.*"), overlapping}, // not known
		{uri("regex", "/a.*"), uri("prefix", "/a"), overlapping},
		{uri("regex", "/a|/b"), uri("exact", "/a/b"), ""},
		{headers("a exact x"), headers("a exact x", "b exact y"), unreachable},
		{headers("a exact x", "b exact y"), headers("a exact x"), overlapping},
		{headers("a exact x"), headers("b exact x"), overlapping},
		{headers("a exact x"), headers("a exact y"), ""},
		{headers("a prefix x"), headers("a exact xy", "b regex y"), unreachable},
		{headers("a regex x+"), headers("a regex x+"), unreachable},
		{headers("a exact x") + ", " + uri("prefix", "/a"), headers("a exact x") + ", " + uri("exact", "/a"), unreachable},
		{headers("a exact x") + ", " + uri("prefix", "/a"), headers("a exact x") + ", " + uri("exact", "/b"), ""},
		{headers("a exact x") + ", " + uri("prefix", "/a"), uri("exact", "/a"), overlapping},
		{"tcp: {sources: [10.0.0.0/8]}", "tcp: {sources: [10.1.0.0/16]}", unreachable},
		{"tcp: {sources: [10.1.0.0/16]}", "tcp: {sources: [10.0.0.0/8]}", overlapping},
		{"tcp: {sources: [10.1.0.0/16]}", "tcp: {sources: [10.2.0.0/16]}", ""},
		{"tcp: {sources: [10.0.0.0/8]}", "tcp: {destinations: [10.0.0.0/8]}", overlapping},
		{"tcp: {sources: [10.0.0.0/8]}", "", overlapping},
		{"", "tcp: {sources: [10.0.0.0/8]}", unreachable},
		{"tcp: {sources: [10.0.0.0/8], destinations: [10.1.0.0/16, 10.2.0.0/16]}", "tcp: {sources: [10.9.0.0/16], destinations: [10.2.3.0/24]}", unreachable},
	} {
		t.Run(c.first+" before "+c.second, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := start(t)
				b.setYAML(t, "file", says("a", "rules: [{destination: r, "+c.first+"}]")+says("b", "rules: [{destination: r, "+c.second+"}]"))
				got := ""
				for _, p := range b.Problems() {
					got += p.Code
					if p.Object.Name != "b" || p.Severity != mesh.Warning {
						t.Errorf("told as %s", p)
					}
				}
				if got != c.want {
					t.Errorf("%q, want %q", got, c.want)
				}
			})
		})
	}
}

// TestRedirectsLeaveBytes shows that a rule behind a redirect of every request is reached where a port of the service is
// not for requests.
func TestRedirectsLeaveBytes(t *testing.T) {
	for _, c := range []struct {
		ports  []mesh.Port // nil: no such service
		second string
		want   bool
	}{
		{[]mesh.Port{{Number: 80, Protocol: mesh.HTTP}}, "", false},
		{[]mesh.Port{{Number: 80, Protocol: mesh.HTTP}, {Number: 3306, Protocol: mesh.TCP}}, "", true},
		{[]mesh.Port{{Number: 3306, Protocol: mesh.TCP}}, "tcp: {sources: [10.0.0.0/8]}", true},
		{[]mesh.Port{{Number: 3306, Protocol: mesh.TCP}}, "uri: {kind: exact, value: /a}", false},
		{[]mesh.Port{{Number: 3306, Protocol: mesh.TCP}}, "headers: [{name: a, kind: exact, value: b}]", false},
		{[]mesh.Port{{Number: 3306, Protocol: mesh.TCP}}, "redirect: {uri: /b}", false},
		{nil, "", true},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := start(t)
			if c.ports != nil {
				b.setRegistry(t, "local", mesh.Registry{Services: []*mesh.Service{{Host: "r", Name: "r", Ports: c.ports}}})
			}
			b.setYAML(t, "file", says("a", "rules: [{destination: r, precedence: 1, redirect: {uri: /}}]")+says("b", "rules: [{destination: r, "+c.second+"}]"))
			if got := !strings.Contains(b.problems(), "unreachable-rule"); got != c.want {
				t.Errorf("ports %v, rule %q: reached %v, want %v", c.ports, c.second, got, c.want)
			}
		})
	}
}

// TestRivalsOfOneHost shows that each rule is told once, with the first that is in its way, and only rules of one host are
// compared.
func TestRivalsOfOneHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t)
		match := func(name, more, headers string) string {
			return fmt.Sprintf("---\napiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata:\n  name: %s\nspec:\n  destination: {name: reviews}\n%s"+
				"  match:\n    request: {headers: {%s}}\n", name, more, headers)
		}
		b.setRegistry(t, "local", mesh.Registry{
			Services:  []*mesh.Service{service("reviews", 9080), service("ratings", 9080)},
			Endpoints: []*mesh.EndpointSet{{Host: host("ratings"), Endpoints: []mesh.Endpoint{endpoint("10.0.0.1", "v1")}}},
		})
		b.setYAML(t, "file", rule("other", "ratings", "v1")+
			match("a", "", "cookie: {exact: x}")+match("b", "", "agent: {exact: x}")+match("c", "", "agent: {prefix: x}, cookie: {exact: x}")+
			match("high", "  precedence: 2\n", "cookie: {exact: x}")+
			strings.Split(match("z", "", ""), "  match")[0])
		const want = `file.yaml:13:3: warning: RouteRule default/a: spec.match: the rule is never reached: RouteRule default/high is tried before it and takes every request that it takes [unreachable-rule]
  hint: give it a precedence above 2, or remove it
file.yaml:22:3: warning: RouteRule default/b: spec.match: RouteRule default/a has the same precedence 0 and may take the same requests: it is tried first, only because of its name [overlapping-rules]
  hint: give the one that is to be tried first a higher precedence
file.yaml:31:3: warning: RouteRule default/c: spec.match: the rule is never reached: RouteRule default/high is tried before it and takes every request that it takes [unreachable-rule]
  hint: give it a precedence above 2, or remove it
file.yaml:47:9: warning: RouteRule default/z: metadata.name: RouteRule default/a has the same precedence 0 and may take the same requests: it is tried first, only because of its name [overlapping-rules]
  hint: give the one that is to be tried first a higher precedence
`
		if got := b.problems(); got != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
	})
}

// TestReviewIsBounded shows that many rules of one host, many problems of one object and many objects are no burden.
func TestReviewIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t)
		var rules, paths, overlapping strings.Builder
		for i := range 5000 {
			fmt.Fprintf(&rules, "{destination: r, uri: {kind: exact, value: /%d}}, ", i)
			fmt.Fprintf(&paths, "{path: {kind: exact, value: /a}}, ")
			fmt.Fprintf(&overlapping, "{destination: s, headers: [{name: h%d, kind: regex, value: x}]}, ", i)
		}
		b.setYAML(t, "file", says("a", "rules: ["+rules.String()+"]"))
		b.setYAML(t, "paths", says("b", "doors: ["+paths.String()+"]"))
		b.setYAML(t, "one", says("c", "rules: ["+overlapping.String()+"]"))
		if got := len(b.Problems()); got != 100 {
			t.Errorf("%d problems", got)
		}
	})
}
