package config

import (
	"fmt"

	"go.yaml.in/yaml/v3"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// survey walks a document as it is when every alias is replaced by what it stands for, within bounds.
type survey struct {
	left   int // nodes still allowed
	excess string
	place  *yaml.Node // of the excess
}

func (s *survey) walk(n *yaml.Node, depth int) {
	s.left--
	switch {
	case s.excess != "":
		return
	case depth > maxDepth:
		s.excess, s.place = fmt.Sprintf("nested more than %d deep", maxDepth), n
		return
	case s.left < 0:
		s.excess, s.place = fmt.Sprintf("the file has more than %d nodes, aliases counted as what they stand for", maxNodes), n
		return
	}
	for _, child := range resolve(n).Content {
		s.walk(child, depth+1)
	}
}

// duplicates tells the keys that stand twice in one mapping, and merges ("<<") of what is no mapping, but not below
// the nodes to skip.
func duplicates(o *Object, skip ...*yaml.Node) []mesh.Problem {
	d := decoder{object: o}
	seen := map[*yaml.Node]bool{}
	for _, n := range skip {
		seen[resolve(n)] = true
	}
	d.duplicates("", o.Root, seen)
	return d.problems
}

func (d *decoder) duplicates(path string, n *yaml.Node, seen map[*yaml.Node]bool) {
	n = resolve(n)
	if seen[n] {
		return
	}
	seen[n] = true
	if n.Kind == yaml.SequenceNode {
		for i, item := range n.Content {
			d.duplicates(Item(path, i), item, seen)
		}
	}
	if n.Kind != yaml.MappingNode {
		return
	}
	lines := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		name := resolve(key).Value
		at := Key(path, abridged(name))
		if first, twice := lines[name]; twice && resolve(key).Kind == yaml.ScalarNode {
			d.tell(key, mesh.Problem{
				Field: at, Code: CodeDuplicateField, Message: fmt.Sprintf("the key is there already, in line %d", first),
			})
		} else {
			lines[name] = key.Line
		}
		if isMerge(key) && !isMergeable(value) {
			d.tell(key, mesh.Problem{Field: at, Code: CodeWrongType, Message: `"<<" wants a mapping or a list of mappings`})
		}
		d.duplicates(at, value, seen)
	}
}

func isMergeable(value *yaml.Node) bool {
	value = resolve(value)
	if value.Kind != yaml.SequenceNode {
		return value.Kind == yaml.MappingNode
	}
	for _, item := range value.Content {
		if resolve(item).Kind != yaml.MappingNode {
			return false
		}
	}
	return true
}
