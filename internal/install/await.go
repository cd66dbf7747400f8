package install

import (
	"context"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Await waits until the cluster serves our kinds, all replicas of the control plane and the ingress are ready and of the applied
// version, and the API server has been told to ask the control plane. It tells whenever what is missing changes. If ctx ends before, the error says what is missing.
func (c *Cluster) Await(ctx context.Context, manifests []byte, tell func(missing string)) error {
	all, err := read(manifests)
	if err != nil {
		return err
	}
	said := ""
	await := func(happened func(context.Context) (string, error)) error {
		err := c.until(ctx, func(ctx context.Context) (bool, string, error) {
			missing, err := happened(ctx)
			if missing != "" && missing != said {
				said = missing
				tell(missing)
			}
			return missing == "", missing, err
		})
		if err != nil {
			err = &Error{err, "`kubectl -n " + mesh.SystemNamespace + " get pods,events` shows more, and `lateen check` what to do"}
		}
		return err
	}
	judges := map[string]func(context.Context, object) (missing string, err error){
		definitionKind: c.unserved, "Deployment": c.unavailable, "ValidatingWebhookConfiguration": c.untold,
	}
	for _, o := range all {
		missing, waits := judges[o.GetKind()]
		if !waits {
			continue
		}
		if err := await(func(ctx context.Context) (string, error) { return missing(ctx, o) }); err != nil {
			return err
		}
	}
	return nil
}

// unserved says that a kind is not served yet, or "".
func (c *Cluster) unserved(ctx context.Context, o object) (string, error) {
	d, err := c.at(o).Get(ctx, o.GetName(), metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	conditions, _, err := unstructured.NestedSlice(d.Object, "status", "conditions")
	if err != nil {
		return "", err
	}
	why := "it is new"
	for _, condition := range conditions {
		c, ok := condition.(map[string]any)
		if !ok || c["type"] != "Established" && c["type"] != "NamesAccepted" {
			continue
		}
		if c["type"] == "Established" && c["status"] == "True" {
			return "", nil
		}
		if c["status"] == "False" {
			why = fmt.Sprint(c["message"])
		}
	}
	return fmt.Sprintf("%s is not served yet: %s", o.GetName(), why), nil
}

// untold says that the control plane has not told the API server yet what to ask it, or "". It tells all at once; of pods it may have
// nothing to ask.
func (c *Cluster) untold(ctx context.Context, o object) (string, error) {
	there, err := c.at(o).Get(ctx, o.GetName(), metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	if hooks, _, err := unstructured.NestedSlice(there.Object, "webhooks"); err != nil || len(hooks) > 0 {
		return "", err
	}
	return "the API server is not told yet which pods get a sidecar", nil
}

// partOf says what a Deployment runs, as messages call it.
func partOf(d *appsv1.Deployment) string {
	if d.Name == mesh.IngressName {
		return "ingress"
	}
	return "control plane"
}

// unavailable says what keeps a Deployment from running as it is to, or "".
func (c *Cluster) unavailable(ctx context.Context, o object) (string, error) {
	d, err := c.client.Deployments(o.GetNamespace()).Get(ctx, o.GetName(), metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	if Rolled(d) {
		return "", nil
	}
	pods, err := c.client.Pods(d.Namespace).List(ctx, metav1.ListOptions{LabelSelector: metav1.FormatLabelSelector(d.Spec.Selector)})
	if err != nil {
		return "", err
	}
	missing := fmt.Sprintf("%d of %d replicas of the %s are ready", min(d.Status.UpdatedReplicas, d.Status.AvailableReplicas), wanted(d), partOf(d))
	if why := Trouble(d, pods.Items); len(why) > 0 {
		missing += ": " + strings.Join(why, "; ")
	}
	return missing, nil
}

func wanted(d *appsv1.Deployment) int32 {
	if d.Spec.Replicas == nil {
		return 1
	}
	return *d.Spec.Replicas
}

// Rolled tells whether all replicas of a Deployment are available and of its newest version, and none is left of an older one.
func Rolled(d *appsv1.Deployment) bool {
	s := d.Status
	return s.ObservedGeneration >= d.Generation && s.UpdatedReplicas == wanted(d) && s.Replicas == s.UpdatedReplicas &&
		s.AvailableReplicas == wanted(d)
}

// Trouble says what keeps replicas of a Deployment from being available, each reason once.
func Trouble(d *appsv1.Deployment, pods []corev1.Pod) []string {
	var why []string
	for _, condition := range d.Status.Conditions {
		if condition.Type == appsv1.DeploymentReplicaFailure && condition.Status == corev1.ConditionTrue {
			why = append(why, oneLine(condition.Message))
		}
	}
	for i := range pods {
		if reason := PodTrouble(&pods[i]); reason != "" {
			why = append(why, reason)
		}
	}
	slices.Sort(why)
	return slices.Compact(why)
}

// PodTrouble says what keeps a pod from being ready, beyond that it is starting, or "".
func PodTrouble(pod *corev1.Pod) string {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse {
			return "no node takes a pod: " + oneLine(condition.Message)
		}
	}
	for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		waiting, ended := s.State.Waiting, s.LastTerminationState.Terminated
		switch {
		case waiting != nil && waiting.Reason == "CrashLoopBackOff" && ended != nil:
			return fmt.Sprintf("container %s ends again and again, last with %d", s.Name, ended.ExitCode)
		case waiting != nil && waiting.Reason != "ContainerCreating" && waiting.Reason != "PodInitializing":
			return fmt.Sprintf("container %s waits: %s", s.Name, oneLine(strings.TrimSpace(waiting.Reason+" "+waiting.Message)))
		}
	}
	return ""
}

// maxWords bounds words of the cluster, in bytes.
const maxWords = 300

func oneLine(words string) string {
	words = strings.Join(strings.Fields(words), " ")
	if len(words) > maxWords {
		return strings.ToValidUTF8(words[:maxWords], "") + "…"
	}
	return words
}
