package config

import (
	"go.yaml.in/yaml/v3"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// metadata is what Kubernetes knows as ObjectMeta.
type metadata struct {
	Name            string            `yaml:"name"`
	Namespace       string            `yaml:"namespace"`
	Labels          map[string]string `yaml:"labels"`
	Annotations     map[string]string `yaml:"annotations"`
	ResourceVersion string            `yaml:"resourceVersion"`

	// Written by a cluster and of no meaning here.
	GenerateName      yaml.Node `yaml:"generateName"`
	SelfLink          yaml.Node `yaml:"selfLink"`
	UID               yaml.Node `yaml:"uid"`
	Generation        yaml.Node `yaml:"generation"`
	CreationTimestamp yaml.Node `yaml:"creationTimestamp"`
	DeletionTimestamp yaml.Node `yaml:"deletionTimestamp"`
	DeletionGrace     yaml.Node `yaml:"deletionGracePeriodSeconds"`
	OwnerReferences   yaml.Node `yaml:"ownerReferences"`
	Finalizers        yaml.Node `yaml:"finalizers"`
	ManagedFields     yaml.Node `yaml:"managedFields"`
	ClusterName       yaml.Node `yaml:"clusterName"`
	Initializers      yaml.Node `yaml:"initializers"`
}

// top holds the fields that every object has.
type top struct {
	APIVersion yaml.Node `yaml:"apiVersion"`
	Kind       yaml.Node `yaml:"kind"`
	Metadata   yaml.Node `yaml:"metadata"`
	Spec       yaml.Node `yaml:"spec"`
	Status     yaml.Node `yaml:"status"`
}

// framed is an object in the making, with what was found wrong so far.
type framed struct{ Check }

// frame reads everything of an object but its spec.
func (p *parser) frame(root *yaml.Node, text string) *framed {
	o := &Object{Root: root, Text: text, Origin: mesh.Position{File: p.file, Line: root.Line, Column: root.Column}}
	f := &framed{Check{Object: o}}
	var meta metadata
	f.Decode("apiVersion", &o.APIVersion)
	f.Decode("kind", &o.Kind)
	f.Decode("metadata", &meta)
	o.Name, o.Namespace = meta.Name, meta.Namespace
	if o.Namespace == "" {
		o.Namespace = p.namespace
	}
	o.Labels, o.Annotations, o.ResourceVersion = meta.Labels, meta.Annotations, meta.ResourceVersion
	return f
}

// object adds a document that is an object.
func (p *parser) object(f *framed) {
	complete := f.identify()
	problems := append(f.Problems, duplicates(f.Object)...)
	for i := range problems {
		problems[i].Object = f.Object.Ref
	}
	p.problems = append(p.problems, bounded(f.Object, problems)...)
	if complete {
		f.Object.Broken = len(problems) > 0
		p.objects = append(p.objects, *f.Object)
	}
}

// identify checks what identifies an object, and tells whether it is all there.
func (f *framed) identify() bool {
	o := f.Object
	f.badNames()
	if o.APIVersion != "" && o.Kind != "" && o.Name != "" {
		return true
	}
	f.Decode("", &top{}) // perhaps a field that is there is a misspelling of the one that is not
	for _, field := range []struct{ path, value string }{
		{"apiVersion", o.APIVersion}, {"kind", o.Kind}, {"metadata.name", o.Name},
	} {
		if field.value == "" {
			f.Missing(field.path, "every object needs this field")
		}
	}
	o.Ref = mesh.Ref{}
	return false
}

// badNames checks the object's name and namespace.
func (f *framed) badNames() {
	const ends = "with a letter or digit at both ends"
	if name := f.Object.Name; name != "" && !IsDomain(name) {
		f.Tell(mesh.Problem{
			Field: "metadata.name", Code: CodeInvalidName,
			Message: quoted(name) + ` is not a name: lower-case letters, digits, "-" and "." are allowed, ` + ends,
		})
	}
	if namespace := f.Object.Namespace; !IsLabel(namespace) {
		f.Tell(mesh.Problem{
			Field: "metadata.namespace", Code: CodeInvalidName,
			Message: quoted(namespace) + ` is not a namespace: lower-case letters, digits and "-" are allowed, ` + ends,
		})
	}
}

// list adds the items of a List, as kubectl prints them.
func (p *parser) list(f *framed) {
	var list struct {
		APIVersion yaml.Node   `yaml:"apiVersion"`
		Kind       yaml.Node   `yaml:"kind"`
		Metadata   yaml.Node   `yaml:"metadata"`
		Items      []yaml.Node `yaml:"items"`
	}
	problems := Decode(f.Object, "", &list)
	if items, ok := lookUp(f.Object.Root, "items"); ok {
		problems = append(problems, duplicates(f.Object, items.value)...)
	}
	for i := range problems {
		problems[i].Object = mesh.Ref{}
	}
	p.problems = append(p.problems, problems...)
	p.documents-- // the items count, not the list
	for i := range list.Items {
		item := &list.Items[i]
		if !p.room(position(item)) {
			return
		}
		if item.Kind != yaml.MappingNode {
			p.tell(position(item), CodeWrongType, "an item of a List must be an object, not "+describe(item))
			continue
		}
		text, err := yaml.Marshal(expand(item))
		if err != nil {
			p.tell(position(item), CodeSyntax, "an item cannot be written as YAML: "+err.Error())
			continue
		}
		p.object(p.frame(item, string(text)))
	}
}
