package install

import (
	"context"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Left is what a removal would take along, or leave behind without a control plane.
type Left struct {
	Installed bool           // there is something to remove
	Objects   map[string]int // objects of our kinds, by the singular of the kind: "routerule"
	Proxies   int            // pods that have a proxy, but for the ingress
}

// Survey says what a removal of these manifests would concern.
func (c *Cluster) Survey(ctx context.Context, manifests []byte) (Left, error) {
	left := Left{Objects: map[string]int{}}
	all, err := read(manifests)
	if err != nil {
		return left, err
	}
	for _, o := range all {
		_, err := c.at(o).Get(ctx, o.GetName(), metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return left, err
		}
		left.Installed = true
		if o.GetKind() != definitionKind {
			continue
		}
		list, err := c.objects.Resource(defined(o)).List(ctx, metav1.ListOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return left, err
		}
		if list != nil && len(list.Items) > 0 {
			singular, _, _ := unstructured.NestedString(o.Object, "spec", "names", "singular")
			left.Objects[singular] = len(list.Items)
		}
	}
	roots, err := c.roots(ctx)
	if err != nil {
		return left, err
	}
	left.Installed = left.Installed || len(roots) > 0
	left.Proxies, err = c.proxies(ctx)
	return left, err
}

// defined returns the resource that a definition defines, in the version that is stored.
func defined(o object) resource {
	group, _, _ := unstructured.NestedString(o.Object, "spec", "group")
	plural, _, _ := unstructured.NestedString(o.Object, "spec", "names", "plural")
	versions, _, _ := unstructured.NestedSlice(o.Object, "spec", "versions")
	for _, v := range versions {
		if version, ok := v.(map[string]any); ok && version["storage"] == true {
			return resource{Group: group, Version: fmt.Sprint(version["name"]), Resource: plural}
		}
	}
	return resource{Group: group, Resource: plural}
}

// proxies counts the pods that have a proxy, but for the ingress, which goes with the rest.
func (c *Cluster) proxies(ctx context.Context) (int, error) {
	count := 0
	for page := ""; ; {
		pods, err := c.client.Pods("").List(ctx, metav1.ListOptions{Limit: 500, Continue: page})
		if err != nil {
			return 0, err
		}
		for i := range pods.Items {
			if pod := &pods.Items[i]; HasProxy(pod) && pod.Namespace != mesh.SystemNamespace {
				count++
			}
		}
		if page = pods.Continue; page == "" {
			return count, nil
		}
	}
}

// Remove removes manifests, the last first, and all that the control plane has written. Definitions of our kinds go with all
// objects of these kinds, unless they are to be kept. It returns when everything is gone.
func (c *Cluster) Remove(ctx context.Context, manifests []byte, keepKinds bool, tell func(Step)) error {
	all, err := read(manifests)
	if err != nil {
		return err
	}
	r := remover{c, tell}
	// The API server is to ask nobody any more before nobody answers; then goes who would write again what is removed.
	for _, kind := range []string{"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration", "Deployment"} {
		for _, o := range all {
			if o.GetKind() != kind {
				continue
			}
			if err := r.remove(ctx, o); err != nil {
				return err
			}
		}
	}
	if err := c.awaitNoPods(ctx); err != nil {
		return err
	}
	if err := r.written(ctx); err != nil {
		return err
	}
	for _, o := range slices.Backward(all) {
		if keepKinds && o.GetKind() == definitionKind {
			continue
		}
		if err := r.remove(ctx, o); err != nil {
			return err
		}
	}
	return r.awaitGone(ctx, all, keepKinds)
}

// remover removes objects, and tells of those that were there.
type remover struct {
	*Cluster
	tell func(Step)
}

func (r remover) remove(ctx context.Context, o object) error {
	return r.delete(ctx, r.at(o), o.GetKind(), o.GetNamespace(), o.GetName())
}

// delete deletes an object, and tells of it unless it was gone, or going: a namespace and a definition stay until what they hold is
// gone, so that an earlier removal may have deleted them.
func (r remover) delete(ctx context.Context, from dynamic.ResourceInterface, kind, namespace, name string) error {
	if kind == "Namespace" || kind == definitionKind {
		if there, err := from.Get(ctx, name, metav1.GetOptions{}); err == nil && there.GetDeletionTimestamp() != nil {
			return nil
		}
	}
	background := metav1.DeletePropagationBackground
	err := from.Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &background})
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return hinted("delete "+named(kind, namespace, name)+": ", err)
	}
	r.tell(Step{Deleted, named(kind, namespace, name)})
	return nil
}

// written removes what the control plane has written: the roots in all namespaces, and what has its labels in its own. Its own
// roots go last, since the authority goes by them that there was one.
func (r remover) written(ctx context.Context) error {
	configMaps := resource{Version: "v1", Resource: "configmaps"}
	roots, err := r.roots(ctx)
	if err != nil {
		return err
	}
	for _, namespace := range roots {
		if namespace == mesh.SystemNamespace {
			continue
		}
		if err := r.delete(ctx, r.objects.Resource(configMaps).Namespace(namespace), "ConfigMap", namespace, mesh.RootConfigMap); err != nil {
			return err
		}
	}
	for _, kind := range []struct {
		name string
		resource
	}{
		{"Lease", resource{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"}},
		{"Secret", resource{Version: "v1", Resource: "secrets"}},
		{"ConfigMap", configMaps},
	} {
		there := r.objects.Resource(kind.resource).Namespace(mesh.SystemNamespace)
		list, err := there.List(ctx, metav1.ListOptions{LabelSelector: mesh.PartLabel + "=" + mesh.SystemName})
		if err != nil {
			return err
		}
		names := []string{}
		for _, item := range list.Items {
			names = append(names, item.GetName())
		}
		switch kind.name {
		case "Secret":
			names = append(names, mesh.AuthoritySecret) // one that was plugged in has no labels
		case "ConfigMap":
			names = append(names, mesh.RootConfigMap)
		}
		slices.Sort(names)
		for _, name := range slices.Compact(names) {
			if err := r.delete(ctx, there, kind.name, mesh.SystemNamespace, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// roots lists the namespaces that hold the roots of the trust domain.
func (c *Cluster) roots(ctx context.Context) ([]string, error) {
	list, err := c.client.ConfigMaps("").List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + mesh.RootConfigMap})
	if err != nil {
		return nil, err
	}
	var all []string
	for _, item := range list.Items {
		all = append(all, item.Namespace)
	}
	return all, nil
}

// awaitNoPods waits until no control plane runs that would write again what is removed.
func (c *Cluster) awaitNoPods(ctx context.Context) error {
	return c.until(ctx, func(ctx context.Context) (bool, string, error) {
		pods, err := c.client.Pods(mesh.SystemNamespace).List(ctx, metav1.ListOptions{LabelSelector: mesh.NameLabel + "=" + mesh.SystemName})
		if err != nil {
			return false, "", err
		}
		return len(pods.Items) == 0, fmt.Sprintf("%d pods of the control plane still run", len(pods.Items)), nil
	})
}

// awaitGone waits until nothing of all is there any more.
func (r remover) awaitGone(ctx context.Context, all []object, keepKinds bool) error {
	err := r.until(ctx, func(ctx context.Context) (bool, string, error) {
		var there []string
		for _, o := range all {
			if keepKinds && o.GetKind() == definitionKind {
				continue
			}
			_, err := r.at(o).Get(ctx, o.GetName(), metav1.GetOptions{})
			if err == nil {
				there = append(there, o.name())
			} else if !apierrors.IsNotFound(err) {
				return false, "", err
			}
		}
		return len(there) == 0, strings.Join(there, ", ") + " still there", nil
	})
	if err != nil {
		return &Error{err, "`kubectl get namespace " + mesh.SystemNamespace + " -o yaml` says what it waits for; the same command goes on"}
	}
	return nil
}
