// Package install brings what package deploy renders into a cluster, and takes it out again.
//
// What comes in: a cluster and manifests. What goes out: what was done with each object ([Step]), told while it is done.
// [Cluster.Apply] applies on the server, as the field manager "lateen": a second time changes nothing, what others have set
// stays theirs unless it is forced, and what nobody rendered, such as settings of the mesh, is left alone. [Cluster.Await]
// waits until it works. [Cluster.Remove] leaves nothing, what the control plane itself has written included, however often it
// is called and wherever an earlier removal was interrupted.
//
// It promises to say what keeps something from happening in the cluster's own words, and to wait for nothing beyond its context.
package install

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	"github.com/lateen-mesh/lateen/internal/kubeapi"
	"github.com/lateen-mesh/lateen/internal/kubeclient"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// FieldManager is whose the applied fields are.
const FieldManager = "lateen"

// tick is how often a cluster is asked whether something has happened.
const tick = 500 * time.Millisecond

// Cluster is where something is installed.
type Cluster struct {
	objects dynamic.Interface
	client  *kubeapi.Client
}

// New returns the cluster to install in. It asks nobody yet.
func New(c kubeclient.Cluster) (*Cluster, error) {
	objects, err := c.Dynamic()
	if err != nil {
		return nil, err
	}
	client, err := c.Typed()
	if err != nil {
		return nil, err
	}
	return &Cluster{objects, client}, nil
}

// Verb says what was done with an object.
type Verb string

// What is done with objects.
const (
	Created   Verb = "created"
	Changed   Verb = "changed"
	Unchanged Verb = "unchanged"
	Deleted   Verb = "deleted"
)

// Step is what was done with one object.
type Step struct {
	Verb   Verb
	Object string // "deployment lateen-system/lateen"
}

// Error is a failure with the next step for the user.
type Error struct {
	error
	hint string
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.error }

// Hint returns the next step.
func (e *Error) Hint() string { return e.hint }

// Apply applies manifests in their order, and tells of each. With force it takes over fields that others have set.
func (c *Cluster) Apply(ctx context.Context, manifests []byte, force bool, tell func(Step)) error {
	all, err := read(manifests)
	if err != nil {
		return err
	}
	if err := c.awaitNoRemoval(ctx); err != nil {
		return hinted("", err)
	}
	for _, o := range all {
		verb, err := c.apply(ctx, o, force)
		if err != nil {
			return hinted("apply "+o.name()+": ", err)
		}
		tell(Step{verb, o.name()})
	}
	return nil
}

// apply applies one object and says what that did.
func (c *Cluster) apply(ctx context.Context, o object, force bool) (Verb, error) {
	there := c.at(o)
	before, err := there.Get(ctx, o.GetName(), metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return "", err
	}
	after, err := there.Apply(ctx, o.GetName(), o.Unstructured, metav1.ApplyOptions{FieldManager: FieldManager, Force: force})
	switch {
	case err != nil:
		return "", err
	case before == nil || before.GetUID() != after.GetUID():
		return Created, nil
	case before.GetResourceVersion() == after.GetResourceVersion():
		return Unchanged, nil
	default:
		return Changed, nil
	}
}

// at returns where objects like this one are.
func (c *Cluster) at(o object) dynamic.ResourceInterface {
	if o.GetNamespace() == "" {
		return c.objects.Resource(o.resource)
	}
	return c.objects.Resource(o.resource).Namespace(o.GetNamespace())
}

// hinted says what was done when an error came, and what can be done about it.
func hinted(doing string, err error) error {
	hint := ""
	switch {
	case apierrors.IsConflict(err):
		hint = "somebody else has set these fields: --force takes them over"
	case apierrors.IsForbidden(err):
		hint = "it takes the rights of a cluster administrator: `lateen check --pre` lists those that are missing"
	case apierrors.IsNotFound(err), apierrors.IsInvalid(err):
		hint = "`lateen check --pre` says whether the cluster is recent enough"
	}
	return &Error{fmt.Errorf("%s%w", doing, err), hint}
}

// awaitNoRemoval waits until a namespace that is being removed is gone: nothing can be made in it before.
func (c *Cluster) awaitNoRemoval(ctx context.Context) error {
	return c.until(ctx, func(ctx context.Context) (bool, string, error) {
		ns, err := c.client.Namespaces().Get(ctx, mesh.SystemNamespace, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return true, "", nil
		}
		if err != nil {
			return false, "", err
		}
		return ns.DeletionTimestamp == nil, "the namespace " + mesh.SystemNamespace + " is still being removed", nil
	})
}

// until asks until something has happened. If ctx ends before, the error says what has not.
func (c *Cluster) until(ctx context.Context, happened func(context.Context) (done bool, otherwise string, err error)) error {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	var last string
	for {
		done, otherwise, err := happened(ctx)
		switch {
		case err == nil && done:
			return nil
		case err == nil:
			last = otherwise
		case ctx.Err() == nil:
			return err
		}
		select {
		case <-ctx.Done():
			if last == "" || errors.Is(context.Cause(ctx), context.Canceled) {
				return context.Cause(ctx)
			}
			return fmt.Errorf("%s: %w", last, context.Cause(ctx))
		case <-ticker.C:
		}
	}
}

// object is one manifest, and the resource that it is one of.
type object struct {
	*unstructured.Unstructured
	resource resource
}
