package webhook

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/inject/policy"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Hooks are what an API server is told, in order that it asks a webhook.
type Hooks struct {
	Mutating   *admissionv1.MutatingWebhookConfiguration
	Validating *admissionv1.ValidatingWebhookConfiguration
}

// How long an API server waits for an answer, in seconds.
const (
	podSeconds    = 10
	ownerSeconds  = 3
	objectSeconds = 5
)

// Hooks returns what the API server is to be told. Roots are those that it verifies the server's certificate by, in PEM. It returns
// false before the policy is known.
//
// A pod that is to have a sidecar must not start without, so the API server takes in none while nobody answers. It is not to
// ask about pods that need none, and those start whatever has become of Lateen: those of the system, those in namespaces that
// the policy leaves out or that say no, those that say no themselves, have a sidecar or can have none. Which of these a pod is, the API
// server finds out by the namespace's labels and the pod itself. What it cannot see is what a pod's owner says. Where
// only that could bring a sidecar it asks, but goes on without an answer.
func (s *Server) Hooks(roots []byte) (Hooks, bool) {
	c, known := s.Policy()
	if !known || len(roots) == 0 {
		return Hooks{}, false
	}
	return hooks(c, s.c.Kinds, roots), true
}

func hooks(c policy.Config, kinds config.Kinds, roots []byte) Hooks {
	meta := metav1.ObjectMeta{Name: mesh.SystemName, Labels: map[string]string{mesh.NameLabel: mesh.SystemName, mesh.PartLabel: mesh.SystemName}}
	h := Hooks{
		Mutating:   &admissionv1.MutatingWebhookConfiguration{ObjectMeta: meta, Webhooks: podHooks(c, roots)},
		Validating: &admissionv1.ValidatingWebhookConfiguration{ObjectMeta: *meta.DeepCopy()},
	}
	if rules := objectRules(kinds); len(rules) > 0 {
		h.Validating.Webhooks = []admissionv1.ValidatingWebhook{{
			Name: "objects.lateen.dev", ClientConfig: client(ValidatePath, roots), Rules: rules,
			// A bad object harms nothing else, and is told in its status: nobody is kept from mending one while Lateen is away.
			FailurePolicy: new(admissionv1.Ignore), MatchPolicy: new(admissionv1.Equivalent), SideEffects: new(admissionv1.SideEffectClassNone),
			TimeoutSeconds: new(int32(objectSeconds)), AdmissionReviewVersions: []string{"v1"},
			NamespaceSelector: &metav1.LabelSelector{}, ObjectSelector: &metav1.LabelSelector{},
		}}
	}
	return h
}

// client says where the API server finds a path of the server.
func client(path string, roots []byte) admissionv1.WebhookClientConfig {
	return admissionv1.WebhookClientConfig{
		CABundle: roots,
		Service: &admissionv1.ServiceReference{
			Namespace: mesh.SystemNamespace, Name: mesh.SystemName, Path: new(path), Port: new(int32(mesh.WebhookService)),
		},
	}
}

// objectRules select the objects of our kinds.
func objectRules(kinds config.Kinds) []admissionv1.RuleWithOperations {
	plurals := map[schema.GroupVersion][]string{}
	for _, k := range kinds {
		if k.Spec == nil {
			continue
		}
		for _, version := range k.APIVersions {
			if v, err := schema.ParseGroupVersion(version); err == nil {
				plurals[v] = append(plurals[v], k.Plural)
			}
		}
	}
	var rules []admissionv1.RuleWithOperations
	for v, names := range plurals {
		slices.Sort(names)
		rules = append(rules, rule(v, []admissionv1.OperationType{admissionv1.Create, admissionv1.Update}, names...))
	}
	slices.SortFunc(rules, func(a, b admissionv1.RuleWithOperations) int {
		return cmp.Or(cmp.Compare(a.APIGroups[0], b.APIGroups[0]), cmp.Compare(a.APIVersions[0], b.APIVersions[0]))
	})
	return rules
}

func rule(v schema.GroupVersion, operations []admissionv1.OperationType, resources ...string) admissionv1.RuleWithOperations {
	return admissionv1.RuleWithOperations{
		Operations: operations,
		Rule: admissionv1.Rule{
			APIGroups: []string{v.Group}, APIVersions: []string{v.Version}, Resources: resources, Scope: new(admissionv1.NamespacedScope),
		},
	}
}

// space is a set of namespaces, by what their labels say of sidecars. The spaces share no namespace, and together are all.
type space struct {
	name   string
	labels []metav1.LabelSelectorRequirement
	yes    bool // pods that say nothing get a sidecar
}

// Operators of selectors.
const (
	in      = metav1.LabelSelectorOpIn
	notIn   = metav1.LabelSelectorOpNotIn
	exists  = metav1.LabelSelectorOpExists
	missing = metav1.LabelSelectorOpDoesNotExist
)

func label(key string, operator metav1.LabelSelectorOperator, values ...string) metav1.LabelSelectorRequirement {
	return metav1.LabelSelectorRequirement{Key: key, Operator: operator, Values: values}
}

// spaces returns the sets of namespaces. A selector cannot tell every word that says no from one that says yes, since case does not count: a
// namespace with a strange one is among those whose pods wait for an answer.
func spaces(silent bool) []space {
	no := []string{"disabled", "false", "n", "no", "off"}
	first, second := mesh.InjectLabel, mesh.InjectionLabel
	return []space{
		{"labelled", []metav1.LabelSelectorRequirement{label(first, exists), label(first, notIn, no...)}, true},
		{"labelled-no", []metav1.LabelSelectorRequirement{label(first, in, no...)}, false},
		{"named", []metav1.LabelSelectorRequirement{label(first, missing), label(second, exists), label(second, notIn, no...)}, true},
		{"named-no", []metav1.LabelSelectorRequirement{label(first, missing), label(second, in, no...)}, false},
		{"silent", []metav1.LabelSelectorRequirement{label(first, missing), label(second, missing)}, silent},
	}
}

// nameLabel is the label of each namespace with its name.
const nameLabel = "kubernetes.io/metadata.name"

// podHooks select the pods that may get a sidecar.
func podHooks(c policy.Config, roots []byte) []admissionv1.MutatingWebhook {
	of := []metav1.LabelSelectorRequirement{label(nameLabel, notIn, outside(c)...)}
	if !slices.Contains(c.Namespaces, policy.Everywhere) {
		if len(c.Namespaces) == 0 {
			return nil
		}
		of = append(of, label(nameLabel, in, c.Namespaces...))
	}
	var all []admissionv1.MutatingWebhook
	add := func(s space, suffix string, failure admissionv1.FailurePolicyType, seconds int32, condition admissionv1.MatchCondition) {
		all = append(all, admissionv1.MutatingWebhook{
			Name: s.name + suffix + ".sidecar.lateen.dev", ClientConfig: client(MutatePath, roots),
			Rules:         []admissionv1.RuleWithOperations{rule(schema.GroupVersion{Version: "v1"}, []admissionv1.OperationType{admissionv1.Create}, "pods")},
			FailurePolicy: new(failure), MatchPolicy: new(admissionv1.Equivalent), SideEffects: new(admissionv1.SideEffectClassNone),
			ReinvocationPolicy: new(admissionv1.IfNeededReinvocationPolicy), TimeoutSeconds: new(seconds), AdmissionReviewVersions: []string{"v1"},
			NamespaceSelector: &metav1.LabelSelector{MatchExpressions: slices.Concat(of, s.labels)}, ObjectSelector: &metav1.LabelSelector{},
			MatchConditions: append(possible(), condition),
		})
	}
	for _, s := range spaces(c.Mode == policy.Enabled) {
		add(s, "", admissionv1.Fail, podSeconds, admissionv1.MatchCondition{Name: "wanted", Expression: says(fmt.Sprint(s.yes))})
		if !s.yes {
			add(s, "-owned", admissionv1.Ignore, ownerSeconds, admissionv1.MatchCondition{
				Name: "silent", Expression: "has(object.metadata.ownerReferences) && !(" + said(mesh.InjectAnnotation, "annotations") + " || " +
					said(mesh.InjectLabel, "labels") + " || " + said(mesh.InjectionLabel, "labels") + ")",
			})
		}
	}
	return all
}

// outside names the namespaces whose pods get nothing.
func outside(c policy.Config) []string {
	all := slices.Concat(policy.SystemNamespaces(), c.Excluded)
	slices.Sort(all)
	return slices.Compact(all)
}

// possible are the conditions without which a pod gets no sidecar, whatever is said.
func possible() []admissionv1.MatchCondition {
	return []admissionv1.MatchCondition{
		{Name: "no-sidecar-yet", Expression: "!(" + said(mesh.StatusAnnotation, "annotations") + ")"},
		{Name: "own-network", Expression: "!(has(object.spec.hostNetwork) && object.spec.hostNetwork)"},
	}
}

// said returns the expression, in CEL, that a pod has an annotation or a label.
func said(key, field string) string {
	return fmt.Sprintf("has(object.metadata.%[1]s) && '%[2]s' in object.metadata.%[1]s", field, key)
}

// says returns the expression for what the pod says of a sidecar, in the order in which it counts; otherwise is for one that says nothing.
func says(otherwise string) string {
	yes := func(key, field string, words []string) string {
		return fmt.Sprintf("%s ? object.metadata.%s['%s'].lowerAscii() in ['%s'] : ", said(key, field), field, key, strings.Join(words, "', '"))
	}
	annotations, labels := policy.Truths(), append(policy.Truths(), string(policy.Enabled))
	return yes(mesh.InjectAnnotation, "annotations", annotations) + yes(mesh.InjectLabel, "labels", labels) + yes(mesh.InjectionLabel, "labels", labels) + otherwise
}
