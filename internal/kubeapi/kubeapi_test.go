package kubeapi_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"

	"github.com/lateen-mesh/lateen/internal/kubeapi"
	"github.com/lateen-mesh/lateen/internal/kubetest"
)

// lists asks for all objects of a kind, and tells of which kind the list is.
func lists[O kubeapi.Object, L runtime.Object](k kubeapi.Kind[O, L]) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		list, err := k.List(ctx, metav1.ListOptions{Limit: 5})
		if read, problem := meta.ListAccessor(list); err == nil && (problem != nil || read.GetResourceVersion() == "") {
			err = fmt.Errorf("what the API server lists is something else: %w", problem)
		}
		return strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%T", list), "*v1."), "List"), err
	}
}

// The API server knows every kind by the group and the name under which it is asked.
func TestKinds(t *testing.T) {
	t.Parallel()
	c := kubetest.Client(t, kubetest.Start(t).Kubeconfig, nil)
	for kind, list := range map[string]func(context.Context) (string, error){
		"Pod": lists(c.Pods("")), "Service": lists(c.Services("")), "ConfigMap": lists(c.ConfigMaps("default")), "Secret": lists(c.Secrets("default")),
		"Namespace": lists(c.Namespaces()), "Node": lists(c.Nodes()), "Deployment": lists(c.Deployments("")), "EndpointSlice": lists(c.EndpointSlices("")),
		"Ingress": lists(c.Ingresses("")), "IngressClass": lists(c.IngressClasses()), "ServiceCIDR": lists(c.ServiceCIDRs()), "Lease": lists(c.Leases("")),
		"Event": lists(c.Events("")), "MutatingWebhookConfiguration": lists(c.MutatingWebhookConfigurations()),
		"ValidatingWebhookConfiguration": lists(c.ValidatingWebhookConfigurations()),
	} {
		if got, err := list(t.Context()); err != nil || got != kind {
			t.Errorf("%s: a list of %s, %v", kind, got, err)
		}
	}
	review, err := c.TokenReviews().Create(t.Context(), &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: "x", Audiences: []string{"y"}}}, metav1.CreateOptions{})
	if err != nil || review.Status.Authenticated || review.Status.Error == "" {
		t.Errorf("a token that is none: %v, %v", review, err)
	}
	what := &authorizationv1.ResourceAttributes{Verb: "list", Resource: "pods"}
	self, err := c.SelfSubjectAccessReviews().Create(t.Context(), &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: what}}, metav1.CreateOptions{})
	if err != nil || !self.Status.Allowed {
		t.Errorf("who asks may do everything: %v, %v", self, err)
	}
	other, err := c.SubjectAccessReviews().Create(t.Context(), &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: "nobody", ResourceAttributes: what}}, metav1.CreateOptions{})
	if err != nil || other.Status.Allowed || other.Spec.User != "nobody" {
		t.Errorf("nobody may do nothing: %v, %v", other, err)
	}
	if v, err := c.ServerVersion(t.Context()); err != nil || v.Major != "1" || !strings.HasPrefix(v.GitVersion, "v1.") {
		t.Errorf("version %v, %v", v, err)
	}
	if err := c.Logs("default", "nobody", &corev1.PodLogOptions{Container: "x"}).Do(t.Context()).Error(); !apierrors.IsNotFound(err) {
		t.Errorf("the log of a pod that is not there: %v", err)
	}
}

// An object is made, read, followed, changed, patched and removed; what goes wrong is told as Kubernetes tells it.
func TestObject(t *testing.T) {
	t.Parallel()
	s := kubetest.Start(t)
	ctx, namespace := t.Context(), s.Namespace(t)
	maps := kubetest.Client(t, s.Kubeconfig, nil).ConfigMaps(namespace)
	seen, err := maps.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=a", ResourceVersion: "0"})
	if err != nil {
		t.Fatal(err)
	}
	defer seen.Stop()
	made, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Data: map[string]string{"k": "1"}}, metav1.CreateOptions{})
	if err != nil || made.UID == "" {
		t.Fatalf("%v, %v", made, err)
	}
	if _, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
		t.Errorf("made twice: %v", err)
	}
	stale := made.DeepCopy()
	made.Data["k"] = "2"
	if made, err = maps.Update(ctx, made, metav1.UpdateOptions{}); err != nil || made.Data["k"] != "2" || made.ResourceVersion == stale.ResourceVersion {
		t.Errorf("changed: %v, %v", made, err)
	}
	if _, err := maps.Update(ctx, stale, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("changed what was read before: %v", err)
	}
	if made, err = maps.Patch(ctx, "a", types.MergePatchType, []byte(`{"data":{"k":"3"}}`), metav1.PatchOptions{}); err != nil || made.Data["k"] != "3" {
		t.Errorf("patched: %v, %v", made, err)
	}
	if got, err := maps.Get(ctx, "a", metav1.GetOptions{}); err != nil || got.Data["k"] != "3" {
		t.Errorf("read: %v, %v", got, err)
	}
	if list, err := maps.List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=a"}); err != nil || len(list.Items) != 1 || list.Items[0].Data["k"] != "3" {
		t.Errorf("listed: %v, %v", list, err)
	}
	other := types.UID("other")
	if err := maps.Delete(ctx, "a", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &other}}); !apierrors.IsConflict(err) {
		t.Errorf("removed as another: %v", err)
	}
	if err := maps.Delete(ctx, "a", metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := maps.Get(ctx, "a", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("read what was removed: %v", err)
	}
	for _, want := range []struct {
		of   watch.EventType
		data string
	}{{watch.Added, "1"}, {watch.Modified, "2"}, {watch.Modified, "3"}, {watch.Deleted, "3"}} {
		select {
		case got := <-seen.ResultChan():
			if o, ok := got.Object.(*corev1.ConfigMap); !ok || got.Type != want.of || o.Data["k"] != want.data {
				t.Errorf("%s %v, want %v", got.Type, got.Object, want)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%v is not told", want)
		}
	}
}

// counted lets nothing through, and counts.
type counted func(*http.Request)

func (c counted) RoundTrip(r *http.Request) (*http.Response, error) {
	c(r)
	return nil, context.DeadlineExceeded
}

func second[T any](_ T, err error) error { return err }

// All groups share how often one may ask, and each request says which answers can be read; one about an object without a name is not sent.
func TestRequests(t *testing.T) {
	t.Parallel()
	var paths []string
	c, err := kubeapi.New(&rest.Config{Host: "https://api", QPS: 0.001, Burst: 2, Transport: counted(func(r *http.Request) {
		paths = append(paths, r.URL.Path)
		if got := r.Header.Get("Accept"); got != "application/vnd.kubernetes.protobuf,application/json" {
			t.Errorf("%s: Accept: %s", r.URL.Path, got)
		}
	})})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, _ = c.Pods("a").Get(ctx, "b", metav1.GetOptions{})
	_, _ = c.Deployments("").List(ctx, metav1.ListOptions{})
	if _, err := c.Nodes().Get(ctx, "c", metav1.GetOptions{}); err == nil || !strings.Contains(err.Error(), "limiter") {
		t.Errorf("the third of two: %v", err)
	}
	for _, err := range []error{
		second(c.Secrets("a").Get(ctx, "", metav1.GetOptions{})), c.Secrets("a").Delete(ctx, "", metav1.DeleteOptions{}),
		second(c.Secrets("a").Update(ctx, &corev1.Secret{}, metav1.UpdateOptions{})),
		second(c.Secrets("a").Patch(ctx, "", types.MergePatchType, nil, metav1.PatchOptions{})),
	} {
		if err == nil || !strings.Contains(err.Error(), "name may not be empty") {
			t.Errorf("without a name: %v", err)
		}
	}
	if got := strings.Join(paths, " "); got != "/api/v1/namespaces/a/pods/b /apis/apps/v1/deployments" {
		t.Errorf("asked for %s", got)
	}
}
