package kubeobjects

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/source/state"
)

// attempts bounds how often an object is written that others write too.
const attempts = 5

// ownGroup is the group whose versions say the same: an object of another one is sent as the preferred one.
const ownGroup = "config.istio.io"

// writing is that one object is written.
type writing struct {
	objects *Objects
	op      state.Op
	dry     bool // it is only tried
	object  *config.Object
	kind    *config.Kind
	at      dynamic.ResourceInterface
	text    *unstructured.Unstructured // what the file says
}

// write writes an object, and returns it as it was, nil for not at all, and as it is. An error that is a [refused] is about
// this object alone.
func (w *writing) write(ctx context.Context) (before, after *unstructured.Unstructured, err error) {
	if err := w.prepare(); err != nil {
		return nil, nil, err
	}
	for range attempts {
		before, err = w.live(ctx)
		if err != nil {
			return nil, nil, err
		}
		version := ""
		if before != nil {
			version = before.GetResourceVersion()
		}
		if p := state.Refuse(w.op, w.object, version, w.others(ctx)); p != nil {
			return nil, nil, &refused{*p}
		}
		after, err = w.put(ctx, before)
		raced := before == nil && apierrors.IsAlreadyExists(err) || before != nil && (apierrors.IsConflict(err) || apierrors.IsNotFound(err))
		if !raced {
			break
		}
	}
	if err != nil {
		return nil, nil, w.objects.why(err, w.object, w.kind)
	}
	return before, after, nil
}

// prepare reads what the file says.
func (w *writing) prepare() error {
	w.kind = w.objects.kinds.Find(w.object.APIVersion, w.object.Kind)
	if w.kind == nil { // it would not have been good
		return fmt.Errorf("unknown kind %q", w.object.Kind)
	}
	accepted := w.kind.APIVersions[0]
	if w.object.APIVersion != accepted && group(w.kind) != ownGroup {
		p := w.object.Problem(config.CodeUnsupportedVersion, "apiVersion", "clusters do not take %s of %q any more", w.object.Kind, w.object.APIVersion)
		p.Hint = "write it as " + accepted
		return &refused{p}
	}
	w.at = w.objects.in(w.kind, w.object.Namespace)
	value, err := state.Value([]byte(w.object.Text))
	var data []byte
	if err == nil {
		data, err = json.Marshal(value)
	}
	if err == nil {
		w.text = &unstructured.Unstructured{}
		err = w.text.UnmarshalJSON(data)
	}
	if err != nil {
		return &refused{w.object.Problem(state.CodeNotStored, "", "not stored: %v", err)}
	}
	written := w.text
	bare := map[string]any{"name": w.object.Name, "namespace": w.object.Namespace}
	metadata, _, _ := unstructured.NestedMap(written.Object, "metadata") // it was good
	for _, field := range []string{"labels", "annotations", "finalizers", "ownerReferences"} {
		if v, ok := metadata[field]; ok && v != nil {
			bare[field] = v
		}
	}
	written.SetAPIVersion(accepted)
	written.Object["metadata"] = bare
	delete(written.Object, "status")
	return nil
}

// live returns the object as it is in the cluster, nil for not at all.
func (w *writing) live(ctx context.Context) (*unstructured.Unstructured, error) {
	u, err := w.at.Get(ctx, w.object.Name, metav1.GetOptions{})
	switch {
	case isGone(err):
		return nil, nil //nolint:nilnil // there is none
	case err != nil:
		return nil, w.objects.why(err, w.object, w.kind)
	}
	return u, nil
}

// put creates the object, or puts it in the place of the one that is there.
func (w *writing) put(ctx context.Context, before *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	var dry []string
	if w.dry {
		dry = []string{metav1.DryRunAll}
	}
	if before == nil {
		return w.at.Create(ctx, w.text, metav1.CreateOptions{FieldManager: manager, DryRun: dry})
	}
	u := w.text.DeepCopy()
	u.SetResourceVersion(before.GetResourceVersion())
	if u.GetFinalizers() == nil {
		u.SetFinalizers(before.GetFinalizers())
	}
	if u.GetOwnerReferences() == nil {
		u.SetOwnerReferences(before.GetOwnerReferences())
	}
	if status, ok := before.Object["status"]; ok {
		u.Object["status"] = status
	}
	if applied, ok := before.GetAnnotations()[lastApplied]; ok {
		annotations := u.GetAnnotations()
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations[lastApplied] = cmp.Or(annotations[lastApplied], applied)
		u.SetAnnotations(annotations)
	}
	return w.at.Update(ctx, u, metav1.UpdateOptions{FieldManager: manager, DryRun: dry})
}

// others returns what lists the objects beside this one, as far as they can be seen.
func (w *writing) others(ctx context.Context) func() []mesh.Ref {
	return func() []mesh.Ref { return w.objects.refs(ctx, w.kind) }
}

// refused is an error that is a problem of one object.
type refused struct{ mesh.Problem }

func (r *refused) Error() string { return r.Message }

// asRefused returns the problem that an error is, or nil.
func asRefused(err error) *mesh.Problem {
	if r, ok := errors.AsType[*refused](err); ok {
		return &r.Problem
	}
	return nil
}
