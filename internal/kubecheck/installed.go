package kubecheck

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/lateen-mesh/lateen/internal/checkup"
	"github.com/lateen-mesh/lateen/internal/install"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// definitionKind is the kind of what tells a cluster of our kinds.
const definitionKind = "CustomResourceDefinition"

// installation judges the control plane and all that was applied but for the definitions of kinds.
func (f *facts) installation() (string, []checkup.Finding) {
	if f.deployment == nil {
		return "none", []checkup.Finding{{
			Severity: checkup.Error, Code: NotInstalled, Subject: f.name,
			Message: "there is no Deployment " + mesh.SystemName + " in the namespace " + mesh.SystemNamespace + ", or you may not look at it",
			Fix:     "`lateen check --pre`, then `lateen install`",
		}}
	}
	_, tag, replicas := f.options()
	summary := fmt.Sprintf("version %s, %d of %s available", tag, f.deployment.Status.AvailableReplicas, number(replicas, "replica"))
	var findings []checkup.Finding
	if !install.Rolled(f.deployment) {
		finding := checkup.Finding{
			Severity: checkup.Warning, Code: PlaneDown, Subject: "deployment " + mesh.SystemNamespace + "/" + mesh.SystemName,
			Message: fmt.Sprintf("%d of %s are available", f.deployment.Status.AvailableReplicas, number(replicas, "replica")),
			Fix:     "`kubectl " + system + " logs deployment/" + mesh.SystemName + "` and `kubectl " + system + " describe pods` say more",
		}
		if f.deployment.Status.AvailableReplicas == 0 {
			finding.Severity = checkup.Error
			finding.Message += ": proxies go on with what they have, and nothing new comes into force"
		}
		if why := install.Trouble(f.deployment, f.planePods); len(why) > 0 {
			finding.Message += "; " + strings.Join(why, "; ")
		}
		findings = append(findings, finding)
	}
	if f.plane != "" && f.plane != f.config.Version {
		findings = append(findings, checkup.Finding{
			Severity: checkup.Warning, Code: VersionDiffers, Subject: "deployment " + mesh.SystemNamespace + "/" + mesh.SystemName,
			Message: fmt.Sprintf("the control plane is of version %s, and this program of %s", f.plane, f.config.Version),
			Fix:     "`lateen install` brings it to this version; or use the program of that one",
		})
	}
	return summary, append(findings, f.different(func(kind string) bool { return kind != definitionKind })...)
}

// different tells of objects of some kinds that are not as this version has them.
func (f *facts) different(kind func(string) bool) []checkup.Finding {
	var findings []checkup.Finding
	for _, d := range f.differences {
		if !kind(d.Kind) {
			continue
		}
		finding := checkup.Finding{
			Severity: checkup.Warning, Code: InstallationDiffers, Subject: d.Object,
			Message: "it is not as this version of lateen installs it: see " + d.Field,
			Fix:     "`lateen install` with the options that were used; --force takes over what others have changed",
		}
		if d.Field == "" {
			finding.Severity, finding.Message = checkup.Error, "it is not there"
		}
		findings = append(findings, finding)
	}
	return findings
}

// kinds judges the definitions of our kinds.
func (f *facts) kinds() (string, []checkup.Finding) {
	findings := f.different(func(kind string) bool { return kind == definitionKind })
	if len(findings) == 0 {
		return "as of this version", nil
	}
	return number(len(findings), "definition") + " of another version", findings
}

// rightsOfPlane judges what the control plane may do.
func (f *facts) rightsOfPlane() (string, []checkup.Finding) {
	switch {
	case f.noReview:
		return notKnown, nil
	case len(f.denied) == 0:
		return "all that the control plane needs", nil
	}
	return number(len(f.denied), "right") + " missing", []checkup.Finding{{
		Severity: checkup.Error, Code: RightMissing, Subject: "serviceaccount " + mesh.SystemNamespace + "/" + mesh.SystemName, Count: len(f.denied),
		Message: "the control plane may not " + listed(f.denied), Fix: "`lateen install --force` gives it what it needs",
	}}
}

// rootsArea judges whether the pods of each namespace can know whom to trust.
func (f *facts) rootsArea() (string, []checkup.Finding) {
	if f.noRoots || f.namespaces == nil {
		return notKnown, nil
	}
	own := f.roots[mesh.SystemNamespace]
	var missing, other []string
	for i := range f.namespaces {
		ns := &f.namespaces[i]
		root, there := f.roots[ns.Name]
		switch {
		case ns.DeletionTimestamp != nil:
		case !there:
			missing = append(missing, ns.Name)
		case root != own:
			other = append(other, ns.Name)
		}
	}
	var findings []checkup.Finding
	tell := func(code checkup.Code, names []string, message string) {
		if len(names) > 0 {
			findings = append(findings, checkup.Finding{
				Severity: checkup.Error, Code: code, Subject: "namespace " + listed(sorted(names)), Count: len(names), Message: message,
				Fix: "the control plane mends it within seconds while it runs: `kubectl " + system + " logs deployment/" + mesh.SystemName + "` says what keeps it from that",
			})
		}
	}
	tell(RootMissing, missing, "there is no ConfigMap "+mesh.RootConfigMap+": new pods with a proxy wait for it, and do not start")
	tell(RootDiffers, other, "the ConfigMap "+mesh.RootConfigMap+" holds other roots than that of "+mesh.SystemNamespace+": new proxies trust nobody")
	return fmt.Sprintf("in %d of %s", len(f.roots), number(len(f.namespaces), "namespace")), findings
}

// podsArea judges the pods that have a proxy.
func (f *facts) podsArea() (string, []checkup.Finding) {
	if f.noPods {
		return notKnown, nil
	}
	var findings []checkup.Finding
	ready, starting := 0, 0
	for i := range f.pods {
		pod := &f.pods[i]
		message := proxyTrouble(pod)
		switch {
		case message == "":
			ready++
			continue
		case message == notReady && f.now.Sub(pod.CreationTimestamp.Time) < startTime:
			starting++
			continue
		}
		findings = append(findings, checkup.Finding{
			Severity: checkup.Error, Code: PodNotReady, Subject: "pod " + pod.Namespace + "/" + pod.Name, Message: message,
			Fix: "`kubectl -n " + pod.Namespace + " logs " + pod.Name + " -c " + mesh.ProxyContainer + "` and `kubectl -n " + pod.Namespace + " describe pod " + pod.Name + "` say more",
		})
	}
	told := fmt.Sprintf("%d of %s with a proxy have it ready", ready, number(len(f.pods), "pod"))
	if starting > 0 {
		told += fmt.Sprintf(", %d just starting", starting)
	}
	return told, bounded(findings)
}

// startTime is the age up to which a pod whose proxy is not ready is starting.
const startTime = time.Minute

// notReady is said of a proxy of which nobody knows what keeps it.
const notReady = "its proxy is not ready"

// mostFindings bounds how many findings of a kind are listed one by one.
const mostFindings = 20

// bounded leaves out findings beyond a bound, and says how many.
func bounded(findings []checkup.Finding) []checkup.Finding {
	if len(findings) <= mostFindings {
		return findings
	}
	last := findings[mostFindings]
	last.Count = len(findings) - mostFindings
	last.Subject, last.Message = number(last.Count, "more such finding"), "not listed one by one"
	return append(findings[:mostFindings:mostFindings], last)
}

// proxyTrouble says what is wrong with the proxy of a pod, or "".
func proxyTrouble(pod *corev1.Pod) string {
	if pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return ""
	}
	if why := install.PodTrouble(pod); why != "" {
		return why
	}
	for _, s := range append(append([]corev1.ContainerStatus{}, pod.Status.InitContainerStatuses...), pod.Status.ContainerStatuses...) {
		switch {
		case s.Name != mesh.ProxyContainer || !s.Ready:
		case !isAsked(pod):
			return "its container " + mesh.ProxyContainer + " is taken for a proxy, and no probe asks the agent of one there"
		default:
			return ""
		}
	}
	return notReady
}

// isAsked tells whether the node asks an agent how the proxy of a pod is. Else nobody waits for that proxy.
func isAsked(pod *corev1.Pod) bool {
	for _, c := range append(append([]corev1.Container{}, pod.Spec.InitContainers...), pod.Spec.Containers...) {
		for _, p := range []*corev1.Probe{c.StartupProbe, c.ReadinessProbe} {
			if c.Name == mesh.ProxyContainer && p != nil && p.HTTPGet != nil && p.HTTPGet.Port.IntValue() == mesh.AgentHealthPort {
				return true
			}
		}
	}
	return false
}
