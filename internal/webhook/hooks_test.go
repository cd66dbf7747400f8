package webhook_test

import (
	"context"
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/lateen-mesh/lateen/internal/inject/policy"
	"github.com/lateen-mesh/lateen/internal/kubetest"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/owners"
	"github.com/lateen-mesh/lateen/internal/webhook"
)

// asking is an API server that asks a webhook.
type asking struct {
	t      *testing.T
	client *kubernetes.Clientset
	server *webhook.Server
	url    string
	roots  []byte
	close  func()
}

func newAsking(t *testing.T) *asking {
	t.Helper()
	s := kubetest.StartOwn(t)
	around, err := owners.New(kubetest.Config(t, s.Kubeconfig, nil), discard())
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = around.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	a := &asking{t: t, client: kubetest.Clientset(t, s.Kubeconfig, nil), server: newServer(t, around, nil)}
	web := httptest.NewUnstartedServer(a.server.Handler())
	web.EnableHTTP2 = true
	web.StartTLS()
	a.url, a.close = web.URL, web.Close
	t.Cleanup(web.Close)
	a.roots = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw})
	return a
}

// tell tells the API server what the webhook wants it to be told, but for where it is.
func (a *asking) tell() {
	a.t.Helper()
	told, known := a.server.Hooks(a.roots)
	if !known {
		a.t.Fatal("it is not known what the API server is to be told")
	}
	here := func(c *admissionv1.WebhookClientConfig) {
		url := a.url + *c.Service.Path
		c.Service, c.URL = nil, &url
	}
	for i := range told.Mutating.Webhooks {
		here(&told.Mutating.Webhooks[i].ClientConfig)
	}
	for i := range told.Validating.Webhooks {
		here(&told.Validating.Webhooks[i].ClientConfig)
	}
	api := a.client.AdmissionregistrationV1()
	if _, err := api.MutatingWebhookConfigurations().Create(a.t.Context(), told.Mutating, metav1.CreateOptions{}); apierrors.IsAlreadyExists(err) {
		there, err := api.MutatingWebhookConfigurations().Get(a.t.Context(), told.Mutating.Name, metav1.GetOptions{})
		must(a.t, err)
		there.Webhooks = told.Mutating.Webhooks
		_, err = api.MutatingWebhookConfigurations().Update(a.t.Context(), there, metav1.UpdateOptions{})
		must(a.t, err)
	} else {
		must(a.t, err)
	}
}

// make makes a pod, in words only.
func (a *asking) make(p *corev1.Pod) (*corev1.Pod, error) {
	return a.client.CoreV1().Pods(p.Namespace).Create(a.t.Context(), p, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
}

// one is a pod that says something.
type one struct {
	pod  map[string]string // what it says, "annotation:" or "label:" before the key
	host bool
}

func (o one) make(namespace string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: namespace, Annotations: map[string]string{}, Labels: map[string]string{}}}
	for key, value := range o.pod {
		if rest, ok := strings.CutPrefix(key, "annotation:"); ok {
			p.Annotations[rest] = value
		} else {
			p.Labels[strings.TrimPrefix(key, "label:")] = value
		}
	}
	p.Spec.HostNetwork, p.Spec.ServiceAccountName = o.host, "default" // as a cluster fills in
	p.Spec.Containers = []corev1.Container{{Name: "app", Image: "app:1"}}
	return p
}

// combinations are what namespaces and pods may say, all with all.
func combinations() (spaces []map[string]string, pods []one) {
	for _, first := range []string{"", "enabled", "disabled", "TRUE", "off"} {
		for _, second := range []string{"", "enabled", "disabled"} {
			labels := map[string]string{}
			if first != "" {
				labels[mesh.InjectLabel] = first
			}
			if second != "" {
				labels[mesh.InjectionLabel] = second
			}
			spaces = append(spaces, labels)
		}
	}
	for _, annotation := range []string{"", "Yes", "no"} {
		for _, label := range []string{"", "enabled", "false"} {
			for _, old := range []string{"", "enabled", "n"} {
				says := map[string]string{}
				for key, value := range map[string]string{
					"annotation:" + mesh.InjectAnnotation: annotation, "label:" + mesh.InjectLabel: label, "label:" + mesh.InjectionLabel: old,
				} {
					if value != "" {
						says[key] = value
					}
				}
				pods = append(pods, one{pod: says})
			}
		}
	}
	return spaces, append(pods, one{pod: map[string]string{"annotation:" + mesh.InjectAnnotation: "true"}, host: true},
		one{pod: map[string]string{"annotation:" + mesh.StatusAnnotation: "injected-version-1", "label:" + mesh.InjectLabel: "enabled"}})
}

// The API server asks for every pod that gets a sidecar by the policy, so that it starts with one or not at all; where nobody answers it
// takes in those that need none, whatever says so but their owner, and those of the system.
func TestHooks(t *testing.T) {
	t.Parallel()
	a := newAsking(t)
	spaces, pods := combinations()
	names := []string{metav1.NamespaceSystem}
	for i, labels := range spaces {
		name := fmt.Sprintf("space-%d", i)
		names = append(names, name)
		_, err := a.client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}, metav1.CreateOptions{})
		must(t, err)
	}
	spaces = append([]map[string]string{{}}, spaces...)
	away := false
	look := func(document string) (wrong []string) {
		c, _ := a.server.Policy()
		for i, name := range names {
			for _, p := range pods {
				made := p.make(name)
				want := policy.Decide(c, policy.Pod{
					Object: mesh.Ref{Kind: "Pod", Namespace: name, Name: "web"}, Annotations: made.Annotations, Labels: made.Labels,
					NamespaceLabels: spaces[i], HostNetwork: p.host, Containers: []string{"app"},
				})
				got, err := a.make(made)
				right := err == nil && (len(got.Spec.InitContainers) > 0) == want.Sidecar
				if away {
					right = (err != nil) == want.Sidecar
				}
				if !right {
					wrong = append(wrong, fmt.Sprintf("%s, away: %t: %v in %s %v: %v; %s", document, away, p, name, spaces[i], err, want.Explain()))
				}
			}
		}
		return wrong
	}
	try := func(document string) {
		must(t, noProblems(setPolicy(a.server, document)))
		a.tell()
		var wrong []string
		for until := time.Now().Add(30 * time.Second); time.Now().Before(until); { // the API server hears of it a moment later
			if wrong = look(document); len(wrong) == 0 {
				return
			}
		}
		t.Errorf("%d are wrong, such as\n%s", len(wrong), strings.Join(wrong[:min(len(wrong), 10)], "\n"))
	}
	for _, document := range []string{
		"policy: enabled", "policy: disabled", "policy: enabled\nexcludeNamespaces: [space-0, space-4]", "policy: disabled\nnamespaces: [space-0, space-3]",
	} {
		try(document)
	}
	away = true
	a.close()
	try("policy: enabled")
	try("policy: disabled")
}

// What an owner says counts, also of one that has just been made; where nobody answers, a pod whose owner might ask for a sidecar starts, if
// nothing else does.
func TestOwners(t *testing.T) {
	t.Parallel()
	a := newAsking(t)
	a.tell()
	space := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}
	_, err := a.client.CoreV1().Namespaces().Create(t.Context(), space, metav1.CreateOptions{})
	must(t, err)
	labels := map[string]string{"app": "web"}
	template := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: one{}.make("").Spec}
	deployment, err := a.client.AppsV1().Deployments("shop").Create(t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Annotations: map[string]string{mesh.InjectAnnotation: "yes"}},
		Spec:       appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: template},
	}, metav1.CreateOptions{})
	must(t, err)
	set := func(name string, annotations map[string]string) metav1.OwnerReference {
		r, err := a.client.AppsV1().ReplicaSets("shop").Create(t.Context(), &appsv1.ReplicaSet{
			ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations, OwnerReferences: []metav1.OwnerReference{
				*metav1.NewControllerRef(deployment, appsv1.SchemeGroupVersion.WithKind("Deployment")),
			}},
			Spec: appsv1.ReplicaSetSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: template},
		}, metav1.CreateOptions{})
		must(t, err)
		return *metav1.NewControllerRef(r, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))
	}
	check := func(what string, owner metav1.OwnerReference, want bool) {
		t.Helper()
		pod := one{}.make("shop")
		pod.OwnerReferences = []metav1.OwnerReference{owner}
		got, err := a.make(pod)
		if err != nil || (len(got.Spec.InitContainers) > 0) != want {
			t.Errorf("%s: %v, %v", what, err, got.Spec.InitContainers)
		}
	}
	first := set("first", nil)
	for until := time.Now().Add(30 * time.Second); time.Now().Before(until); { // the API server hears of the webhook a moment later
		pod := one{}.make("shop")
		pod.OwnerReferences = []metav1.OwnerReference{first}
		if got, err := a.make(pod); err == nil && len(got.Spec.InitContainers) > 0 {
			break
		}
	}
	check("the owner of its owner says yes", first, true)
	for i := range 20 {
		check("its owner, just made, says no", set(fmt.Sprintf("no-%d", i), map[string]string{mesh.InjectAnnotation: "no"}), false)
	}
	other := first
	other.UID = "another"
	check("its owner was another one of that name", other, false)
	unknown := first
	unknown.Kind, unknown.APIVersion = "Rollout", "argoproj.io/v1alpha1"
	check("its owner is of a kind that nobody knows", unknown, false)
	a.close()
	check("nobody answers", first, false)
}
