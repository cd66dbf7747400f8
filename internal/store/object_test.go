package store_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
)

func TestFirstOfANameCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, "file", "api")
		b.setYAML(t, "api", rule("a", "reviews", "v3"))
		b.setYAML(t, "file", rule("a", "reviews", "v1")+rule("a", "reviews", "v2"))
		for _, step := range []struct{ source, file, want, problems string }{
			{
				"file", rule("a", "reviews", "v1") + rule("a", "reviews", "v2"), "a=v1",
				"api.yaml:4:18: error: RouteRule default/a: metadata.name: the name is taken by the object at file.yaml:2:1 [duplicate-object]\n" +
					"  hint: the first one counts; give this one another name or remove it\n" +
					"file.yaml:9:18: error: RouteRule default/a: metadata.name: the name is taken by the object at file.yaml:2:1 [duplicate-object]\n" +
					"  hint: the first one counts; give this one another name or remove it\n",
			},
			{
				"file", rule("a", "reviews", "v4"), "a=v4",
				"api.yaml:4:18: error: RouteRule default/a: metadata.name: the name is taken by the object at file.yaml:2:1 [duplicate-object]\n" +
					"  hint: the first one counts; give this one another name or remove it\n",
			},
			{"file", "", "a=v3", ""},
			{"api", "", "", ""},
		} {
			b.setYAML(t, step.source, step.file)
			if got := versions(b.Snapshot(), "reviews"); got != step.want {
				t.Errorf("rules: %s, want %s", got, step.want)
			}
			var got strings.Builder
			for _, p := range b.Problems() {
				if p.Code == "duplicate-object" {
					fmt.Fprintln(&got, p)
				}
			}
			if got.String() != step.problems {
				t.Errorf("got %s\nwant %s", got.String(), step.problems)
			}
		}
	})
}

// TestSamePlaceTwice hands in one object twice from one place, as an alias in a List does.
func TestSamePlaceTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, "file")
		const list = "apiVersion: v1\nkind: List\nitems:\n- &a {apiVersion: config.istio.io/v1alpha2, kind: RouteRule, metadata: {name: a}, " +
			"spec: {destination: {name: reviews}, route: [{labels: {version: v1}}]}}\n- *a\n"
		b.setYAML(t, "file", list)
		b.setYAML(t, "file", list)
		if got := versions(b.Snapshot(), "reviews"); got != "a=v1" || b.translations.Load() != 2 {
			t.Errorf("rules: %s after %d translations", got, b.translations.Load())
		}
		b.setYAML(t, "file", "")
		if len(b.Objects()) > 0 || b.Snapshot().Rules(host("reviews")) != nil {
			t.Errorf("left behind: %v", b.Objects())
		}
	})
}

func TestBadObjectHarmsNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, "file")
		b.setYAML(t, "file", rule("a", "reviews", "v1")+
			"---\nnot: [yaml\n---\napiVersion: lateen.dev/v1alpha1\nkind: Mesh\nmetadata: {name: m}\nspec: {any: thing}\n"+
			"---\napiVersion: v1\nkind: RouteRul\nmetadata: {name: s}\n"+
			strings.Replace(rule("b", "reviews", "v2"), "route:", "rout:", 1)+rule("c", "reviews", "v3"))
		if got := versions(b.Snapshot(), "reviews"); got != "a=v1 c=v3" {
			t.Errorf("rules: %s", got)
		}
		const want = `file.yaml:7:1: error: not YAML: did not find expected ',' or ']' [syntax]
file.yaml:15:7: error: RouteRul default/s: kind: unknown kind "RouteRul" of "v1" [unknown-kind]
  hint: did you mean "RouteRule"?
file.yaml:21:38: error: RouteRule default/b: spec.rout: unknown field [unknown-field]
  hint: did you mean "route"?
`
		var got strings.Builder
		for _, p := range b.Problems() {
			if p.Severity == "error" {
				fmt.Fprintln(&got, p)
			}
		}
		if got.String() != want {
			t.Errorf("got %s\nwant %s", got.String(), want)
		}
		var objects []string
		for _, o := range b.Objects() {
			objects = append(objects, o.Source+" "+o.String())
		}
		if got := strings.Join(objects, ", "); got != "file Mesh default/m, file RouteRul default/s, file RouteRule default/a, file RouteRule default/b, file RouteRule default/c" {
			t.Errorf("objects: %s", got)
		}
		b.setYAML(t, "file", rule("a", "reviews", "v1")+"---\nnot: [yaml\n")
		if logged := strings.Count(b.log.String(), "not YAML"); logged != 1 {
			t.Errorf("one problem is logged %d times", logged)
		}
	})
}

func TestDoorOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, "file", "api")
		door := func(name, rules, more string) string {
			return "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: " + name + "}\nspec:\n  rules:\n  - http:\n      paths:\n" + rules + more
		}
		path := func(kind, path string) string {
			return "      - {path: " + path + ", pathType: " + kind + ", backend: {service: {name: web, port: {number: 80}}}}\n"
		}
		b.setYAML(t, "api", "")
		b.setYAML(t, "file", door("b", path("Prefix", "/")+path("Exact", "/a")+path("Prefix", "/a/b"), "")+
			door("a", path("Prefix", "/a/b")+path("Prefix", "/a"), "  defaultBackend: {service: {name: web, port: {name: http}}}\n"))
		var got []string
		for _, r := range b.Snapshot().Door().Rules {
			got = append(got, fmt.Sprintf("%s %s %s default=%v", r.Object.Name, r.Path.Kind, r.Path.Value, r.Default))
		}
		const want = `b exact /a default=false
a elements /a/b default=false
b elements /a/b default=false
a elements /a default=false
b elements / default=false
a elements / default=true`
		if text := strings.Join(got, "\n"); text != want {
			t.Errorf("got %s\nwant %s", text, want)
		}
		before := b.Snapshot().Door()
		b.takeKeys()
		b.setYAML(t, "api", rule("r", "web", "v1"))
		if b.Snapshot().Door() != before || b.takeKeys() != "rules web.default.svc.cluster.local" {
			t.Error("a route rule makes a new door")
		}
		b.setYAML(t, "file", "")
		if b.Snapshot().Door() != nil || b.takeKeys() != "door " {
			t.Error("the door is still there")
		}
	})
}
