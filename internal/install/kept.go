package install

import (
	"context"
	"encoding/json"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Kept is what somebody has chosen for an installation, as far as its objects say. Who installs again wants it again: what is applied
// without it would take it away, since a field manager that does not give a field any more removes it.
type Kept struct {
	Image     string // of the control plane; [ImageOf] tells where it is. "": nothing is installed
	Replicas  int    // of the control plane; 0: nothing is said
	NoIngress bool   // there was a whole installation, and it has none
	Settings  string // of the mesh that were applied; "": none were. Those that others have written stay by themselves
}

// Kept reads the choices of the installation that is there.
func (c *Cluster) Kept(ctx context.Context) (Kept, error) {
	k, err := c.kept(ctx)
	if err != nil {
		return Kept{}, hinted("read what is installed: ", err)
	}
	return k, nil
}

func (c *Cluster) kept(ctx context.Context) (Kept, error) {
	var k Kept
	settings, err := c.client.ConfigMaps(mesh.SystemNamespace).Get(ctx, mesh.SystemName, metav1.GetOptions{})
	if err = unlessMissing(err); err != nil {
		return k, err
	}
	if owns(settings.ManagedFields, "data", mesh.SettingsKey) {
		k.Settings = settings.Data[mesh.SettingsKey]
	}
	plane, err := c.client.Deployments(mesh.SystemNamespace).Get(ctx, mesh.SystemName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return k, nil
	}
	if err != nil {
		return k, err
	}
	k.Image, k.Replicas = imageOf(plane), replicasOf(plane)
	k.NoIngress, err = c.choseNoIngress(ctx)
	return k, err
}

// choseNoIngress tells whether an installation has no ingress and is not one that was interrupted before it: the last object is there.
func (c *Cluster) choseNoIngress(ctx context.Context) (bool, error) {
	_, last := c.client.ValidatingWebhookConfigurations().Get(ctx, mesh.SystemName, metav1.GetOptions{})
	_, deployment := c.client.Deployments(mesh.SystemNamespace).Get(ctx, mesh.IngressName, metav1.GetOptions{})
	_, service := c.client.Services(mesh.SystemNamespace).Get(ctx, mesh.IngressName, metav1.GetOptions{})
	for _, err := range []error{last, deployment, service} {
		if err := unlessMissing(err); err != nil {
			return false, err
		}
	}
	return last == nil && deployment != nil && service != nil, nil
}

func unlessMissing(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func imageOf(d *appsv1.Deployment) string {
	for _, c := range d.Spec.Template.Spec.Containers {
		if c.Name == mesh.SystemName {
			return c.Image
		}
	}
	return ""
}

func replicasOf(d *appsv1.Deployment) int {
	if d.Spec.Replicas == nil {
		return 0
	}
	return int(*d.Spec.Replicas)
}

// owns tells whether a field is one of those that an installation has applied.
func owns(all []metav1.ManagedFieldsEntry, path ...string) bool {
	for _, m := range all {
		if m.Manager == FieldManager && m.Operation == metav1.ManagedFieldsOperationApply && m.FieldsV1 != nil && holds(m.FieldsV1.Raw, path) {
			return true
		}
	}
	return false
}

// holds tells whether a set of fields, in the form of the API server, has one.
func holds(set []byte, path []string) bool {
	if len(path) == 0 {
		return true
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(set, &fields); err != nil {
		return false
	}
	inner, ok := fields["f:"+path[0]]
	return ok && holds(inner, path[1:])
}

// Hub returns where the images of an installation are.
func (k Kept) Hub() (string, error) {
	hub, tag := ImageOf(k.Image)
	if k.Image != "" && tag == "" {
		return "", &Error{
			fmt.Errorf("the control plane runs the image %.200q, which does not say where the images of another version are", k.Image),
			"--hub says where they are; --hub= that the nodes have them",
		}
	}
	return hub, nil
}
