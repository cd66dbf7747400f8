package edit

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Bounds of one document.
const (
	maxDepth = 100
	maxNodes = 400_000 // with every alias counted as what it stands for
)

// Wrong is what keeps a document from being read, with its place in the file.
type Wrong struct {
	Line, Column int
	Kind         WrongKind
	Message      string
}

func (w *Wrong) Error() string { return w.Message }

// WrongKind sorts what can be wrong.
type WrongKind int

// What can be wrong with a document.
const (
	TooLarge  WrongKind = iota // too deep, or too many nodes
	Duplicate                  // a key stands twice in a mapping
	BadKey                     // a key is no text, or a merge of what is no mapping
)

// resolver copies a tree with everything that aliases and merges stand for.
type resolver struct {
	left int
	line int // to add to the lines of the nodes
}

func (r *resolver) wrong(n *yaml.Node, kind WrongKind, format string, args ...any) error {
	return &Wrong{Line: n.Line + r.line, Column: n.Column, Kind: kind, Message: fmt.Sprintf(format, args...)}
}

func (r *resolver) copy(n *yaml.Node, depth int) (*yaml.Node, error) {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch r.left--; {
	case depth > maxDepth:
		return nil, r.wrong(n, TooLarge, "nested more than %d deep", maxDepth)
	case r.left < 0:
		return nil, r.wrong(n, TooLarge, "the document has more than %d nodes, aliases counted as what they stand for", maxNodes)
	}
	out := &yaml.Node{Kind: n.Kind, Style: n.Style, Tag: n.Tag, Value: n.Value, Line: n.Line + r.line, Column: n.Column}
	if n.Kind == yaml.MappingNode {
		return out, r.mapping(out, n, depth)
	}
	for _, child := range n.Content {
		c, err := r.copy(child, depth+1)
		if err != nil {
			return nil, err
		}
		out.Content = append(out.Content, c)
	}
	return out, nil
}

// mapping copies keys and values into out: first what stands there, then what is merged and not there yet.
func (r *resolver) mapping(out, n *yaml.Node, depth int) error {
	lines := make(map[string]int, len(n.Content)/2)
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, err := r.copy(n.Content[i], depth+1)
		if err != nil {
			return err
		}
		if isMerge(n.Content[i]) {
			merged = append(merged, n.Content[i+1])
			continue
		}
		if key.Kind != yaml.ScalarNode || IsNull(key) || key.Style&yaml.TaggedStyle != 0 {
			return r.wrong(n.Content[i], BadKey, "a key must be text")
		}
		if first, twice := lines[key.Value]; twice {
			return r.wrong(n.Content[i], Duplicate, "the key %q is there already, in line %d", shortened(key.Value), first)
		}
		lines[key.Value] = key.Line
		value, err := r.copy(n.Content[i+1], depth+1)
		if err != nil {
			return err
		}
		out.Content = append(out.Content, key, value)
	}
	for _, from := range merged {
		if err := r.merge(out, from, lines, depth); err != nil {
			return err
		}
	}
	return nil
}

// merge adds what a "<<" names, unless it is there.
func (r *resolver) merge(out, from *yaml.Node, known map[string]int, depth int) error {
	value, err := r.copy(from, depth+1)
	if err != nil {
		return err
	}
	all := []*yaml.Node{value}
	if value.Kind == yaml.SequenceNode {
		all = value.Content
	}
	for _, m := range all {
		if m.Kind != yaml.MappingNode {
			return r.wrong(from, BadKey, `"<<" wants a mapping or a list of mappings`)
		}
		for i := 0; i+1 < len(m.Content); i += 2 {
			if _, there := known[m.Content[i].Value]; !there {
				known[m.Content[i].Value] = m.Content[i].Line
				out.Content = append(out.Content, m.Content[i], m.Content[i+1])
			}
		}
	}
	return nil
}

func shortened(text string) string {
	if len(text) > 60 {
		return strings.ToValidUTF8(text[:60], "") + "…"
	}
	return text
}

func isMerge(key *yaml.Node) bool {
	return key.Kind == yaml.ScalarNode && key.Value == "<<" && key.ShortTag() == "!!merge"
}

// Field returns the value of a key of a mapping without aliases, or nil.
func Field(n *yaml.Node, key string) *yaml.Node {
	if i := indexOf(n, key); i >= 0 {
		return n.Content[i+1]
	}
	return nil
}

// indexOf returns where in its content a mapping has a key as it is written, without merges, or -1.
func indexOf(n *yaml.Node, key string) int {
	if n == nil || n.Kind != yaml.MappingNode {
		return -1
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		for k.Kind == yaml.AliasNode {
			k = k.Alias
		}
		if k.Kind == yaml.ScalarNode && k.Value == key && !isMerge(k) {
			return i
		}
	}
	return -1
}

// IsNull tells whether a node says nothing.
func IsNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// empty tells whether a node is null, or a collection that holds nothing.
func empty(n *yaml.Node) bool {
	return IsNull(n) || (n.Kind != yaml.ScalarNode && len(n.Content) == 0)
}

// Same tells whether two trees without aliases mean the same. The order of keys means nothing, and null is as good as a
// collection that holds nothing.
func Same(a, b *yaml.Node) bool {
	switch {
	case empty(a) || empty(b):
		return empty(a) && empty(b)
	case a.Kind != b.Kind || len(a.Content) != len(b.Content):
		return false
	case a.Kind == yaml.ScalarNode:
		return a.Value == b.Value && a.ShortTag() == b.ShortTag()
	case a.Kind == yaml.SequenceNode:
		for i := range a.Content {
			if !Same(a.Content[i], b.Content[i]) {
				return false
			}
		}
		return true
	}
	values := make(map[string]*yaml.Node, len(b.Content)/2)
	for i := 0; i+1 < len(b.Content); i += 2 {
		values[b.Content[i].Value] = b.Content[i+1]
	}
	for i := 0; i+1 < len(a.Content); i += 2 {
		if other := values[a.Content[i].Value]; other == nil || !Same(a.Content[i+1], other) {
			return false
		}
	}
	return true
}
