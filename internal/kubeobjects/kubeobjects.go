// Package kubeobjects keeps the objects of a mesh in a cluster: what `lateen create`, `replace`, `apply`, `delete`, `diff` and
// `get` do there.
//
// What comes in: files and questions, in the forms of package api, as a control plane on this machine takes them. What goes
// out: the same answers. The objects are those that kubectl sees, since the API server keeps them.
//
// It promises that nothing is sent that is wrong by itself: files are checked whole, with the words of `lateen validate`, and
// only what is good goes to the API server. What that refuses is a problem of one object, and keeps no other one from being
// written. An object that was changed since it was read is not overwritten. A file says all of an object: what it leaves out
// is taken away, but for what a cluster itself keeps in metadata.
package kubeobjects

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/lateen-mesh/lateen/internal/admin"
	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/kubeclient"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/source/state"
)

const (
	manager  = "lateen" // who the API server notes as having written fields
	pageSize = 500      // objects of one answer
)

// lastApplied is where kubectl keeps what it applied last.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// Objects are the objects in one cluster.
type Objects struct {
	client    dynamic.Interface
	kinds     config.Kinds
	namespace string // of what names none
}

// New returns the objects of these kinds in a cluster. It asks nobody yet.
func New(c kubeclient.Cluster, kinds config.Kinds) (*Objects, error) {
	client, err := c.Dynamic()
	if err != nil {
		return nil, err
	}
	return &Objects{client: client, kinds: kinds, namespace: c.Namespace}, nil
}

// in returns where the objects of a kind are in a namespace; "": in all.
func (k *Objects) in(kind *config.Kind, namespace string) dynamic.ResourceInterface {
	version, err := schema.ParseGroupVersion(kind.APIVersions[0])
	if err != nil { // of a kind of ours
		panic(err)
	}
	return k.client.Resource(version.WithResource(kind.Plural)).Namespace(namespace)
}

// Objects returns the objects that a query asks for, sorted.
func (k *Objects) Objects(ctx context.Context, q api.Query) ([]api.Object, error) {
	kind := k.kinds.Named(q.Kind)
	if kind == nil {
		return nil, fmt.Errorf("unknown kind %q", q.Kind)
	}
	if _, err := api.ParseSelector(q.Labels); err != nil {
		return nil, err
	}
	options := metav1.ListOptions{LabelSelector: q.Labels, Limit: pageSize}
	if q.Name != "" {
		options.FieldSelector = "metadata.name=" + q.Name
	}
	list := []api.Object{}
	for {
		page, err := k.in(kind, q.Namespace).List(ctx, options)
		if err != nil {
			return nil, asked(err, kind)
		}
		for i := range page.Items {
			o, err := shown(kind, &page.Items[i])
			if err != nil {
				return nil, err
			}
			list = append(list, o)
		}
		if options.Continue = page.GetContinue(); options.Continue == "" {
			slices.SortFunc(list, func(a, b api.Object) int { return a.Compare(b.Ref) })
			return list, nil
		}
	}
}

// shown returns an object as commands show it.
func shown(kind *config.Kind, u *unstructured.Unstructured) (api.Object, error) {
	o := api.Object{
		Ref:        mesh.Ref{Kind: kind.Name, Namespace: u.GetNamespace(), Name: u.GetName()},
		APIVersion: u.GetAPIVersion(), Type: kind.Type, ResourceVersion: versionOf(u), Source: api.SourceCluster, Owner: ownerOf(u),
	}
	u = u.DeepCopy()
	u.SetManagedFields(nil)
	text, err := textOf(u)
	o.Text = admin.Shown(kind.Name, text)
	return o, err
}

// ownerOf returns who wrote an object last, as the API server noted it; "" where it did not.
func ownerOf(u *unstructured.Unstructured) string {
	owner, last := "", metav1.Time{}
	for _, m := range u.GetManagedFields() {
		if m.Subresource == "" && m.Time != nil && !m.Time.Before(&last) {
			owner, last = m.Manager, *m.Time
		}
	}
	return owner
}

// versionOf returns the resourceVersion. It is a number wherever the API server keeps its objects in etcd; elsewhere it is 0.
func versionOf(u *unstructured.Unstructured) int64 {
	version, err := strconv.ParseInt(u.GetResourceVersion(), 10, 64)
	if err != nil {
		return 0
	}
	return version
}

func textOf(u *unstructured.Unstructured) (string, error) {
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	e.CompactSeqIndent() // as kubectl prints lists
	err := errors.Join(e.Encode(u.Object), e.Close())
	return b.String(), err
}

// refs returns the names of all objects of a kind, as far as they can be seen.
func (k *Objects) refs(ctx context.Context, kind *config.Kind) []mesh.Ref {
	list, err := k.in(kind, "").List(ctx, metav1.ListOptions{Limit: pageSize})
	if err != nil {
		return nil
	}
	var refs []mesh.Ref
	for i := range list.Items {
		refs = append(refs, mesh.Ref{Kind: kind.Name, Namespace: list.Items[i].GetNamespace(), Name: list.Items[i].GetName()})
	}
	return refs
}

// check reads files as commands do.
func (k *Objects) check(namespace string, files []api.File) admin.Checked {
	return admin.CheckIn(k.kinds, admin.Namespaces{Only: namespace, Usual: k.namespace}, files)
}

// Write writes the good objects of files, one after another. What was done before an error is told too.
func (k *Objects) Write(ctx context.Context, w api.Write) (api.Written, error) {
	checked := k.check(w.Namespace, w.Files)
	out := api.Written{Results: []api.Result{}, Problems: checked.Problems}
	defer func() { mesh.SortProblems(out.Problems) }()
	for i := range checked.Objects {
		one := writing{objects: k, op: state.Op(w.Op), object: &checked.Objects[i]}
		before, after, err := one.write(ctx)
		if p := asRefused(err); p != nil {
			out.Problems = append(out.Problems, *p)
			continue
		}
		if err != nil {
			return out, err
		}
		verb := state.Updated
		switch {
		case before == nil:
			verb = state.Created
		case w.Op == api.Apply && before.GetResourceVersion() == after.GetResourceVersion():
			verb = state.Unchanged
		}
		out.Results = append(out.Results, api.Result{
			Verb: string(verb), Object: one.object.Ref, Type: one.kind.Type, ResourceVersion: versionOf(after),
		})
	}
	return out, nil
}

// Compare tells what applying objects would change, as the API server says: it is asked to try.
func (k *Objects) Compare(ctx context.Context, c api.Compare) (api.Compared, error) {
	checked := k.check(c.Namespace, c.Files)
	out := api.Compared{Differences: []api.Difference{}, Problems: checked.Problems}
	defer func() { mesh.SortProblems(out.Problems) }()
	for i := range checked.Objects {
		one := writing{objects: k, op: state.Apply, dry: true, object: &checked.Objects[i]}
		before, after, err := one.write(ctx)
		if p := asRefused(err); p != nil {
			out.Problems = append(out.Problems, *p)
			continue
		}
		if err != nil {
			return out, err
		}
		was, is, err := texts(before, after)
		if err != nil {
			return out, err
		}
		if was != is {
			out.Differences = append(out.Differences, api.Difference{
				Object: one.object.Ref, Type: one.kind.Type, Before: admin.Shown(one.kind.Name, was), After: admin.Shown(one.kind.Name, is),
			})
		}
	}
	return out, nil
}

// texts returns objects as text, without what the API server makes anew each time and without their status, which nobody applies. nil
// is no text.
func texts(before, after *unstructured.Unstructured) (was, is string, err error) {
	for _, one := range []struct {
		u    *unstructured.Unstructured
		text *string
	}{{before, &was}, {after, &is}} {
		if one.u == nil {
			continue
		}
		u := one.u.DeepCopy()
		for _, field := range []string{"managedFields", "resourceVersion", "uid", "generation", "creationTimestamp"} {
			unstructured.RemoveNestedField(u.Object, "metadata", field)
		}
		delete(u.Object, "status")
		if *one.text, err = textOf(u); err != nil {
			return "", "", err
		}
	}
	return was, is, nil
}
