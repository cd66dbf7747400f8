package edit

import (
	"strings"
	"testing"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// FuzzApply lets every collection of a document grow and shrink again. The result means what it has to, which Apply
// checks; unless it had to be written anew, what was there is still there, and the way back ends at the same bytes.
func FuzzApply(f *testing.F) {
	for _, text := range []string{
		"a: 1\nb:\n  x: y\nc:\n- z\n", "a: {b: [1, {c: 'd'}], \"e\": f}", "{\n  \"a\": [\n    {\"b\": 1}\n  ]\n}\n",
		"a: |\n  x\n\n  # y\n# z\nb:\n  -\n    c: >+\n     d\n\ne: \"f\n  # g\"", "? a\n: b\n", "- - a\n  - b: c\n    d:\n- e\n",
		"a: &a {b: c}\nd: *a\ne:\n  <<: *a\n  f: g\n", "a:\r\n  b: c\r\n  # d\r\n", "--- !!map\na: !t {b: }\n", "a: [b\n,c]\n\n# d\n",
		"a:\n  &x\n  b: c\n", "a: b: c", "a: &x\n  - &y b\n  - !!str\n", "[a, [b], {c}, \"d\": e]",
		"{#\r}", "0: [0:\n-]", "?\n>\r", "{![\t}", "?",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, file string) {
		if len(file) > 1000 || !utf8.ValidString(file) {
			return
		}
		for _, text := range Split(file) { // short ones: a key of more than 1024 bytes cannot be written without "?"
			d, err := Parse(text)
			if err != nil || d == nil {
				continue
			}
			grow, shrink := &Change{}, &Change{}
			everywhere(d.written, grow, shrink, 0)
			if grow.IsZero() {
				continue
			}
			got, anew, err := d.Apply(grow)
			if err != nil {
				t.Fatalf("%q: %v", text.Text, err)
			}
			if anew || strings.Contains(text.Text, "*") {
				continue
			}
			d, err = Parse(Text{Text: got, Line: 1, JSON: text.JSON})
			if err != nil {
				t.Fatalf("%q became %q: %v", text.Text, got, err)
			}
			back, anew, err := d.Apply(shrink)
			if err != nil || anew || back != text.Text {
				t.Fatalf("%q became %q and %q, anew: %v, %v", text.Text, got, back, anew, err)
			}
		}
	})
}

// everywhere makes changes that add something to every collection that is not empty, and take it out again.
func everywhere(n *yaml.Node, grow, shrink *Change, more int) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			if key.Kind == yaml.ScalarNode && key.Value != "" && !isMerge(key) && value.Kind != yaml.AliasNode && len(value.Content) > 0 {
				everywhere(value, grow.Key(key.Value), shrink.Key(key.Value), more)
			}
		}
		grow.Add("k/k", Mapping("x", Scalar("y")))
		shrink.Remove("k/k")
	case yaml.SequenceNode:
		for i, item := range n.Content {
			if item.Kind != yaml.AliasNode && len(item.Content) > 0 {
				everywhere(item, grow.Item(i), shrink.Item(i+1), more)
			}
		}
		grow.Prepend(Mapping("i", Scalar("j")))
		shrink.Drop(0)
	}
}
