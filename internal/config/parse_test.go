package config_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/golden"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// thing is a spec with a field of every shape.
type thing struct {
	Text     string            `yaml:"text"`
	Count    int32             `yaml:"count"`
	Share    *float64          `yaml:"share"`
	On       bool              `yaml:"on"`
	MaxWait  *config.Duration  `yaml:"maxWait"`
	Labels   map[string]string `yaml:"labels"`
	Parts    []part            `yaml:"parts"`
	Inner    *part             `yaml:"inner"`
	Mirror   *part             `yaml:"mirror" lateen:"later"`
	UDPPorts []int32           `yaml:"udp" lateen:"never"`
}

type part struct {
	Name   string `yaml:"name"`
	Weight int    `yaml:"weight"`
}

func (part) Example() string { return "{name: a, weight: 1}" }

var kinds = config.Kinds{
	{Name: "Thing", APIVersions: []string{"test.dev/v1"}, Type: "thing", Plural: "things", Short: []string{"th"}, Translate: translate},
	{Name: "Silent", APIVersions: []string{"test.dev/v1"}, Type: "silent", Plural: "silents"},
}

func translate(o *config.Object) (config.Meaning, []mesh.Problem) {
	c := config.Check{Object: o}
	c.Decode("spec", &thing{})
	return config.Meaning{Rules: []*mesh.RouteRule{{Object: o.Ref}}}, c.Problems
}

// TestParse shows what comes of a file: its objects, with what they hold, and everything that is wrong.
func TestParse(t *testing.T) {
	golden.Run(t, "testdata/parse", func(_ *testing.T, c *golden.Case) {
		objects, problems := config.Parse("in.yaml", []byte(c.In("in.yaml")), "")
		var list strings.Builder
		for i := range objects {
			o := &objects[i]
			meaning, more := kinds.Read(o)
			problems = append(problems, more...)
			fmt.Fprintf(&list, "%s %s at %s", o.APIVersion, o.Ref, o.Origin)
			if len(meaning.Rules) == 0 {
				list.WriteString(" means nothing")
			}
			list.WriteString("\n")
		}
		mesh.SortProblems(problems)
		c.Out("objects.txt", list.String())
		c.Out("problems.txt", lines(problems))
	})
}

func lines(problems []mesh.Problem) string {
	var b strings.Builder
	for _, p := range problems {
		fmt.Fprintln(&b, p)
	}
	return b.String()
}

func TestParseFrame(t *testing.T) {
	const text = `# a comment
apiVersion: test.dev/v1
kind: Thing
metadata:
  name: a.b-c
  namespace: shop
  labels: {app: a}
  annotations: {note: "1"}
  resourceVersion: "7"
`
	objects, problems := config.Parse("a.yaml", []byte("---\n"+text+"---\n"), "other")
	if len(problems) > 0 || len(objects) != 1 {
		t.Fatalf("got %d objects and %v", len(objects), problems)
	}
	got := objects[0]
	got.Root = nil
	want := config.Object{
		Ref:        mesh.Ref{Kind: "Thing", Namespace: "shop", Name: "a.b-c"},
		APIVersion: "test.dev/v1", Labels: map[string]string{"app": "a"}, Annotations: map[string]string{"note": "1"},
		ResourceVersion: "7", Origin: mesh.Position{File: "a.yaml", Line: 3, Column: 1}, Text: text,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestParseNamespace(t *testing.T) {
	for _, c := range []struct{ argument, document, want string }{
		{"", "", "default"}, {"shop", "", "shop"}, {"shop", "namespace: bank", "bank"},
	} {
		objects, _ := config.Parse("", []byte("{apiVersion: v1, kind: Thing, metadata: {name: a, "+c.document+"}}"), c.argument)
		if len(objects) != 1 || objects[0].Namespace != c.want {
			t.Errorf("argument %q, document %q: got %v, want namespace %q", c.argument, c.document, objects, c.want)
		}
	}
}

func TestParseListItemStandsAlone(t *testing.T) {
	const list = "apiVersion: v1\nkind: List\nitems:\n" +
		"- {apiVersion: v1, kind: Thing, metadata: &m {name: a, labels: {x: y}}}\n" +
		"- {apiVersion: v1, kind: Other, metadata: *m}\n"
	objects, problems := config.Parse("", []byte(list), "")
	if len(objects) != 2 || len(problems) > 0 {
		t.Fatalf("got %d objects and %v", len(objects), problems)
	}
	for _, o := range objects {
		again, problems := config.Parse("", []byte(o.Text), "")
		if len(again) != 1 || len(problems) > 0 || again[0].Ref != o.Ref || again[0].Labels["x"] != "y" {
			t.Errorf("%s reads as %v, %v", o.Text, again, problems)
		}
	}
}

func TestParseBounds(t *testing.T) {
	object := func(name, spec string) string {
		return "---\n{apiVersion: test.dev/v1, kind: Thing, metadata: {name: " + name + "}, spec: " + spec + "}\n"
	}
	laughs := "{a: &a [" + strings.Repeat("x, ", 9) + "x]"
	for c := 'b'; c <= 'h'; c++ {
		laughs += fmt.Sprintf(", %c: &%c [%s*%c]", c, c, strings.Repeat(fmt.Sprintf("*%c, ", c-1), 9), c-1)
	}
	for _, c := range []struct {
		name, file string
		objects    int
		want       string
	}{
		{"size", object("a", strings.Repeat("x", 1<<20)), 0, "f:1: error: the file has more than 1048576 bytes and is not read [too-large]"},
		{"documents", strings.Repeat(object("a", "{}"), 1001), 1000, "f:2002: error: the file has more than 1000 documents: only the first 1000 are read [too-large]"},
		{
			"items", "apiVersion: v1\nkind: List\nitems:\n" + strings.Repeat("- {apiVersion: v1, kind: Thing, metadata: {name: a}}\n", 1002) + object("b", "{}"), 1000,
			"f:1004:3: error: the file has more than 1000 documents: only the first 1000 are read [too-large]",
		},
		{"separators", strings.Repeat("---\n", 100_000) + object("a", "{}"), 1, ""},
		{
			"depth", object("a", strings.Repeat("[", 64)+strings.Repeat("]", 64)) + object("b", "{}"), 1,
			"f:2:130: error: nested more than 64 deep [too-large]",
		},
		{
			"expansion", object("a", laughs+"}") + object("b", "{}"), 1,
			"f:2:90: error: the file has more than 100000 nodes, aliases counted as what they stand for [too-large]",
		},
		{"cycle", object("a", "&s {a: *s}") + object("b", "{}"), 1, "f:2:71: error: nested more than 64 deep [too-large]"},
		{"merged cycle", object("a", "&s {<<: *s}"), 0, "f:2:71: error: nested more than 64 deep [too-large]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			objects, problems := config.Parse("f", []byte(c.file), "")
			if got := strings.TrimSpace(lines(problems)); got != c.want || len(objects) != c.objects {
				t.Errorf("got %d objects and %q, want %d and %q", len(objects), got, c.objects, c.want)
			}
		})
	}
}

func TestReadBoundsProblems(t *testing.T) {
	file := "apiVersion: test.dev/v1\nkind: Thing\nmetadata: {name: a}\nspec:\n"
	for i := range 150 {
		file += fmt.Sprintf("  field%d: x\n", i)
	}
	objects, _ := config.Parse("", []byte(file), "")
	_, problems := kinds.Read(&objects[0])
	if last := problems[len(problems)-1]; len(problems) != 101 || last.Message != "there are more problems than these 100" {
		t.Errorf("got %d problems, the last one: %s", len(problems), last)
	}
}

func TestNamed(t *testing.T) {
	for word, want := range map[string]string{
		"Thing": "Thing", "thing": "Thing", "things": "Thing", "TH": "Thing", "silent": "Silent", "nothing": "", "": "",
	} {
		got := ""
		if k := kinds.Named(word); k != nil {
			got = k.Name
		}
		if got != want {
			t.Errorf("Named(%q) is %q, want %q", word, got, want)
		}
	}
}

// FuzzParse shows that no file makes Parse or Read panic or run away, and that every problem has a place in the file.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", "---\n...\n", "a: b\n c: d\n", "a: \"b\n", "\t", "? [a]\n: {b: *c}\n", "%YAML 1.1\n---\na: &a [*a]\n",
		"apiVersion: test.dev/v1\nkind: Thing\nmetadata: {name: a, labels: {a: b}}\nspec: {text: x, count: 1, share: 2.5, on: true}\n",
		"apiVersion: test.dev/v1\nkind: Thing\nmetadata: {name: a}\nspec: {max_wait: 1d, parts: [{name: 1}, 2, null], udp: [1], mirror: {}}\n",
		"apiVersion: v1\nkind: List\nitems:\n- &a {apiVersion: test.dev/v1, kind: Thing, metadata: {name: a}}\n- *a\n- {<<: *a, kind: Silent}\n",
		"apiVersion: test.dev/v1\nkind: Thing\nmetadata: {name: a}\nspec: {text: !!binary aGk=, on: !!bool x, count: !!int x, share: .nan}\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		objects, problems := config.Parse("f", data, "")
		for i := range objects {
			_, more := kinds.Read(&objects[i])
			problems = append(problems, more...)
		}
		last := 1
		for _, lineBreak := range []string{"\n", "\r", "\u0085", "\u2028", "\u2029"} { // all that YAML counts
			last += strings.Count(string(data), lineBreak)
		}
		for _, p := range problems {
			if p.Position.Line < 1 || p.Position.Line > last {
				t.Errorf("%s: the file has %d lines", p, last)
			}
		}
	})
}
