package inject

import (
	"fmt"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/edit"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// removal says since when Kubernetes no longer serves an apiVersion of a kind, and what to do.
type removal struct {
	version, kind string // kind "": all
	since, fix    string
}

const (
	ingressFix = "write apiVersion: networking.k8s.io/v1; each path then needs a pathType (Prefix, Exact or ImplementationSpecific), and " +
		"instead of serviceName and servicePort it is backend: {service: {name: NAME, port: {number: PORT}}}"
	policyFix = "label the namespace for Pod Security admission instead: pod-security.kubernetes.io/enforce"
	rbac      = "rbac.authorization.k8s.io/"
	admission = "admissionregistration.k8s.io/"
)

// removals are of Kubernetes' deprecation guide (https://kubernetes.io/docs/reference/using-api/deprecation-guide/).
var removals = []removal{
	{"extensions/v1beta1", "Job", "1.6", "write apiVersion: batch/v1"},
	{"extensions/v1beta1", "ThirdPartyResource", "1.8", "use a CustomResourceDefinition"},
	{"extensions/v1beta1", "Ingress", "1.22", ingressFix},
	{"extensions/v1beta1", "NetworkPolicy", "1.16", "write apiVersion: networking.k8s.io/v1"},
	{"extensions/v1beta1", "PodSecurityPolicy", "1.16", policyFix},
	{"extensions/v1beta1", "", "1.16", "write apiVersion: apps/v1"},
	{"apps/v1beta1", "", "1.16", "write apiVersion: apps/v1"},
	{"apps/v1beta2", "", "1.16", "write apiVersion: apps/v1"},
	{"apps/v1alpha1", "PetSet", "1.5", "write apiVersion: apps/v1 and kind: StatefulSet"},
	{"batch/v1beta1", "CronJob", "1.25", "write apiVersion: batch/v1"},
	{"batch/v2alpha1", "CronJob", "1.21", "write apiVersion: batch/v1"},
	{"batch/v2alpha1", "Job", "1.5", "write apiVersion: batch/v1"},
	{"batch/v2alpha1", "ScheduledJob", "1.8", "write apiVersion: batch/v1 and kind: CronJob"},
	{"networking.k8s.io/v1beta1", "Ingress", "1.22", ingressFix},
	{"networking.k8s.io/v1beta1", "IngressClass", "1.22", "write apiVersion: networking.k8s.io/v1"},
	{"policy/v1beta1", "PodSecurityPolicy", "1.25", policyFix},
	{"policy/v1beta1", "PodDisruptionBudget", "1.25", "write apiVersion: policy/v1"},
	{rbac + "v1alpha1", "", "1.22", "write apiVersion: " + rbac + "v1"},
	{rbac + "v1beta1", "", "1.22", "write apiVersion: " + rbac + "v1"},
	{"apiextensions.k8s.io/v1beta1", "CustomResourceDefinition", "1.22", "write apiVersion: apiextensions.k8s.io/v1; each version then needs a schema"},
	{admission + "v1alpha1", "InitializerConfiguration", "1.16", "there are no initializers any more; webhooks do what they did"},
	{admission + "v1beta1", "MutatingWebhookConfiguration", "1.22", "write apiVersion: " + admission + "v1"},
	{admission + "v1beta1", "ValidatingWebhookConfiguration", "1.22", "write apiVersion: " + admission + "v1"},
	{"autoscaling/v2alpha1", "", "1.13", "write apiVersion: autoscaling/v2"},
	{"autoscaling/v2beta1", "", "1.25", "write apiVersion: autoscaling/v2"},
	{"autoscaling/v2beta2", "", "1.26", "write apiVersion: autoscaling/v2"},
	{"storage.k8s.io/v1beta1", "StorageClass", "1.22", "write apiVersion: storage.k8s.io/v1"},
	{"scheduling.k8s.io/v1beta1", "PriorityClass", "1.22", "write apiVersion: scheduling.k8s.io/v1"},
	{"coordination.k8s.io/v1beta1", "Lease", "1.22", "write apiVersion: coordination.k8s.io/v1"},
	{"discovery.k8s.io/v1beta1", "EndpointSlice", "1.25", "write apiVersion: discovery.k8s.io/v1"},
	{"certificates.k8s.io/v1beta1", "CertificateSigningRequest", "1.22", "write apiVersion: certificates.k8s.io/v1"},
	{"apiregistration.k8s.io/v1beta1", "APIService", "1.22", "write apiVersion: apiregistration.k8s.io/v1"},
	{"events.k8s.io/v1beta1", "Event", "1.25", "write apiVersion: events.k8s.io/v1"},
}

// outdated warns of what today's Kubernetes does not accept.
func (w *workload) outdated() {
	for _, r := range removals {
		if r.version != w.version || (r.kind != "" && r.kind != w.ref.Kind) {
			continue
		}
		w.warn(mesh.Problem{
			Code:    config.CodeUnsupportedVersion,
			Message: fmt.Sprintf("Kubernetes does not take %s of %s since %s", w.ref.Kind, w.version, r.since), Hint: r.fix,
		}, "apiVersion")
		break
	}
	if w.kind.selector && w.kind.has(w.version) {
		w.missingSelector()
	}
}

// missingSelector warns of an object that once was given a selector by default.
func (w *workload) missingSelector() {
	if selector := find(w.object, "spec", "selector"); selector != nil && !edit.IsNull(selector) {
		return
	}
	hint := "give the pod template labels, and write them below spec.selector.matchLabels as well"
	if labels := find(w.object, "spec", "template", "metadata", "labels"); labels != nil && !hollow(labels) {
		hint = "write selector: {matchLabels: " + edit.Inline(labels) + "}"
		if w.version != w.kind.versions[0] {
			hint += ", which it was by default"
		}
	}
	w.warn(mesh.Problem{
		Code: config.CodeMissingField, Message: w.kind.versions[0] + " does not take it without a selector", Hint: hint,
	}, "spec", "selector")
}
