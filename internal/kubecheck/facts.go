package kubecheck

import (
	"cmp"
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/version"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/install"
	"github.com/lateen-mesh/lateen/internal/kubeapi"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// facts is all that is judged.
type facts struct {
	config    Config
	client    *kubeapi.Client
	cluster   *install.Cluster
	manifests []byte
	now       time.Time

	name       string
	version    *version.Info
	deployment *appsv1.Deployment // nil: there is none
	planePods  []corev1.Pod
	namespaces []corev1.Namespace // nil: may not be read
	roots      map[string]string  // by namespace
	noRoots    bool               // they may not be read

	// Before an installation.
	lacking  []string // rights of the user
	nodes    []corev1.Node
	noNodes  bool // they may not be read
	refusals []install.Refusal
	found    []install.Found
	hasKey   bool // the authority's Secret is there

	// Of an installation.
	differences []install.Difference
	denied      []string     // rights that the control plane lacks
	noReview    bool         // nobody may ask for rights of others
	pods        []corev1.Pod // with a proxy
	others      []other      // pods without
	noPods      bool         // pods may not be read
	services    []corev1.Service
	noServices  bool          // they may not be read
	known       []api.Service // as the control plane knows them; nil: it was not asked
	plane       string        // version of the control plane; "": not known
	asked       asked
}

// silent says that a cluster does not answer.
type silent struct {
	error
	context string
}

// Unwrap returns the cause.
func (e *silent) Unwrap() error { return e.error }

// Hint returns the next step.
func (e *silent) Hint() string {
	return "`kubectl cluster-info --context " + e.context + "` says more; --context names another cluster"
}

// look reads what every report needs.
func look(ctx context.Context, c Config) (*facts, error) {
	f := &facts{config: c, now: time.Now(), name: c.Cluster.Context, roots: map[string]string{}}
	var err error
	if f.client, err = c.Cluster.Typed(); err != nil {
		return nil, err
	}
	if f.cluster, err = install.New(c.Cluster); err != nil {
		return nil, err
	}
	if f.version, err = f.client.ServerVersion(ctx); err != nil {
		return nil, &silent{fmt.Errorf("the API server does not answer: %w", err), c.Cluster.Context}
	}
	f.deployment, err = f.client.Deployments(mesh.SystemNamespace).Get(ctx, mesh.SystemName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		f.deployment, err = nil, nil
	}
	if err != nil {
		return nil, err
	}
	noIngress, err := f.noIngress(ctx)
	if err != nil {
		return nil, err
	}
	hub, tag, replicas := f.options()
	if f.manifests, err = c.Manifests(hub, tag, replicas, noIngress); err != nil {
		return nil, err
	}
	namespaces, err := f.client.Namespaces().List(ctx, metav1.ListOptions{})
	if allowed(&err) {
		f.namespaces = namespaces.Items
	}
	if err != nil {
		return nil, err
	}
	roots, err := f.client.ConfigMaps("").List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + mesh.RootConfigMap})
	if f.noRoots = !allowed(&err); !f.noRoots {
		for i := range roots.Items {
			f.roots[roots.Items[i].Namespace] = roots.Items[i].Data[mesh.RootKey]
		}
	}
	return f, err
}

// allowed tells whether something was read. That it may not be is no error.
func allowed(err *error) bool {
	if apierrors.IsForbidden(*err) {
		*err = nil
		return false
	}
	return *err == nil
}

// lookBefore reads what concerns an installation to come.
func (f *facts) lookBefore(ctx context.Context) (err error) {
	needs, err := install.Needs(f.manifests)
	if err != nil {
		return err
	}
	for _, need := range needs {
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: attributes(need)}}
		answer, err := f.client.SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		if !answer.Status.Allowed {
			f.lacking = append(f.lacking, need.String())
		}
	}
	nodes, err := f.client.Nodes().List(ctx, metav1.ListOptions{})
	if f.noNodes = !allowed(&err); !f.noNodes {
		f.nodes = nodes.Items
	}
	if err != nil {
		return err
	}
	_, err = f.client.Secrets(mesh.SystemNamespace).Get(ctx, mesh.AuthoritySecret, metav1.GetOptions{})
	f.hasKey = err == nil || apierrors.IsForbidden(err)
	if len(f.lacking) > 0 {
		return nil // it is told, and the rest follows from it
	}
	if f.found, err = f.cluster.Look(ctx, f.manifests); err != nil {
		return err
	}
	f.refusals, err = f.cluster.Try(ctx, f.manifests)
	return err
}

func attributes(r install.Right) *authorizationv1.ResourceAttributes {
	return &authorizationv1.ResourceAttributes{Verb: r.Verb, Group: r.Group, Resource: r.Resource, Name: r.Name, Namespace: r.Namespace}
}

// lookInstalled reads what concerns an installation that is there.
func (f *facts) lookInstalled(ctx context.Context) (err error) {
	if f.deployment == nil {
		return nil
	}
	if f.differences, err = f.cluster.Differences(ctx, f.manifests); err != nil {
		return err
	}
	if err := f.reviewPlane(ctx); err != nil {
		return err
	}
	if err := f.lookAtPods(ctx); err != nil {
		return err
	}
	services, err := f.client.Services("").List(ctx, metav1.ListOptions{})
	if f.noServices = !allowed(&err); !f.noServices {
		f.services = services.Items
	}
	if err != nil {
		return err
	}
	if err := f.lookAtInjection(ctx); err != nil {
		return err
	}
	if f.config.Plane == nil || f.deployment.Status.AvailableReplicas == 0 {
		return err
	}
	status, err := f.config.Plane.Status(ctx)
	if err != nil {
		return nil // that it does not answer is told by whoever looks at the mesh
	}
	f.plane = status.Version
	f.known, err = f.config.Plane.Services(ctx)
	return err
}

// reviewPlane asks whether the control plane may do all that it needs.
func (f *facts) reviewPlane(ctx context.Context) error {
	rights, err := install.Rights(f.manifests)
	if err != nil {
		return err
	}
	for _, right := range rights {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			ResourceAttributes: attributes(right),
			User:               "system:serviceaccount:" + mesh.SystemNamespace + ":" + mesh.SystemName,
			Groups:             []string{"system:serviceaccounts", "system:serviceaccounts:" + mesh.SystemNamespace, "system:authenticated"},
		}}
		answer, err := f.client.SubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
		if f.noReview = !allowed(&err); f.noReview {
			return err
		}
		if !answer.Status.Allowed {
			f.denied = append(f.denied, right.String())
		}
	}
	return nil
}

// page is how many pods are asked for at a time.
const page = 500

// lookAtPods keeps the pods of the control plane, and those with a proxy.
func (f *facts) lookAtPods(ctx context.Context) error {
	for next := ""; ; {
		pods, err := f.client.Pods("").List(ctx, metav1.ListOptions{Limit: page, Continue: next})
		if f.noPods = !allowed(&err); err != nil || f.noPods {
			return err
		}
		for i := range pods.Items {
			pod := &pods.Items[i]
			switch {
			case pod.Namespace == mesh.SystemNamespace && pod.Labels[mesh.NameLabel] == mesh.SystemName:
				f.planePods = append(f.planePods, *pod)
			case install.HasProxy(pod):
				f.pods = append(f.pods, *pod)
			default:
				f.others = append(f.others, otherOf(pod))
			}
		}
		if next = pods.Continue; next == "" {
			return nil
		}
	}
}

// noIngress tells whether the ingress was left out of what is installed: neither its Deployment nor its Service is there.
func (f *facts) noIngress(ctx context.Context) (bool, error) {
	if f.deployment == nil {
		return false, nil
	}
	_, err := f.client.Deployments(mesh.SystemNamespace).Get(ctx, mesh.IngressName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		_, err = f.client.Services(mesh.SystemNamespace).Get(ctx, mesh.IngressName, metav1.GetOptions{})
	}
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return apierrors.IsNotFound(err), nil
	}
	return false, err
}

// options returns those with which the Deployment was rendered, as far as it says: where the images are, their tag, and the
// number of replicas.
func (f *facts) options() (hub, tag string, replicas int) {
	tag, replicas = "dev", 1
	if f.deployment == nil {
		return hub, tag, replicas
	}
	if f.deployment.Spec.Replicas != nil {
		replicas = int(*f.deployment.Spec.Replicas)
	}
	for _, c := range f.deployment.Spec.Template.Spec.Containers {
		if c.Name == mesh.SystemName {
			hub, tag = install.ImageOf(c.Image)
		}
	}
	return hub, cmp.Or(tag, "dev"), max(replicas, 1)
}
