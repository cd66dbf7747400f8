package state

import (
	"math"

	"go.yaml.in/yaml/v3"
)

// Value returns what a YAML document says, in the types of JSON: what JSON has no form for, such as a date or a key that
// is a number, is the text that it was. Objects of equal values mean the same.
func Value(text []byte) (map[string]any, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, err
	}
	plain(&document, false)
	var value map[string]any
	err := document.Decode(&value)
	return value, err
}

// plain makes texts of the scalars that JSON does not know: times, numbers that are none, and every key.
func plain(n *yaml.Node, isKey bool) {
	for i, child := range n.Content {
		plain(child, n.Kind == yaml.MappingNode && i%2 == 0)
	}
	if n.Kind != yaml.ScalarNode {
		return
	}
	const text = "!!str"
	switch tag := n.ShortTag(); {
	case tag == "!!merge":
	case isKey, tag == "!!timestamp":
		n.Tag = text
	case tag == "!!float":
		var f float64
		if n.Decode(&f) != nil || math.IsInf(f, 0) || math.IsNaN(f) {
			n.Tag = text
		}
	}
}
