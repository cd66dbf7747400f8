package kubewrite

import (
	"context"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// hooks keep what the API server is told of our webhooks. The objects for that are installed, empty, and go with everything else that
// is, whichever way that is taken out. They are not made here: whoever deletes them wants the API server to ask no more.
type hooks struct {
	c       Config
	leading func() bool
	wrote   map[string]writing // by the object
	wanted  map[string]any     // what was written last
	gone    map[string]bool    // objects that are told not to be there
}

// run keeps them until ctx ends. They stay then: whoever leads next goes on.
func (h *hooks) run(ctx context.Context) error {
	if h.c.Hooks == nil {
		return nil
	}
	beats(ctx, h.c.Beat, func(ctx context.Context) {
		if !h.leading() {
			clear(h.wrote)
			return
		}
		mutating, validating, known := h.c.Hooks()
		if !known {
			return
		}
		h.note(ctx, "mutatingwebhookconfiguration", mutating, func(ctx context.Context) (bool, error) {
			return keep(ctx, h.c.Client.MutatingWebhookConfigurations(), mutating.Name, func(there *admissionv1.MutatingWebhookConfiguration) bool {
				same := equality.Semantic.DeepEqual(there.Webhooks, mutating.Webhooks)
				there.Webhooks = mutating.Webhooks
				return same
			})
		})
		h.note(ctx, "validatingwebhookconfiguration", validating, func(ctx context.Context) (bool, error) {
			return keep(ctx, h.c.Client.ValidatingWebhookConfigurations(), validating.Name, func(there *admissionv1.ValidatingWebhookConfiguration) bool {
				same := equality.Semantic.DeepEqual(there.Webhooks, validating.Webhooks)
				there.Webhooks = validating.Webhooks
				return same
			})
		})
	})
	return nil
}

// note writes an object unless somebody else changes it again and again soon after that: then ever more slowly.
func (h *hooks) note(ctx context.Context, object string, want any, write func(context.Context) (wrote bool, err error)) {
	before, now := h.wrote[object], time.Now()
	if !equality.Semantic.DeepEqual(h.wanted[object], want) {
		before = writing{} // it is this replica that wants something else now
	}
	if now.Sub(before.at) < before.pause {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, callBound)
	defer cancel()
	wrote, err := write(ctx)
	if err != nil {
		h.tell(object, err)
		return
	}
	h.gone[object], h.wanted[object] = false, want
	if !wrote {
		return
	}
	next, tell := before.then(now, false, false)
	if tell {
		h.c.Log.Warn("what the API server is told of webhooks does not last: somebody changes it", "object", object+" "+mesh.SystemName)
	}
	h.wrote[object] = next
}

// tell tells of an object that cannot be written, of one that is not there once.
func (h *hooks) tell(object string, err error) {
	missing := apierrors.IsNotFound(err)
	switch told := h.gone[object]; {
	case apierrors.IsConflict(err): // it is looked at again
	case !missing:
		h.c.Log.Warn("the API server cannot be told of our webhooks now", "object", object+" "+mesh.SystemName, "err", err)
	case !told:
		h.c.Log.Warn("the API server does not ask which pods get a sidecar and whether objects are good: lateen install makes the object that tells it to", "object", object+" "+mesh.SystemName)
	}
	h.gone[object] = missing
}

// keeper reads and writes objects of one kind.
type keeper[T any] interface {
	Get(ctx context.Context, name string, o metav1.GetOptions) (T, error)
	Update(ctx context.Context, object T, o metav1.UpdateOptions) (T, error)
}

// keep makes an object what it is to be, and tells whether it had to be written. Set puts in what counts, and tells whether it was there.
func keep[T any](ctx context.Context, in keeper[T], name string, set func(there T) (same bool)) (wrote bool, err error) {
	there, err := in.Get(ctx, name, metav1.GetOptions{})
	if err != nil || set(there) {
		return false, err
	}
	_, err = in.Update(ctx, there, metav1.UpdateOptions{})
	return err == nil, err
}
