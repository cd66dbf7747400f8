package crd

import (
	"encoding"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/lateen-mesh/lateen/internal/config"
)

// schema is what is used of JSONSchemaProps of apiextensions.k8s.io/v1.
type schema struct {
	Description string             `yaml:"description,omitempty"`
	Type        string             `yaml:"type,omitempty"`
	Nullable    bool               `yaml:"nullable,omitempty"`
	Properties  map[string]*schema `yaml:"properties,omitempty"`
	Additional  *schema            `yaml:"additionalProperties,omitempty"`
	Items       *schema            `yaml:"items,omitempty"`
	IntOrString bool               `yaml:"x-kubernetes-int-or-string,omitempty"`
	Preserve    bool               `yaml:"x-kubernetes-preserve-unknown-fields,omitempty"`
	ListType    string             `yaml:"x-kubernetes-list-type,omitempty"`
	ListKeys    []string           `yaml:"x-kubernetes-list-map-keys,omitempty"`
	Required    []string           `yaml:"required,omitempty"`
}

// whole returns the schema of an object.
func whole(k *config.Kind, comments Comments) *schema {
	spec := of(k.Spec, comments)
	spec.Description, spec.Nullable = comments.of(k.Spec, ""), true
	return &schema{
		Description: spec.Description, Type: "object", Preserve: true,
		Properties: map[string]*schema{
			"apiVersion": {Type: "string"},
			"kind":       {Type: "string"},
			"metadata":   {Type: "object"},
			"spec":       spec,
			"status":     status(),
		},
	}
}

// status returns the schema of what the control plane says of an object.
func status() *schema {
	text := func(description string) *schema { return &schema{Type: "string", Description: description} }
	number := func(description string) *schema { return &schema{Type: "integer", Description: description} }
	return &schema{
		Type: "object", Nullable: true, Preserve: true, Description: "What the control plane says of the object. Nobody else writes it.",
		Properties: map[string]*schema{
			"observedGeneration": number("The metadata.generation that all this is about."),
			"programmed":         text(`"N of M": how many of the connected proxies that the object concerns have confirmed what it says.`),
			"conditions": {
				Type: "array", ListType: "map", ListKeys: []string{"type"},
				Description: "Accepted: the object is applied. Programmed: every connected proxy that it concerns has confirmed it.",
				Items: &schema{
					Type: "object", Preserve: true, Required: []string{"type"}, Description: "What is so or not.",
					Properties: map[string]*schema{
						"type": text("What it is about."), "status": text("True, False or Unknown."), "reason": text("Why, in one word."),
						"message": text("Why, for people."), "lastTransitionTime": text("Since when."),
						"observedGeneration": number("The metadata.generation that it is about."),
					},
				},
			},
			"problems": {
				Type: "array", ListType: "atomic", Description: "What is wrong with the object, errors first. Not more than 20 are listed.",
				Items: &schema{
					Type: "object", Preserve: true, Description: "One problem.",
					Properties: map[string]*schema{
						"severity": text("error: the object is not applied; warning: it is."), "code": text("What kind of problem it is."),
						"field": text("Where it is, such as spec.route[0].weight."), "message": text("What is wrong."), "hint": text("What to do about it."),
					},
				},
			},
		},
	}
}

// of returns the schema of what [config.Decode] reads into a type. What may be written in several ways that have no common
// schema is let pass as it is.
func of(t reflect.Type, comments Comments) *schema {
	pointer := reflect.PointerTo(t)
	switch {
	case t == reflect.TypeFor[yaml.Node]():
		return &schema{Preserve: true}
	case pointer.Implements(reflect.TypeFor[encoding.TextUnmarshaler]()):
		return &schema{IntOrString: true} // a number without a unit is told with the one that was probably meant
	}
	switch t.Kind() {
	case reflect.Pointer:
		return of(t.Elem(), comments)
	case reflect.Struct:
		s := &schema{Type: "object", Properties: fields(t, comments), Preserve: true}
		if pointer.Implements(reflect.TypeFor[interface{ Shorthand(text string) }]()) {
			s.Type = "" // or text
		}
		return s
	case reflect.Map:
		return &schema{Type: "object", Additional: of(t.Elem(), comments)}
	case reflect.Slice:
		return &schema{Type: "array", Items: of(t.Elem(), comments)}
	case reflect.String:
		return &schema{Type: "string"}
	case reflect.Bool:
		return &schema{Type: "boolean"}
	case reflect.Float32, reflect.Float64:
		return &schema{Preserve: true} // a number, or one in quotes
	default:
		return &schema{IntOrString: true} // a number in quotes is one too
	}
}

// fields returns the schemas of the fields of a struct. Null is one more way to leave a field out.
func fields(t reflect.Type, comments Comments) map[string]*schema {
	all := map[string]*schema{}
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		s := of(f.Type, comments)
		s.Nullable = true
		s.Description = comments.of(t, f.Name)
		if s.Description == "" {
			s.Description = comments.of(f.Type, "")
		}
		all[name] = s
	}
	return all
}
