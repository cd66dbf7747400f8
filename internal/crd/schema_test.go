package crd_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/serve"
)

// schema is what the definitions use of OpenAPI, and the test does with it what an API server does.
type schema struct {
	Description string
	Type        string
	Nullable    bool
	Properties  map[string]*schema
	Additional  *schema `yaml:"additionalProperties"`
	Items       *schema
	IntOrString bool `yaml:"x-kubernetes-int-or-string"`
	Preserve    bool `yaml:"x-kubernetes-preserve-unknown-fields"`
}

// accepts says why a value is refused, or "".
func (s *schema) accepts(at string, value any) string {
	kind := map[bool]string{true: "null"}[value == nil]
	switch value.(type) {
	case bool:
		kind = "boolean"
	case int:
		kind = "integer"
	case float64:
		kind = "number"
	case string:
		kind = "string"
	case []any:
		kind = "array"
	case map[string]any:
		kind = "object"
	}
	switch {
	case kind == "":
		return fmt.Sprintf("%s: %T", at, value)
	case value == nil && s.Nullable:
		return ""
	case s.IntOrString && kind != "integer" && kind != "string", s.Type != "" && s.Type != kind:
		return fmt.Sprintf("%s is %s", at, kind)
	}
	return s.below(value, func(below *schema, name string, value any) string { return below.accepts(at+"."+name, value) })
}

// below calls f for all that lies in a value and has a schema, until it returns something.
func (s *schema) below(value any, f func(below *schema, name string, value any) string) string {
	switch value := value.(type) {
	case []any:
		for i, item := range value {
			if s.Items == nil {
				break
			}
			if why := f(s.Items, fmt.Sprint(i), item); why != "" {
				return why
			}
		}
	case map[string]any:
		for name, item := range value {
			below := s.Additional
			if p, ok := s.Properties[name]; ok {
				below = p
			}
			if below == nil {
				continue
			}
			if why := f(below, name, item); why != "" {
				return why
			}
		}
	}
	return ""
}

// dropped returns the first field that is not kept, or "".
func (s *schema) dropped(at string, value any) string {
	if fields, ok := value.(map[string]any); ok && !s.Preserve && s.Additional == nil {
		for name := range fields {
			if s.Properties[name] == nil {
				return at + "." + name
			}
		}
	}
	return s.below(value, func(below *schema, name string, value any) string { return below.dropped(at+"."+name, value) })
}

// mutants calls f with a document, and with it after each node has been replaced by values of each kind or got an unknown
// neighbour. Of each place, often counts how many documents had it; three are enough.
func mutants(top *yaml.Node, often map[string]int, f func()) {
	f()
	var walk func(n *yaml.Node, at string, depth int)
	walk = func(n *yaml.Node, at string, depth int) {
		was := *n
		if often[at]++; depth > 1 && often[at] <= 3 {
			for _, text := range []string{"null", "true", "5", "1.5", "text", `"5"`, `"1.5"`, "5s", "[]", "{}", "[null]", "[a]", "{x: null}", "{x: y}"} {
				var other yaml.Node
				if err := yaml.Unmarshal([]byte(text), &other); err != nil {
					panic(err)
				}
				*n = *other.Content[0]
				f()
				*n = was
			}
		}
		if n.Kind == yaml.MappingNode && depth > 0 && often[at] <= 3 {
			n.Content = append(slices.Clip(was.Content), &yaml.Node{Kind: yaml.ScalarNode, Value: "stranger"}, &yaml.Node{Kind: yaml.ScalarNode, Value: "x"})
			f()
			*n = was
		}
		for i, child := range n.Content {
			switch {
			case n.Kind != yaml.MappingNode:
				walk(child, at+"[]", depth+1)
			case i%2 == 1:
				walk(child, at+"."+n.Content[i-1].Value, depth+1)
			}
		}
	}
	walk(top, top.Content[3].Value, 0)
}

// What `lateen validate` accepts, an API server accepts, in any spelling; and of what it accepts it drops nothing, right or
// wrong, so that Lateen can tell.
func TestSchemasLetPass(t *testing.T) {
	t.Parallel()
	_, all := definitions(t)
	schemas := map[string]*schema{}
	for _, d := range all {
		for _, v := range d.Spec.Versions {
			schemas[d.Spec.Names.Kind] = v.Schema.OpenAPI
		}
	}
	kinds := serve.Kinds()
	often := map[string]int{}
	tried, good, kept := 0, 0, 0
	for _, o := range examples(t) {
		var top yaml.Node
		if err := yaml.Unmarshal([]byte(o.Text), &top); err != nil {
			continue // told by whoever owns the example
		}
		mutants(top.Content[0], often, func() {
			text, err := yaml.Marshal(&top)
			if err != nil {
				t.Fatal(err)
			}
			var value map[string]any
			if yaml.Unmarshal(text, &value) != nil {
				return
			}
			objects, problems := config.Parse("file", text, "")
			if len(objects) != 1 {
				return
			}
			_, more := kinds.Read(&objects[0])
			tried++
			why := schemas[o.Kind].accepts(o.Kind, value)
			if !mesh.HasErrors(append(problems, more...)) {
				good++
				if why != "" {
					t.Errorf("validate accepts it, and the schema does not: %s\n%s", why, text)
				}
			}
			delete(value, "metadata")
			if why == "" {
				kept++
				if lost := schemas[o.Kind].dropped(o.Kind, value); lost != "" {
					t.Errorf("%s would be dropped\n%s", lost, text)
				}
			}
		})
	}
	t.Logf("%d objects, %d of them good, %d kept", tried, good, kept)
	if good < 1000 || kept < 3*good {
		t.Errorf("%d objects were tried, %d of them good, %d kept: too few", tried, good, kept)
	}
}

// What can mean nothing is refused by an API server at once, and what can mean something is not.
func TestSchemasRefuse(t *testing.T) {
	t.Parallel()
	_, all := definitions(t)
	got := map[string]string{}
	for _, text := range []string{
		"{precedence: high}", "{precedence: 1.5}", "{destination: reviews}", "{destination: {name: [a]}}", "{route: {labels: {}}}",
		"{httpReqTimeout: {simpleTimeout: {timeout: 10}}}", "{match: {request: {headers: {cookie: user=jason}}}}", "{appendHeaders: {x: 1}}",
	} {
		var value any
		if err := yaml.Unmarshal([]byte(text), &value); err != nil {
			t.Fatal(err)
		}
		got[text] = all[0].Spec.Versions[0].Schema.OpenAPI.Properties["spec"].accepts("spec", value)
	}
	want := map[string]string{
		"{precedence: high}": "", "{precedence: 1.5}": "spec.precedence is number", "{destination: reviews}": "spec.destination is string",
		"{destination: {name: [a]}}": "spec.destination.name is array", "{route: {labels: {}}}": "spec.route is object",
		"{httpReqTimeout: {simpleTimeout: {timeout: 10}}}": "", "{match: {request: {headers: {cookie: user=jason}}}}": "",
		"{appendHeaders: {x: 1}}": "spec.appendHeaders.x is integer",
	}
	if !maps.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
}
