// Package crd writes the CustomResourceDefinitions of our kinds, from the Go types that their specs are decoded into.
//
// What comes in: the kinds that the dialects register, and the comments on their types ([Comments]). What goes out: one
// YAML document for each kind with a [config.Kind.Spec], in the order of the kinds, with a structural schema.
//
// A schema lets pass whatever [config.Decode] would read or tell a problem of: every level keeps fields that nobody knows,
// since a cluster would drop them before anybody could tell, there are no bounds, and null means absent. It refuses what can
// mean nothing at all, such as a list where a mapping must be. What stands in the status is the control plane's: whoever writes an
// object cannot write it. The same kinds and comments give the same bytes.
package crd

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// definition is a CustomResourceDefinition of apiextensions.k8s.io/v1.
type definition struct {
	APIVersion string   `yaml:"apiVersion"`
	Kind       string   `yaml:"kind"`
	Metadata   metadata `yaml:"metadata"`
	Spec       spec     `yaml:"spec"`
}

type metadata struct {
	Name        string            `yaml:"name"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

type spec struct {
	Group    string    `yaml:"group"`
	Scope    string    `yaml:"scope"`
	Names    names     `yaml:"names"`
	Versions []version `yaml:"versions"`
}

type names struct {
	Kind       string   `yaml:"kind"`
	ListKind   string   `yaml:"listKind"`
	Plural     string   `yaml:"plural"`
	Singular   string   `yaml:"singular"`
	ShortNames []string `yaml:"shortNames,omitempty"`
	Categories []string `yaml:"categories"`
}

type version struct {
	Name       string   `yaml:"name"`
	Served     bool     `yaml:"served"`
	Storage    bool     `yaml:"storage"`
	Deprecated bool     `yaml:"deprecated,omitempty"`
	Warning    string   `yaml:"deprecationWarning,omitempty"`
	Columns    []column `yaml:"additionalPrinterColumns"`
	Schema     struct {
		OpenAPI *schema `yaml:"openAPIV3Schema"`
	} `yaml:"schema"`
	Subresources struct {
		Status struct{} `yaml:"status"`
	} `yaml:"subresources"`
}

type column struct {
	Name string `yaml:"name"`
	Type string `yaml:"type"`
	Path string `yaml:"jsonPath"`
}

// common are the columns of all our kinds: what the control plane says of an object, and its age.
func common() []config.Column {
	return []config.Column{
		{Name: "Accepted", Type: "string", Path: `.status.conditions[?(@.type=="Accepted")].status`},
		{Name: "Programmed", Type: "string", Path: ".status.programmed"},
		{Name: "Age", Type: "date", Path: ".metadata.creationTimestamp"},
	}
}

// Category is the word by which `kubectl get` lists objects of all our kinds.
const Category = "lateen"

// keep is the annotation by which Helm leaves a definition, and with it all objects of its kind, where it is.
const keep = "helm.sh/resource-policy"

// Definitions returns the definitions of those kinds that a cluster does not know by itself, in YAML. The first version of
// a kind is the one that is stored; the others are served too, deprecated, and mean the same.
func Definitions(kinds config.Kinds, comments Comments) ([]byte, error) {
	var out bytes.Buffer
	out.WriteString("# This file is generated from the Go types of the kinds: `make generate` writes it.\n")
	for i := range kinds {
		if kinds[i].Spec == nil {
			continue
		}
		d, err := define(&kinds[i], comments)
		if err != nil {
			return nil, fmt.Errorf("kind %s: %w", kinds[i].Name, err)
		}
		out.WriteString("---\n")
		encoder := yaml.NewEncoder(&out)
		encoder.SetIndent(2)
		if err := encoder.Encode(d); err != nil {
			return nil, fmt.Errorf("kind %s: %w", kinds[i].Name, err)
		}
	}
	return out.Bytes(), nil
}

func define(k *config.Kind, comments Comments) (*definition, error) {
	var d definition
	for i, apiVersion := range k.APIVersions {
		group, name, ok := strings.Cut(apiVersion, "/")
		if !ok || cmp.Or(d.Spec.Group, group) != group {
			return nil, fmt.Errorf("a definition needs one group, and there is %s", apiVersion)
		}
		d.Spec.Group = group
		v := version{Name: name, Served: true, Storage: i == 0}
		if i > 0 {
			v.Deprecated, v.Warning = true, fmt.Sprintf("%s %s is deprecated: write %s", apiVersion, k.Name, k.APIVersions[0])
		}
		for _, c := range slices.Concat(k.Columns, common()) {
			v.Columns = append(v.Columns, column(c))
		}
		v.Schema.OpenAPI = whole(k, comments)
		d.Spec.Versions = append(d.Spec.Versions, v)
	}
	d.APIVersion, d.Kind = "apiextensions.k8s.io/v1", "CustomResourceDefinition"
	singular := strings.ToLower(k.Name)
	d.Spec.Scope = "Namespaced"
	d.Spec.Names = names{
		Kind: k.Name, ListKind: k.Name + "List", Plural: k.Plural, Singular: singular, Categories: []string{Category},
	}
	for _, short := range append(slices.Clip(k.Short), k.Type) { // what commands of Lateen take, kubectl takes
		if short != singular {
			d.Spec.Names.ShortNames = append(d.Spec.Names.ShortNames, short)
		}
	}
	d.Metadata = metadata{
		Name:        k.Plural + "." + d.Spec.Group,
		Labels:      map[string]string{mesh.NameLabel: mesh.SystemName, mesh.PartLabel: mesh.SystemName},
		Annotations: map[string]string{keep: "keep"},
	}
	return &d, nil
}
