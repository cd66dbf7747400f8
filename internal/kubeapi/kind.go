package kubeapi

import (
	"context"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
)

// Object is an object of a cluster.
type Object interface {
	runtime.Object
	metav1.Object
}

// Kind asks about the objects of a kind, in a namespace, "" for all, or of the cluster.
type Kind[O Object, L runtime.Object] struct {
	server    *Client
	rest      *rest.RESTClient
	resource  string
	namespace string
	object    func() O
	list      func() L
}

// kind makes one of pointers to an object and to a list.
func kind[T, L any, O interface {
	*T
	Object
}, P interface {
	*L
	runtime.Object
}](c *Client, group schema.GroupVersion, resource, namespace string) Kind[O, P] {
	return Kind[O, P]{c, c.groups[group], resource, namespace, func() O { return new(T) }, func() P { return new(L) }}
}

// all completes a request that is about all objects.
func (k Kind[O, L]) all(r *rest.Request) *rest.Request {
	return r.NamespaceIfScoped(k.namespace, k.namespace != "").Resource(k.resource)
}

// one completes a request that is about one object. Without a name it is refused before it is sent.
func (k Kind[O, L]) one(r *rest.Request, name string) *rest.Request { return k.all(r).Name(name) }

// Get returns an object by its name.
func (k Kind[O, L]) Get(ctx context.Context, name string, o metav1.GetOptions) (O, error) {
	object := k.object()
	return object, k.one(k.rest.Get(), name).VersionedParams(&o, k.server.parameters).Do(ctx).Into(object)
}

// List returns the objects that there are.
func (k Kind[O, L]) List(ctx context.Context, o metav1.ListOptions) (L, error) {
	list := k.list()
	return list, k.all(k.rest.Get()).VersionedParams(&o, k.server.parameters).Timeout(seconds(o.TimeoutSeconds)).Do(ctx).Into(list)
}

// Watch tells what happens to the objects.
func (k Kind[O, L]) Watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	o.Watch = true
	return k.all(k.rest.Get()).VersionedParams(&o, k.server.parameters).Timeout(seconds(o.TimeoutSeconds)).Watch(ctx)
}

func seconds(n *int64) time.Duration {
	if n == nil {
		return 0
	}
	return time.Duration(*n) * time.Second
}

// Create makes an object, and returns it as it is then.
func (k Kind[O, L]) Create(ctx context.Context, object O, o metav1.CreateOptions) (O, error) {
	made := k.object()
	return made, k.all(k.rest.Post()).VersionedParams(&o, k.server.parameters).Body(object).Do(ctx).Into(made)
}

// Update replaces an object, and returns it as it is then.
func (k Kind[O, L]) Update(ctx context.Context, object O, o metav1.UpdateOptions) (O, error) {
	made := k.object()
	return made, k.one(k.rest.Put(), object.GetName()).VersionedParams(&o, k.server.parameters).Body(object).Do(ctx).Into(made)
}

// Patch changes an object, or a part of it such as its status, and returns it as it is then.
func (k Kind[O, L]) Patch(ctx context.Context, name string, form types.PatchType, patch []byte, o metav1.PatchOptions, part ...string) (O, error) {
	made := k.object()
	return made, k.one(k.rest.Patch(form), name).SubResource(part...).VersionedParams(&o, k.server.parameters).Body(patch).Do(ctx).Into(made)
}

// Delete removes an object.
func (k Kind[O, L]) Delete(ctx context.Context, name string, o metav1.DeleteOptions) error {
	return k.one(k.rest.Delete(), name).Body(&o).Do(ctx).Error()
}

// Pods of a namespace, "" for all, as of all kinds here that take one.
func (c *Client) Pods(namespace string) Kind[*corev1.Pod, *corev1.PodList] {
	return kind[corev1.Pod, corev1.PodList](c, corev1.SchemeGroupVersion, "pods", namespace)
}

// Services are what has one name and one address for several pods.
func (c *Client) Services(namespace string) Kind[*corev1.Service, *corev1.ServiceList] {
	return kind[corev1.Service, corev1.ServiceList](c, corev1.SchemeGroupVersion, "services", namespace)
}

// ConfigMaps hold settings, and the roots of the mesh.
func (c *Client) ConfigMaps(namespace string) Kind[*corev1.ConfigMap, *corev1.ConfigMapList] {
	return kind[corev1.ConfigMap, corev1.ConfigMapList](c, corev1.SchemeGroupVersion, "configmaps", namespace)
}

// Secrets hold keys.
func (c *Client) Secrets(namespace string) Kind[*corev1.Secret, *corev1.SecretList] {
	return kind[corev1.Secret, corev1.SecretList](c, corev1.SchemeGroupVersion, "secrets", namespace)
}

// Namespaces of the cluster.
func (c *Client) Namespaces() Kind[*corev1.Namespace, *corev1.NamespaceList] {
	return kind[corev1.Namespace, corev1.NamespaceList](c, corev1.SchemeGroupVersion, "namespaces", "")
}

// Nodes of the cluster.
func (c *Client) Nodes() Kind[*corev1.Node, *corev1.NodeList] {
	return kind[corev1.Node, corev1.NodeList](c, corev1.SchemeGroupVersion, "nodes", "")
}

// Deployments make pods.
func (c *Client) Deployments(namespace string) Kind[*appsv1.Deployment, *appsv1.DeploymentList] {
	return kind[appsv1.Deployment, appsv1.DeploymentList](c, appsv1.SchemeGroupVersion, "deployments", namespace)
}

// EndpointSlices tell the addresses behind services.
func (c *Client) EndpointSlices(namespace string) Kind[*discoveryv1.EndpointSlice, *discoveryv1.EndpointSliceList] {
	return kind[discoveryv1.EndpointSlice, discoveryv1.EndpointSliceList](c, discoveryv1.SchemeGroupVersion, "endpointslices", namespace)
}

// Ingresses say what comes in from outside.
func (c *Client) Ingresses(namespace string) Kind[*networkingv1.Ingress, *networkingv1.IngressList] {
	return kind[networkingv1.Ingress, networkingv1.IngressList](c, networkingv1.SchemeGroupVersion, "ingresses", namespace)
}

// IngressClasses say who serves an Ingress.
func (c *Client) IngressClasses() Kind[*networkingv1.IngressClass, *networkingv1.IngressClassList] {
	return kind[networkingv1.IngressClass, networkingv1.IngressClassList](c, networkingv1.SchemeGroupVersion, "ingressclasses", "")
}

// ServiceCIDRs are the networks of the addresses of services.
func (c *Client) ServiceCIDRs() Kind[*networkingv1.ServiceCIDR, *networkingv1.ServiceCIDRList] {
	return kind[networkingv1.ServiceCIDR, networkingv1.ServiceCIDRList](c, networkingv1.SchemeGroupVersion, "servicecidrs", "")
}

// Leases say who leads, and which replicas there are.
func (c *Client) Leases(namespace string) Kind[*coordinationv1.Lease, *coordinationv1.LeaseList] {
	return kind[coordinationv1.Lease, coordinationv1.LeaseList](c, coordinationv1.SchemeGroupVersion, "leases", namespace)
}

// Events tell what happened to an object.
func (c *Client) Events(namespace string) Kind[*eventsv1.Event, *eventsv1.EventList] {
	return kind[eventsv1.Event, eventsv1.EventList](c, eventsv1.SchemeGroupVersion, "events", namespace)
}

// TokenReviews tell whose a token is. They are made, and nothing else; as all kinds of reviews here, they have no lists.
func (c *Client) TokenReviews() Kind[*authenticationv1.TokenReview, *metav1.List] {
	return kind[authenticationv1.TokenReview, metav1.List](c, authenticationv1.SchemeGroupVersion, "tokenreviews", "")
}

// SubjectAccessReviews tell what somebody may.
func (c *Client) SubjectAccessReviews() Kind[*authorizationv1.SubjectAccessReview, *metav1.List] {
	return kind[authorizationv1.SubjectAccessReview, metav1.List](c, authorizationv1.SchemeGroupVersion, "subjectaccessreviews", "")
}

// SelfSubjectAccessReviews tell what who asks may.
func (c *Client) SelfSubjectAccessReviews() Kind[*authorizationv1.SelfSubjectAccessReview, *metav1.List] {
	return kind[authorizationv1.SelfSubjectAccessReview, metav1.List](c, authorizationv1.SchemeGroupVersion, "selfsubjectaccessreviews", "")
}

// ValidatingWebhookConfigurations say who looks at objects before they are stored.
func (c *Client) ValidatingWebhookConfigurations() Kind[*admissionregistrationv1.ValidatingWebhookConfiguration, *admissionregistrationv1.ValidatingWebhookConfigurationList] {
	return kind[admissionregistrationv1.ValidatingWebhookConfiguration, admissionregistrationv1.ValidatingWebhookConfigurationList](
		c, admissionregistrationv1.SchemeGroupVersion, "validatingwebhookconfigurations", "")
}

// MutatingWebhookConfigurations say who changes objects before they are stored.
func (c *Client) MutatingWebhookConfigurations() Kind[*admissionregistrationv1.MutatingWebhookConfiguration, *admissionregistrationv1.MutatingWebhookConfigurationList] {
	return kind[admissionregistrationv1.MutatingWebhookConfiguration, admissionregistrationv1.MutatingWebhookConfigurationList](
		c, admissionregistrationv1.SchemeGroupVersion, "mutatingwebhookconfigurations", "")
}
