package config

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Decode reads the field of the object ("spec") into what out points to, and tells every problem that it meets,
// each at its key or value.
//
// A Go struct stands for a mapping with the keys of its yaml tags, in camelCase; their snake_case spelling is accepted
// as well, as in proto3 JSON. Nothing else is: no unknown key, no text for a number but a number in quotes, no number
// for text. A field that is missing or null leaves its zero value; a pointer tells absence from zero. Types with
// UnmarshalText read themselves; a struct with a method Shorthand(text string) may be written as text; a yaml.Node takes
// anything. Types with a method Example() string show it in hints.
//
// The tag lateen:"later" marks a field that is known but not supported yet, lateen:"never" one that is not supported.
func Decode(o *Object, field string, out any) []mesh.Problem {
	_, node := o.find(field)
	if node == nil {
		return nil
	}
	d := decoder{object: o}
	d.value(field, node, reflect.ValueOf(out).Elem())
	return d.problems
}

// decoder collects problems while it walks a node and a Go value side by side.
type decoder struct {
	object   *Object
	problems []mesh.Problem
}

// full tells whether there are more problems than anybody will be told.
func (d *decoder) full() bool { return len(d.problems) > maxProblems }

// tell reports a problem at a node.
func (d *decoder) tell(n *yaml.Node, p mesh.Problem) {
	if d.full() {
		return
	}
	p.Object, p.Position, p.Severity = d.object.Ref, d.object.position(n), mesh.Error
	d.problems = append(d.problems, p)
}

var nodeType = reflect.TypeFor[yaml.Node]()

// value reads a node that may be an alias into out.
func (d *decoder) value(path string, n *yaml.Node, out reflect.Value) {
	n = resolve(n)
	if out.Type() == nodeType {
		out.Set(reflect.ValueOf(n).Elem())
		return
	}
	if isNull(n) {
		return
	}
	if text, ok := reflect.TypeAssert[encoding.TextUnmarshaler](out.Addr()); ok {
		d.text(path, n, text)
		return
	}
	switch out.Kind() {
	case reflect.Pointer:
		out.Set(reflect.New(out.Type().Elem()))
		d.value(path, n, out.Elem())
	case reflect.Struct:
		if d.short(path, n, out) {
			return
		}
		if d.want(path, n, yaml.MappingNode, "a mapping", out) {
			d.mapping(path, n, out)
		}
	case reflect.Map:
		if d.want(path, n, yaml.MappingNode, "a mapping", out) {
			d.table(path, n, out)
		}
	case reflect.Slice:
		if d.want(path, n, yaml.SequenceNode, "a list", out) {
			d.list(path, n, out)
		}
	default:
		d.scalar(path, n, out)
	}
}

// short reads text into a struct that takes it, and tells whether it was that.
func (d *decoder) short(path string, n *yaml.Node, out reflect.Value) bool {
	short, ok := reflect.TypeAssert[interface{ Shorthand(text string) }](out.Addr())
	if !ok || n.Kind != yaml.ScalarNode {
		return false
	}
	var text string
	d.string(path, n, reflect.ValueOf(&text).Elem())
	short.Shorthand(text)
	return true
}

// want tells whether the node is of the kind that out needs, and reports it if not.
func (d *decoder) want(path string, n *yaml.Node, kind yaml.Kind, name string, out reflect.Value) bool {
	if n.Kind == kind {
		return true
	}
	p := mesh.Problem{Field: path, Code: CodeWrongType, Message: "want " + name + ", got " + describe(n)}
	if p.Hint = example(out); p.Hint == "" && kind == yaml.SequenceNode {
		p.Hint = `begin each item of the list with "- "`
	}
	d.tell(n, p)
	return false
}

// example returns a hint at how values of this type are written, or "".
func example(out reflect.Value) string {
	if e, ok := reflect.TypeAssert[interface{ Example() string }](out); ok {
		return "write it as " + e.Example()
	}
	return ""
}

// text reads a scalar into a type that reads itself.
func (d *decoder) text(path string, n *yaml.Node, out encoding.TextUnmarshaler) {
	if !d.want(path, n, yaml.ScalarNode, "a value", reflect.ValueOf(out).Elem()) {
		return
	}
	err := out.UnmarshalText([]byte(n.Value))
	if err == nil {
		return
	}
	p := mesh.Problem{Field: path, Code: CodeInvalidValue, Message: err.Error()}
	if known, ok := errors.AsType[*badDuration](err); ok {
		p.Code, p.Hint = CodeInvalidDuration, known.Hint()
	}
	d.tell(n, p)
}

// mapping reads a mapping into a struct.
func (d *decoder) mapping(path string, n *yaml.Node, out reflect.Value) {
	known := fieldsOf(out.Type())
	seen := map[string]string{} // spelling by name
	for _, p := range pairs(n) {
		key := resolve(p.key)
		i := slices.IndexFunc(known, func(f field) bool { return key.Value == f.name || key.Value == snake(f.name) })
		if i < 0 || key.Kind != yaml.ScalarNode {
			d.unknown(path, key, known, out)
			continue
		}
		f := known[i]
		at := Key(path, f.name)
		first, twice := seen[f.name]
		seen[f.name] = key.Value
		switch {
		case twice && first == key.Value: // told by Parse
		case twice:
			d.tell(p.key, mesh.Problem{
				Field: at, Code: CodeDuplicateField, Message: "the field is there twice, in both of its spellings",
			})
		case f.support == "" || isNull(resolve(p.value)):
			d.value(at, p.value, out.Field(f.index))
		case f.support == "later":
			d.tell(p.key, mesh.Problem{
				Field: at, Code: CodeUnsupportedField, Message: quoted(f.name) + " is not supported yet",
			})
		default:
			d.tell(p.key, mesh.Problem{
				Field: at, Code: CodeUnsupportedField, Message: quoted(f.name) + " is not supported",
			})
		}
	}
}

// unknown reports a key that the struct does not have.
func (d *decoder) unknown(path string, key *yaml.Node, known []field, out reflect.Value) {
	if key.Kind != yaml.ScalarNode {
		d.tell(key, mesh.Problem{Field: path, Code: CodeWrongType, Message: "a key must be text, not " + describe(key)})
		return
	}
	if d.full() {
		return // and spares the search for what was meant
	}
	names := make([]string, 0, len(known))
	for _, f := range known {
		names = append(names, f.name)
	}
	hint := example(out)
	if hint == "" || Nearest(key.Value, names) != "" {
		hint = Suggest(key.Value, "known fields", names)
	}
	d.tell(key, mesh.Problem{
		Field: Key(path, abridged(key.Value)), Code: CodeUnknownField, Message: "unknown field", Hint: hint,
	})
}

// table reads a mapping into a Go map whose keys are text.
func (d *decoder) table(path string, n *yaml.Node, out reflect.Value) {
	all := pairs(n)
	out.Set(reflect.MakeMapWithSize(out.Type(), len(all)))
	for _, p := range all {
		key := resolve(p.key)
		if key.Kind != yaml.ScalarNode || isNull(key) {
			d.tell(key, mesh.Problem{Field: path, Code: CodeWrongType, Message: "a key must be text, not " + describe(key)})
			continue
		}
		value := reflect.New(out.Type().Elem()).Elem()
		d.element(Key(path, key.Value), p.value, value)
		out.SetMapIndex(reflect.ValueOf(key.Value).Convert(out.Type().Key()), value)
	}
}

// list reads a list into a slice.
func (d *decoder) list(path string, n *yaml.Node, out reflect.Value) {
	out.Set(reflect.MakeSlice(out.Type(), len(n.Content), len(n.Content)))
	for i, item := range n.Content {
		d.element(Item(path, i), item, out.Index(i))
	}
}

// element reads a value of a list or table, where null is no way to leave it out.
func (d *decoder) element(path string, n *yaml.Node, out reflect.Value) {
	if value := resolve(n); isNull(value) && out.Type() != nodeType {
		d.tell(n, mesh.Problem{Field: path, Code: CodeWrongType, Message: "there is no value here"})
		return
	}
	d.value(path, n, out)
}

// field is one field of a struct that stands for a mapping.
type field struct {
	name    string
	index   int
	support string // "", "later" or "never"
}

func fieldsOf(t reflect.Type) []field {
	fields := make([]field, 0, t.NumField())
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		if name == "" {
			panic(fmt.Sprintf("config: field %s of %s has no yaml tag", t.Field(i).Name, t))
		}
		fields = append(fields, field{name: name, index: i, support: t.Field(i).Tag.Get("lateen")})
	}
	return fields
}
