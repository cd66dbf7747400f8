package config

import (
	"strconv"

	"go.yaml.in/yaml/v3"
)

// resolve returns the node that an alias stands for, or the node itself.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

func isMerge(key *yaml.Node) bool { return key.Kind == yaml.ScalarNode && key.ShortTag() == "!!merge" }

// pair is one key of a mapping with its value.
type pair struct{ key, value *yaml.Node }

// pairs returns the keys and values of a mapping: its own, then those merged in with "<<" that it has not itself.
func pairs(mapping *yaml.Node) []pair {
	own := make([]pair, 0, len(mapping.Content)/2)
	known := map[string]bool{}
	var merged []*yaml.Node
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		key, value := mapping.Content[i], mapping.Content[i+1]
		switch value := resolve(value); {
		case !isMerge(key):
			own = append(own, pair{key, value})
			known[resolve(key).Value] = true
		case value.Kind == yaml.SequenceNode:
			merged = append(merged, value.Content...)
		default:
			merged = append(merged, value)
		}
	}
	for _, m := range merged {
		if m = resolve(m); m.Kind != yaml.MappingNode {
			continue // told by the survey
		}
		for _, p := range pairs(m) {
			if name := resolve(p.key).Value; !known[name] {
				known[name] = true
				own = append(own, p)
			}
		}
	}
	return own
}

// lookUp returns the pair with this key, or with its snake_case spelling.
func lookUp(mapping *yaml.Node, key string) (pair, bool) {
	var found pair
	for _, p := range pairs(mapping) {
		switch resolve(p.key).Value {
		case key:
			return p, true
		case snake(key):
			found = p
		}
	}
	return found, found.key != nil
}

// expand returns a copy of the tree without aliases and anchors.
func expand(n *yaml.Node) *yaml.Node {
	c := *resolve(n)
	c.Anchor = ""
	c.Content = make([]*yaml.Node, len(c.Content))
	for i, child := range resolve(n).Content {
		c.Content[i] = expand(child)
	}
	return &c
}

// shift moves the tree down by lines.
func shift(n *yaml.Node, lines int) {
	n.Line += lines
	for _, child := range n.Content { // an alias has none: what it stands for is moved where it stands
		shift(child, lines)
	}
}

// describe says what a node is, for messages: the text "abc", the number 5, a list.
func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case isNull(n):
		return "nothing"
	}
	switch n.ShortTag() {
	case "!!int", "!!float":
		return "the number " + abridged(n.Value)
	case "!!bool":
		return "the boolean " + n.Value
	default:
		return "the text " + quoted(n.Value)
	}
}

// quoted returns a value of a file in quotes, without its tail if it is long.
func quoted(s string) string { return strconv.Quote(abridged(s)) }

func abridged(s string) string {
	const most = 60
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return s
}
