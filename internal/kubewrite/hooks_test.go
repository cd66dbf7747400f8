package kubewrite_test

import (
	"strings"
	"sync/atomic"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lateen-mesh/lateen/internal/testkit"
)

// hookRights are those that the control plane needs to tell the API server of its webhooks, with the objects for that.
const hookRights = `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: lateen-hooks}
rules:
- {apiGroups: [admissionregistration.k8s.io], resources: [mutatingwebhookconfigurations, validatingwebhookconfigurations], resourceNames: [lateen], verbs: [get, update]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: lateen-hooks}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: lateen-hooks}
subjects: [{kind: User, name: plane}]
---
{apiVersion: admissionregistration.k8s.io/v1, kind: MutatingWebhookConfiguration, metadata: {name: lateen}}
---
{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingWebhookConfiguration, metadata: {name: lateen}}
`

// hooksNamed returns webhooks that ask about no pod, by a name.
func hooksNamed(name string) hooks {
	client := admissionv1.WebhookClientConfig{Service: &admissionv1.ServiceReference{Namespace: "lateen-system", Name: "lateen", Port: new(int32(443))}}
	all := metav1.LabelSelector{}
	mutating := admissionv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "lateen"}, Webhooks: []admissionv1.MutatingWebhook{{
		Name: name, ClientConfig: client, FailurePolicy: new(admissionv1.Ignore), MatchPolicy: new(admissionv1.Equivalent), TimeoutSeconds: new(int32(5)),
		SideEffects: new(admissionv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"}, ReinvocationPolicy: new(admissionv1.NeverReinvocationPolicy),
		NamespaceSelector: &all, ObjectSelector: &all,
	}}}
	validating := admissionv1.ValidatingWebhookConfiguration{ObjectMeta: mutating.ObjectMeta, Webhooks: []admissionv1.ValidatingWebhook{{
		Name: name, ClientConfig: client, FailurePolicy: new(admissionv1.Ignore), MatchPolicy: new(admissionv1.Equivalent), TimeoutSeconds: new(int32(5)),
		SideEffects: new(admissionv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"}, NamespaceSelector: &all, ObjectSelector: &all,
	}}}
	return func() (*admissionv1.MutatingWebhookConfiguration, *admissionv1.ValidatingWebhookConfiguration, bool) {
		return mutating.DeepCopy(), validating.DeepCopy(), name != ""
	}
}

// twice is a name as both objects have it.
func twice(name string) string { return name + " " + name }

// The leader, and nobody else, tells the API server of the webhooks, and what changes of them. What somebody else has put there goes,
// ever more slowly where it comes again; what is deleted is not made again.
func TestHooks(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.server.Kubectl(t, hookRights, "apply", "-f", "-")
	var want atomic.Pointer[string]
	want.Store(new(string))
	told := func() (*admissionv1.MutatingWebhookConfiguration, *admissionv1.ValidatingWebhookConfiguration, bool) {
		return hooksNamed(*want.Load())()
	}
	a := c.replicaWith(t, "a", beat, told)
	testkit.Await(t, "it leads", a.Leading)
	b := c.replicaWith(t, "b", beat, hooksNamed("b.lateen.dev"))
	api := c.admin.AdmissionregistrationV1()
	names := func() string {
		var all []string
		mutating, err := api.MutatingWebhookConfigurations().Get(t.Context(), "lateen", metav1.GetOptions{})
		must(t, err)
		validating, err := api.ValidatingWebhookConfigurations().Get(t.Context(), "lateen", metav1.GetOptions{})
		must(t, err)
		for _, w := range mutating.Webhooks {
			all = append(all, w.Name)
		}
		for _, w := range validating.Webhooks {
			all = append(all, w.Name)
		}
		return strings.Join(all, " ")
	}
	testkit.Await(t, "b knows who leads", func() bool { return b.Leader() == "a" })
	if got := names(); got != "" {
		t.Errorf("before it is known what to tell there is %q", got)
	}
	for _, name := range []string{"one.lateen.dev", "two.lateen.dev", "three.lateen.dev"} {
		want.Store(&name)
		testkit.Await(t, "it is told", func() bool { return names() == twice(name) })
	}
	version := func() string {
		there, err := api.MutatingWebhookConfigurations().Get(t.Context(), "lateen", metav1.GetOptions{})
		must(t, err)
		return there.ResourceVersion
	}
	before := version()
	spoil := func() {
		there, err := api.MutatingWebhookConfigurations().Get(t.Context(), "lateen", metav1.GetOptions{})
		must(t, err)
		there.Webhooks = nil
		_, err = api.MutatingWebhookConfigurations().Update(t.Context(), there, metav1.UpdateOptions{})
		if !apierrors.IsConflict(err) {
			must(t, err)
		}
	}
	for range 4 {
		spoil()
		testkit.Await(t, "it is put back", func() bool { return names() == twice("three.lateen.dev") })
	}
	// Changes that are far apart are no quarrel: on a slow machine it takes more than those four.
	testkit.Await(t, "it is told that somebody changes it", func() bool {
		if strings.Contains(a.log.String(), "does not last") {
			return true
		}
		if names() == twice("three.lateen.dev") {
			spoil()
		}
		return false
	})
	if version() == before {
		t.Error("nothing was written")
	}
	must(t, api.MutatingWebhookConfigurations().Delete(t.Context(), "lateen", metav1.DeleteOptions{}))
	testkit.Await(t, "it is told that nobody asks", func() bool { return strings.Contains(a.log.String(), "does not ask which pods") })
	if _, err := api.MutatingWebhookConfigurations().Get(t.Context(), "lateen", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("what was deleted is there: %v", err)
	}
	c.server.Kubectl(t, hookRights, "apply", "-f", "-")
	testkit.Await(t, "it is told again", func() bool { return strings.HasPrefix(names(), "three.lateen.dev") })
	a.stop()
	testkit.Await(t, "the next leader tells its own", func() bool { return names() == twice("b.lateen.dev") })
}
