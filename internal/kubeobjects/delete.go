package kubeobjects

import (
	"cmp"
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lateen-mesh/lateen/internal/admin"
	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/source/state"
)

// Delete deletes objects, one after another: those named, and those that files hold. What was done before an error is told
// too.
func (k *Objects) Delete(ctx context.Context, d api.Delete) (api.Written, error) {
	out := api.Written{Results: []api.Result{}}
	defer func() { mesh.SortProblems(out.Problems) }()
	refs := make([]mesh.Ref, 0, len(d.Objects))
	for _, ref := range d.Objects {
		ref.Namespace = cmp.Or(ref.Namespace, d.Namespace, k.namespace)
		refs = append(refs, ref)
	}
	for _, f := range d.Files {
		objects, found := config.Parse(f.Name, []byte(f.Text), cmp.Or(d.Namespace, k.namespace))
		out.Problems = append(out.Problems, found...)
		for i := range objects {
			if found := admin.Mismatch(d.Namespace, &objects[i]); found != nil {
				out.Problems = append(out.Problems, found...)
				continue
			}
			refs = append(refs, objects[i].Ref)
		}
	}
	for _, ref := range refs {
		result, err := k.delete(ctx, ref)
		if p := asRefused(err); p != nil {
			out.Problems = append(out.Problems, *p)
			continue
		}
		if err != nil {
			return out, err
		}
		out.Results = append(out.Results, result)
	}
	return out, nil
}

func (k *Objects) delete(ctx context.Context, ref mesh.Ref) (api.Result, error) {
	kind := k.kinds.Named(ref.Kind)
	if kind == nil { // a kind that nobody can have written
		return api.Result{}, &refused{state.Missing(ref, nil)}
	}
	at := k.in(kind, ref.Namespace)
	old, err := at.Get(ctx, ref.Name, metav1.GetOptions{})
	if err == nil {
		uid := old.GetUID()
		err = at.Delete(ctx, ref.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	}
	switch {
	case isGone(err):
		return api.Result{}, &refused{state.Missing(ref, k.refs(ctx, kind))}
	case err != nil:
		return api.Result{}, asked(err, kind)
	}
	return api.Result{Verb: string(state.Deleted), Object: ref, Type: kind.Type, ResourceVersion: versionOf(old)}, nil
}
