package kubecheck

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/lateen-mesh/lateen/internal/checkup"
	"github.com/lateen-mesh/lateen/internal/inject/policy"
	"github.com/lateen-mesh/lateen/internal/kubeapi"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/owners"
)

// other is what is kept of a pod without a proxy.
type other struct {
	name, namespace     string
	labels, annotations map[string]string
	containers          []string
	host, windows, over bool
	owners              []metav1.OwnerReference
	owner               map[string]string // what they say, where that was looked up
}

func otherOf(pod *corev1.Pod) other {
	o := other{
		name: pod.Name, namespace: pod.Namespace, labels: pod.Labels, annotations: pod.Annotations, host: pod.Spec.HostNetwork,
		windows: pod.Spec.OS != nil && pod.Spec.OS.Name == corev1.Windows, owners: pod.OwnerReferences,
		over: pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed,
	}
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		o.containers = append(o.containers, c.Name)
	}
	return o
}

// asked is what there is to know of who gets a sidecar.
type asked struct {
	policy   policy.Config
	problems []mesh.Problem
	noPolicy bool   // it may not be read
	hooks    []hook // that the API server is told of
	noHooks  bool   // they may not be read
	untold   bool   // there is an object for them, and nothing in it
	failed   string // what the API server says of a webhook that it cannot ask; "": it can, or that was not tried
}

// hook is a webhook of ours that the API server is told of.
type hook struct {
	name   string
	bundle []byte
}

// Policy returns which pods of a cluster get a sidecar, and what is wrong with the document that says so.
func Policy(ctx context.Context, client *kubeapi.Client) (policy.Config, []mesh.Problem, error) {
	object := mesh.Ref{Kind: "ConfigMap", Namespace: mesh.SystemNamespace, Name: mesh.InjectConfigMap}
	there, err := client.ConfigMaps(object.Namespace).Get(ctx, object.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return policy.Unsaid(), nil, nil
	}
	if err != nil {
		return policy.Unsaid(), nil, err
	}
	text, found := there.Data[mesh.InjectKey]
	if !found {
		return policy.Unsaid(), nil, nil
	}
	c, problems := policy.Read(policy.Document{Name: object.String() + ", " + mesh.InjectKey, Object: object, Text: []byte(text)})
	return c, problems, nil
}

// mostOwners bounds of how many pods it is looked up what made them.
const mostOwners = 200

// lookAtInjection reads who is to get a sidecar, and tries whether the API server can ask.
func (f *facts) lookAtInjection(ctx context.Context) (err error) {
	a := &f.asked
	a.policy, a.problems, err = Policy(ctx, f.client)
	if a.noPolicy = !allowed(&err); err != nil {
		return err
	}
	if err = f.readHooks(ctx); err != nil {
		return err
	}
	if len(a.hooks) > 0 {
		f.try(ctx)
	}
	return f.lookAtOwners(ctx)
}

// lookAgain is how often it is looked whether the API server has been told.
const lookAgain = 500 * time.Millisecond

// awaitTold waits, where a control plane has just begun, until it has told the API server what to ask about: for as long as the
// configuration says, from the beginning. It tells whether it had to.
func (f *facts) awaitTold(ctx context.Context) (waited bool, err error) {
	d := f.deployment
	if d == nil || d.Status.AvailableReplicas == 0 || f.now.Sub(begun(d)) >= f.config.Patience {
		return false, nil
	}
	for end := f.now.Add(f.config.Patience); ; waited = true {
		if err := f.readHooks(ctx); err != nil || !f.asked.untold || time.Now().After(end) {
			return waited, err
		}
		select {
		case <-ctx.Done():
			return waited, ctx.Err()
		case <-time.After(lookAgain):
		}
	}
}

// begun returns since when there are replicas; the zero time: there are none.
func begun(d *appsv1.Deployment) time.Time {
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentAvailable && c.Status == corev1.ConditionTrue {
			return c.LastTransitionTime.Time
		}
	}
	return time.Time{}
}

// readHooks reads what the API server is told to ask about.
func (f *facts) readHooks(ctx context.Context) error {
	a := &f.asked
	a.hooks, a.untold = nil, false
	mutating, err := f.client.MutatingWebhookConfigurations().Get(ctx, mesh.SystemName, metav1.GetOptions{})
	if a.noHooks = apierrors.IsForbidden(err); err != nil && !a.noHooks && !apierrors.IsNotFound(err) {
		return err
	}
	if err == nil {
		a.untold = len(mutating.Webhooks) == 0
		for i := range mutating.Webhooks {
			a.hooks = append(a.hooks, hook{mutating.Webhooks[i].Name, mutating.Webhooks[i].ClientConfig.CABundle})
		}
	}
	validating, err := f.client.ValidatingWebhookConfigurations().Get(ctx, mesh.SystemName, metav1.GetOptions{})
	if err == nil {
		a.untold = a.untold || len(validating.Webhooks) == 0
		for i := range validating.Webhooks {
			a.hooks = append(a.hooks, hook{validating.Webhooks[i].Name, validating.Webhooks[i].ClientConfig.CABundle})
		}
	}
	return nil
}

// try has the API server ask about a pod that is not made.
func (f *facts) try(ctx context.Context) {
	for i := range f.namespaces {
		ns := &f.namespaces[i]
		wants := map[string]string{mesh.InjectAnnotation: "true"}
		if ns.DeletionTimestamp != nil || !policy.Decide(f.asked.policy, policy.Pod{Object: mesh.Ref{Kind: "Pod", Namespace: ns.Name}, Annotations: wants}).Sidecar {
			continue
		}
		_, err := f.client.Pods(ns.Name).Create(ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "lateen-check-", Annotations: wants},
			Spec:       corev1.PodSpec{ServiceAccountName: "default", Containers: []corev1.Container{{Name: "none", Image: "none"}}},
		}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil && strings.Contains(err.Error(), "failed calling webhook") && strings.Contains(err.Error(), ".sidecar.lateen.dev") {
			f.asked.failed = err.Error()
		}
		return
	}
}

// lookAtOwners looks up what made the pods that lack a sidecar, as far as only that could say why.
func (f *facts) lookAtOwners(ctx context.Context) error {
	known, err := owners.New(f.config.Cluster.Config, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	looked := 0
	for i := range f.others {
		o := &f.others[i]
		if len(o.owners) == 0 || looked == mostOwners || o.over || !f.decide(o).Sidecar {
			continue
		}
		looked++
		around, err := known.Around(ctx, o.namespace, o.owners, false)
		if err != nil && !apierrors.IsForbidden(err) {
			return err
		}
		o.owner = around.Owner
	}
	return nil
}

// decide says whether a pod is to have a sidecar.
func (f *facts) decide(o *other) policy.Decision {
	var around map[string]string
	for i := range f.namespaces {
		if f.namespaces[i].Name == o.namespace {
			around = f.namespaces[i].Labels
		}
	}
	return policy.Decide(f.asked.policy, policy.Pod{
		Object: mesh.Ref{Kind: "Pod", Namespace: o.namespace, Name: o.name}, Annotations: o.annotations, Labels: o.labels, Owner: o.owner,
		NamespaceLabels: around, Containers: o.containers, HostNetwork: o.host, Windows: o.windows,
	})
}

// injection judges whether pods get their sidecars.
func (f *facts) injection() (string, []checkup.Finding) {
	a := &f.asked
	if a.noPolicy || a.noHooks || f.noPods || f.namespaces == nil {
		return notKnown, nil
	}
	var findings []checkup.Finding
	for _, p := range a.problems {
		if p.Severity == mesh.Error {
			findings = append(findings, checkup.Finding{
				Severity: checkup.Error, Code: PolicyBroken, Subject: p.Object.String(), Message: p.String(), Fix: "mend it; until then what was good last counts",
			})
		}
	}
	findings = append(findings, f.webhooks()...)
	missing, old, current := f.sidecars()
	findings = append(findings, missing...)
	findings = append(findings, old...)
	return fmt.Sprintf("%s asked about pods and objects; %s that %s as new ones", number(len(a.hooks), "webhook"), number(current, "sidecar"), plural(current, "is", "are")), findings
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// webhooks judges whether the API server asks, and can.
func (f *facts) webhooks() []checkup.Finding {
	const subject = "mutatingwebhookconfiguration " + mesh.SystemName
	logs := "`kubectl " + system + " logs deployment/" + mesh.SystemName + "` says more"
	if len(f.asked.hooks) == 0 && f.deployment.Status.AvailableReplicas == 0 {
		return nil // it follows from that
	}
	if len(f.asked.hooks) == 0 {
		return []checkup.Finding{{
			Severity: checkup.Error, Code: WebhookSilent, Subject: subject, Message: "the API server is told to ask about no pods and no objects: none gets a sidecar by itself",
			Fix: "the control plane tells it within seconds while it runs: " + logs + "; if the object is not there `lateen install` makes it",
		}}
	}
	var findings []checkup.Finding
	var distrusted []string
	for _, h := range f.asked.hooks {
		if root := f.roots[mesh.SystemNamespace]; root != "" && !bytes.Equal(bytes.TrimSpace(h.bundle), []byte(strings.TrimSpace(root))) {
			distrusted = append(distrusted, h.name)
		}
	}
	if len(distrusted) > 0 {
		findings = append(findings, checkup.Finding{
			Severity: checkup.Error, Code: WebhookDistrusted, Subject: subject, Count: len(distrusted),
			Message: "the API server is told to verify the certificate of " + listed(distrusted) + " by another root than that of the mesh",
			Fix:     "the control plane mends it within seconds while it runs: " + logs,
		})
	}
	if f.asked.failed != "" {
		findings = append(findings, checkup.Finding{
			Severity: checkup.Error, Code: WebhookUnreachable, Subject: subject, Message: "the API server cannot ask about pods, and keeps out those that are to have a sidecar: " + f.asked.failed,
			Fix: "it must reach port " + fmt.Sprint(mesh.WebhookPort) + " of the pods in " + mesh.SystemNamespace + ": look at firewalls and NetworkPolicies between them, and at `kubectl " + system + " get pods`",
		})
	}
	return findings
}

// sidecars judges which pods lack one, and which have another one than new pods get.
func (f *facts) sidecars() (missing, old []checkup.Finding, current int) {
	for i := range f.others {
		o := &f.others[i]
		if d := f.decide(o); d.Sidecar && !o.over {
			missing = append(missing, checkup.Finding{
				Severity: checkup.Warning, Code: SidecarMissing, Subject: "pod " + o.namespace + "/" + o.name, Message: "it has no sidecar, and would get one now: " + d.Why,
				Fix: "`kubectl -n " + o.namespace + " rollout restart` what made it, or say `" + mesh.InjectAnnotation + ": \"false\"` in its template",
			})
		}
	}
	want := f.asked.policy.Params.Version
	if want == "" {
		want = f.plane
	}
	for i := range f.pods {
		pod := &f.pods[i]
		has, told := strings.CutPrefix(pod.Annotations[mesh.StatusAnnotation], mesh.StatusPrefix)
		if want == "" || !told || has == want {
			current++
			continue
		}
		old = append(old, checkup.Finding{
			Severity: checkup.Warning, Code: SidecarOld, Subject: "pod " + pod.Namespace + "/" + pod.Name, Message: fmt.Sprintf("its sidecar is of version %s, and new ones are of %s", has, want),
			Fix: "`kubectl -n " + pod.Namespace + " rollout restart` what made it; a file that was injected by hand is injected anew first",
		})
	}
	return bounded(missing), bounded(old), current
}

// selectors judges whether services that select pods have any.
func (f *facts) selectors() []checkup.Finding {
	var findings []checkup.Finding
	for i := range f.services {
		s := &f.services[i]
		if len(s.Spec.Selector) == 0 || slices.Contains(policy.SystemNamespaces(), s.Namespace) || len(f.behind(s)) > 0 {
			continue
		}
		selector := labels.SelectorFromSet(s.Spec.Selector)
		if slices.ContainsFunc(f.others, func(o other) bool { return o.namespace == s.Namespace && selector.Matches(labels.Set(o.labels)) }) {
			continue
		}
		findings = append(findings, checkup.Finding{
			Severity: checkup.Warning, Code: SelectorEmpty, Subject: "service " + s.Namespace + "/" + s.Name, Message: "no pod has the labels that it selects, " + selector.String() + ": requests to it are answered with 503",
			Fix: "compare `kubectl -n " + s.Namespace + " get pods --show-labels`",
		})
	}
	return bounded(findings)
}
