package install

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Right is something that somebody may do.
type Right struct{ Verb, Group, Resource, Namespace, Name string }

// String returns the right as a person says it: "create deployments.apps in lateen-system".
func (r Right) String() string {
	text := r.Verb + " " + r.Resource
	if r.Group != "" {
		text += "." + r.Group
	}
	if r.Name != "" {
		text += "/" + r.Name
	}
	if r.Namespace != "" {
		text += " in " + r.Namespace
	}
	return text
}

// Needs lists the rights that applying manifests takes, each once.
func Needs(manifests []byte) ([]Right, error) {
	all, err := read(manifests)
	var needs []Right
	for _, o := range all {
		for _, verb := range []string{"get", "create", "patch"} {
			need := Right{verb, o.resource.Group, o.resource.Resource, o.GetNamespace(), ""}
			if !slices.Contains(needs, need) {
				needs = append(needs, need)
			}
		}
	}
	return needs, err
}

// Rights lists the rights that manifests give to the control plane, one for each verb, resource and name.
func Rights(manifests []byte) ([]Right, error) {
	all, err := read(manifests)
	var rights []Right
	for _, o := range all {
		if o.GetName() != mesh.SystemName || o.GetKind() != "ClusterRole" && o.GetKind() != "Role" {
			continue
		}
		rules, _, _ := unstructured.NestedSlice(o.Object, "rules")
		for _, rule := range rules {
			rights = append(rights, granted(o.GetNamespace(), rule)...)
		}
	}
	return rights, err
}

func granted(namespace string, rule any) []Right {
	fields, _ := rule.(map[string]any)
	list := func(key string) []string {
		words, _, _ := unstructured.NestedStringSlice(fields, key)
		if len(words) == 0 {
			return []string{""}
		}
		return words
	}
	var rights []Right
	for _, group := range list("apiGroups") {
		for _, resource := range list("resources") {
			for _, name := range list("resourceNames") {
				for _, verb := range list("verbs") {
					rights = append(rights, Right{verb, group, resource, namespace, name})
				}
			}
		}
	}
	return rights
}

// Refusal is an object that the API server would refuse.
type Refusal struct{ Object, Why string }

// Try asks the API server what it would refuse of manifests, and changes nothing. What would be in a namespace that is not there
// yet, or bind a role that is not, cannot be tried.
func (c *Cluster) Try(ctx context.Context, manifests []byte) ([]Refusal, error) {
	all, err := read(manifests)
	if err != nil {
		return nil, err
	}
	_, err = c.client.Namespaces().Get(ctx, mesh.SystemNamespace, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, err
	}
	inside := err == nil
	var refusals []Refusal
	for _, o := range all {
		if o.GetNamespace() != "" && !inside || strings.HasSuffix(o.GetKind(), "Binding") {
			continue
		}
		_, err := c.at(o).Apply(ctx, o.GetName(), o.Unstructured, metav1.ApplyOptions{FieldManager: FieldManager, Force: true, DryRun: []string{metav1.DryRunAll}})
		if _, answered := errors.AsType[*apierrors.StatusError](err); answered {
			refusals = append(refusals, Refusal{o.name(), oneLine(err.Error())})
		} else if err != nil {
			return nil, err
		}
	}
	return refusals, nil
}

// Found is an object of the manifests that is there already.
type Found struct {
	Kind, Name string
	Ours       bool // it has Lateen's labels
}

// Look says which objects of manifests are there.
func (c *Cluster) Look(ctx context.Context, manifests []byte) ([]Found, error) {
	var found []Found
	err := c.each(ctx, manifests, func(o object, live *unstructured.Unstructured) {
		if live != nil {
			found = append(found, Found{o.GetKind(), o.GetName(), live.GetLabels()[mesh.PartLabel] == mesh.SystemName})
		}
	})
	return found, err
}

// Difference says how an object differs from its manifest.
type Difference struct {
	Kind, Object string
	Field        string // the first one that differs; "": there is no such object
}

// Differences compares what is there with manifests. What a cluster has beside what they say does not count.
func (c *Cluster) Differences(ctx context.Context, manifests []byte) ([]Difference, error) {
	var all []Difference
	err := c.each(ctx, manifests, func(o object, live *unstructured.Unstructured) {
		if live == nil {
			all = append(all, Difference{o.GetKind(), o.name(), ""})
			return
		}
		want := o.Object
		if o.GetKind() == "Namespace" { // it only has to be there: its labels are of who makes it, such as `helm install --create-namespace`
			want = map[string]any{"kind": want["kind"]}
		}
		if field := differs("", want, live.Object); field != "" {
			all = append(all, Difference{o.GetKind(), o.name(), strings.TrimPrefix(field, ".")})
		}
	})
	return all, err
}

// each calls f for each object of the manifests, with what is there, nil for nothing. What may not be read is left out.
func (c *Cluster) each(ctx context.Context, manifests []byte, f func(o object, live *unstructured.Unstructured)) error {
	all, err := read(manifests)
	if err != nil {
		return err
	}
	for _, o := range all {
		live, err := c.at(o).Get(ctx, o.GetName(), metav1.GetOptions{})
		switch {
		case err == nil:
			f(o, live)
		case apierrors.IsNotFound(err):
			f(o, nil)
		case !apierrors.IsForbidden(err):
			return err
		}
	}
	return nil
}

// differs returns the first field of want that got does not have, or has otherwise; "" for none.
func differs(at string, want, got any) string {
	switch want := want.(type) {
	case map[string]any:
		have, ok := got.(map[string]any)
		if !ok {
			return at
		}
		keys := make([]string, 0, len(want))
		for key := range want {
			keys = append(keys, key)
		}
		slices.Sort(keys)
		for _, key := range keys {
			if field := differs(at+"."+key, want[key], have[key]); field != "" {
				return field
			}
		}
		return ""
	case []any:
		have, ok := got.([]any)
		if !ok || len(have) != len(want) {
			return at
		}
		for i := range want {
			if field := differs(fmt.Sprintf("%s[%d]", at, i), want[i], have[i]); field != "" {
				return field
			}
		}
		return ""
	}
	if fmt.Sprint(want) != fmt.Sprint(got) {
		return at
	}
	return ""
}

// ImageOf returns where the image of a control plane is, and its tag, as far as its name says so.
func ImageOf(image string) (hub, tag string) {
	path, tag, ok := cutLast(image, ":")
	if !ok || strings.Contains(tag, "/") { // the port of a registry
		return "", ""
	}
	hub, name, ok := cutLast(path, "/")
	if !ok {
		hub, name = "", path
	}
	if name != mesh.SystemName {
		return "", ""
	}
	return hub, tag
}

func cutLast(text, separator string) (before, after string, found bool) {
	i := strings.LastIndex(text, separator)
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+len(separator):], true
}
