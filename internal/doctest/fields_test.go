package doctest

import (
	"go/ast"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/serve"
)

// TestFieldsAreDocumented wants every field that is read from a file, and of the API's forms, to be named in its section.
func TestFieldsAreDocumented(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		dir, key string
		sections map[string][]string
	}{
		{"internal/local", "yaml", map[string][]string{"spec": {"Mesh"}}},
		{"internal/dialect/v1alpha2", "yaml", map[string][]string{
			"routeRule": {"RouteRule", "Services"}, "destinationPolicy": {"DestinationPolicy", "Services"}, "egressRule": {"EgressRule", "Services"},
		}},
		{"internal/dialect/ingress", "yaml", map[string][]string{"spec": {"Ingress"}, "oldSpec": {"Ingress"}}},
		{"internal/api", "json", map[string][]string{"": {"API"}}},
	} {
		structs := structsIn(sources(t, c.dir))
		left := fieldsBelow(structs, "", c.key)
		for root, sections := range c.sections {
			fields := fieldsBelow(structs, root, c.key)
			wantNamed(t, fields, sections...)
			maps.DeleteFunc(left, func(field string, _ bool) bool { return fields[field] })
		}
		if len(left) > 0 {
			t.Errorf("%s has fields that belong to no section: %v", c.dir, slices.Sorted(maps.Keys(left)))
		}
	}
	for _, kind := range serve.Kinds() {
		fields := map[string]bool{}
		for _, f := range kind.Fields {
			fields[f] = true
		}
		wantNamed(t, fields, kind.Name)
	}
}

// wantNamed wants fields to be named in one of the sections.
func wantNamed(t *testing.T, fields map[string]bool, sections ...string) {
	t.Helper()
	d := read(t, interfaces)
	var text string
	for _, section := range sections {
		text += d.section(t, section)
	}
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		if !regexp.MustCompile("`[^`]*\\b" + field + "\\b[^`]*`").MatchString(text) {
			t.Errorf("sections %v of %s do not name the field %s", sections, interfaces, field)
		}
	}
}

// structsIn returns the struct types that files declare, by name.
func structsIn(files []*ast.File) map[string]*ast.StructType {
	structs := map[string]*ast.StructType{}
	for _, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok {
				if s, ok := spec.Type.(*ast.StructType); ok {
					structs[spec.Name.Name] = s
				}
			}
			return true
		})
	}
	return structs
}

// fieldsBelow returns the names in the tags of a struct and of all that its fields are made of, or of all structs where
// root is "".
func fieldsBelow(structs map[string]*ast.StructType, root, key string) map[string]bool {
	fields, seen := map[string]bool{}, map[string]bool{}
	var visit func(name string)
	visit = func(name string) {
		if structs[name] == nil || seen[name] {
			return
		}
		seen[name] = true
		ast.Inspect(structs[name], func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.Ident:
				visit(n.Name)
			case *ast.Field:
				if field := tagged(n, key); field != "" {
					fields[field] = true
				}
			}
			return true
		})
	}
	for name := range structs {
		if root == "" || name == root {
			visit(name)
		}
	}
	return fields
}

// tagged returns the name in the tag of a struct field, or "".
func tagged(f *ast.Field, key string) string {
	if f.Tag == nil {
		return ""
	}
	tag, err := strconv.Unquote(f.Tag.Value)
	if err != nil {
		return ""
	}
	name, _, _ := strings.Cut(reflect.StructTag(tag).Get(key), ",")
	return name
}
