// Package kubeapi asks an API server about the built-in kinds that Lateen works with.
//
// What comes in: how an API server is asked, as a [rest.Config]. What goes out: a [Client], with a [Kind] for each of those
// kinds, whose methods are those that client-go's own clients have, with the same meaning.
//
// It is not client-go's package kubernetes, which knows every kind that Kubernetes ever had, in each version: a program that has
// it registers them all before it does anything, and is larger by a fifth. What this one must promise is therefore little:
// requests, retries and decoding are client-go's.
package kubeapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

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
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/flowcontrol"
)

// groups are those whose kinds can be asked about, with what registers these.
var groups = map[schema.GroupVersion]func(*runtime.Scheme) error{
	corev1.SchemeGroupVersion:                  corev1.AddToScheme,
	appsv1.SchemeGroupVersion:                  appsv1.AddToScheme,
	discoveryv1.SchemeGroupVersion:             discoveryv1.AddToScheme,
	networkingv1.SchemeGroupVersion:            networkingv1.AddToScheme,
	coordinationv1.SchemeGroupVersion:          coordinationv1.AddToScheme,
	eventsv1.SchemeGroupVersion:                eventsv1.AddToScheme,
	authenticationv1.SchemeGroupVersion:        authenticationv1.AddToScheme,
	authorizationv1.SchemeGroupVersion:         authorizationv1.AddToScheme,
	admissionregistrationv1.SchemeGroupVersion: admissionregistrationv1.AddToScheme,
}

// Client asks one API server. Methods may be called from several goroutines.
type Client struct {
	groups     map[schema.GroupVersion]*rest.RESTClient
	parameters runtime.ParameterCodec
}

// New returns a client that asks as the configuration says, in Protobuf where the server has it: built-in kinds are smaller in
// it, and cheaper to read than JSON. It asks nobody yet.
func New(config *rest.Config) (*Client, error) {
	shared := rest.CopyConfig(config)
	shared.ContentType = runtime.ContentTypeProtobuf
	shared.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	if shared.UserAgent == "" {
		shared.UserAgent = rest.DefaultKubernetesUserAgent()
	}
	if shared.RateLimiter == nil && shared.QPS > 0 { // one for all groups
		shared.RateLimiter = flowcontrol.NewTokenBucketRateLimiter(shared.QPS, max(shared.Burst, 1))
	}
	connections, err := rest.HTTPClientFor(shared)
	if err != nil {
		return nil, err
	}
	return newClient(shared, connections)
}

func newClient(shared *rest.Config, connections *http.Client) (*Client, error) {
	known := runtime.NewScheme()
	metav1.AddToGroupVersion(known, schema.GroupVersion{Version: "v1"})
	codecs := serializer.NewCodecFactory(known).WithoutConversion()
	c := &Client{groups: map[schema.GroupVersion]*rest.RESTClient{}, parameters: runtime.NewParameterCodec(known)}
	for group, register := range groups {
		if err := register(known); err != nil {
			return nil, err
		}
		config := rest.CopyConfig(shared)
		config.GroupVersion, config.NegotiatedSerializer, config.APIPath = &group, codecs, "/apis"
		if group.Group == "" {
			config.APIPath = "/api"
		}
		var err error
		if c.groups[group], err = rest.RESTClientForConfigAndClient(config, connections); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Core asks about kinds of the core group in ways that [Kind] does not have.
func (c *Client) Core() *rest.RESTClient { return c.groups[corev1.SchemeGroupVersion] }

// Networking is the same for networking.k8s.io.
func (c *Client) Networking() *rest.RESTClient { return c.groups[networkingv1.SchemeGroupVersion] }

// Logs is a request for what a container of a pod has written.
func (c *Client) Logs(namespace, pod string, o *corev1.PodLogOptions) *rest.Request {
	return c.Core().Get().Namespace(namespace).Resource("pods").Name(pod).SubResource("log").VersionedParams(o, c.parameters)
}

// Parameters writes options of a request, such as [corev1.PodExecOptions], into its URL.
func (c *Client) Parameters() runtime.ParameterCodec { return c.parameters }

// ServerVersion returns the version of the API server.
func (c *Client) ServerVersion(ctx context.Context) (*version.Info, error) {
	text, err := c.Core().Get().AbsPath("/version").Do(ctx).Raw()
	if err != nil {
		return nil, err
	}
	var v version.Info
	if err := json.Unmarshal(text, &v); err != nil || v.Major == "" {
		return nil, errors.Join(errNoVersion, err)
	}
	return &v, nil
}

var errNoVersion = errors.New("/version does not tell a version of Kubernetes")
