package config

import (
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Object is one YAML document with its place of origin. Its spec is still undecoded: a [Kind] reads it.
type Object struct {
	mesh.Ref
	APIVersion      string
	Labels          map[string]string
	Annotations     map[string]string
	ResourceVersion string
	Origin          mesh.Position // of the document's first key
	Text            string        // the document as it was written, without its separator
	Root            *yaml.Node    // the document's top mapping; its lines are those of the file

	// Broken tells that Parse found an error in what frames the spec, such as a bad name or a duplicate key. The
	// spec can still be checked, so that all problems are told at once, but the object means nothing.
	Broken bool
}

// At returns the position of the field at path, such as spec.route[0].weight, in any spelling that [Decode] accepts.
// A scalar is at its value, a mapping or list at its key, an item where it begins. The position of a field that is
// not there is that of its nearest parent.
func (o *Object) At(path string) mesh.Position {
	place, _ := o.find(path)
	return o.position(place)
}

// LaidOutLike tells whether every value stands at the place where it stands in o: texts of items of a List can be equal
// where lines between their fields are not.
func (o *Object) LaidOutLike(other *Object) bool { return sameLayout(o.Root, other.Root) }

func sameLayout(a, b *yaml.Node) bool {
	return a.Line == b.Line && a.Column == b.Column && slices.EqualFunc(a.Content, b.Content, sameLayout)
}

// Problem returns an error about the field at path, at its position.
func (o *Object) Problem(code, path, format string, args ...any) mesh.Problem {
	return mesh.Problem{
		Object: o.Ref, Field: path, Position: o.At(path), Code: code, Severity: mesh.Error,
		Message: fmt.Sprintf(format, args...),
	}
}

// find returns the node to point at for path, and the value there: nil when the field is missing.
func (o *Object) find(path string) (place, value *yaml.Node) {
	place, value = o.Root, resolve(o.Root)
	for _, s := range steps(path) {
		switch {
		case s.item && value.Kind == yaml.SequenceNode && s.index < len(value.Content):
			place = value.Content[s.index]
			value = resolve(place)
		case !s.item && value.Kind == yaml.MappingNode:
			p, ok := lookUp(value, s.key)
			if !ok {
				return place, nil
			}
			place, value = p.key, resolve(p.value)
			if value.Kind == yaml.ScalarNode && !isNull(value) {
				place = value
			}
		default:
			return place, nil
		}
	}
	return place, value
}

func (o *Object) position(n *yaml.Node) mesh.Position {
	return mesh.Position{File: o.Origin.File, Line: n.Line, Column: n.Column}
}
