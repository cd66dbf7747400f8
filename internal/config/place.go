package config

import (
	"go.yaml.in/yaml/v3"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Has tells whether the field at path is there.
func (o *Object) Has(path string) bool {
	_, value := o.find(path)
	return value != nil
}

// FieldAt returns the path of the field whose position, as [Object.At] gives it, is at; "" when there is none. What an
// alias stands for is found where it was first written.
func (o *Object) FieldAt(at mesh.Position) string {
	s := search{line: at.Line, column: at.Column, seen: map[*yaml.Node]bool{}}
	s.walk("", o.Root)
	return s.found
}

// search looks for the field at a place.
type search struct {
	line, column int
	seen         map[*yaml.Node]bool
	found        string
}

func (s *search) walk(path string, n *yaml.Node) {
	n = resolve(n)
	if s.seen[n] || s.found != "" {
		return
	}
	s.seen[n] = true
	switch n.Kind {
	case yaml.SequenceNode:
		for i, item := range n.Content {
			s.visit(Item(path, i), item, item)
		}
	case yaml.MappingNode:
		for _, p := range pairs(n) {
			place := p.key
			if value := resolve(p.value); value.Kind == yaml.ScalarNode && !isNull(value) {
				place = value
			}
			s.visit(Key(path, resolve(p.key).Value), place, p.value)
		}
	}
}

func (s *search) visit(path string, place, value *yaml.Node) {
	if s.found == "" && place.Line == s.line && place.Column == s.column {
		s.found = path
		return
	}
	s.walk(path, value)
}
