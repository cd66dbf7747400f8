package kubecheck

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/lateen-mesh/lateen/internal/checkup"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// What a cluster must have at least.
const (
	leastMinor  = 29 // of Kubernetes 1: init containers that go on running (KEP-753) are there without a feature gate
	leastKernel = 4  // major; the capture was tried with newer ones only
)

// server judges the version of the API server.
func (f *facts) server() (string, []checkup.Finding) {
	summary := "Kubernetes " + f.version.GitVersion
	if minor, ok := minorOf(f.version.GitVersion); ok && minor < leastMinor {
		return summary, []checkup.Finding{{
			Severity: checkup.Error, Code: ClusterOld, Subject: f.config.Cluster.Server,
			Message: fmt.Sprintf("the API server is of Kubernetes %s: proxies are containers that start before the others and go on running, which 1.%d has first", f.version.GitVersion, leastMinor),
			Fix:     fmt.Sprintf("bring the cluster to Kubernetes 1.%d or later", leastMinor),
		}}
	}
	return summary, nil
}

// minorOf returns the minor number of a version such as "v1.34.4".
func minorOf(version string) (int, bool) {
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	if len(parts) < 2 || parts[0] != "1" {
		return 0, false
	}
	minor, err := strconv.Atoi(parts[1])
	return minor, err == nil
}

// rightsOfUser judges what the user may do, and what the API server says of what would be applied.
func (f *facts) rightsOfUser() (string, []checkup.Finding) {
	if len(f.lacking) == 0 {
		return "all that an installation takes", tried(f.refusals)
	}
	return number(len(f.lacking), "right") + " missing", []checkup.Finding{{
		Severity: checkup.Error, Code: RightMissing, Subject: "your rights", Count: len(f.lacking),
		Message: "you may not " + listed(f.lacking),
		Fix:     "install as somebody with the ClusterRole cluster-admin: --context NAME",
	}}
}

// nodesArea judges where pods with a proxy would run.
func (f *facts) nodesArea() (string, []checkup.Finding) {
	if f.noNodes {
		return notKnown, nil
	}
	why := map[string][]string{} // names of nodes by what is wrong
	for i := range f.nodes {
		n := &f.nodes[i]
		if reason := unfit(&n.Status.NodeInfo); reason != "" {
			why[reason] = append(why[reason], n.Name)
		}
	}
	var findings []checkup.Finding
	for _, reason := range slices.Sorted(maps.Keys(why)) {
		findings = append(findings, checkup.Finding{
			Severity: checkup.Warning, Code: NodeUnfit, Subject: "node " + listed(sorted(why[reason])), Count: len(why[reason]),
			Message: reason, Fix: "bring it to a version that has it, or keep pods with a proxy away from it, by a taint or a nodeSelector",
		})
	}
	return number(len(f.nodes), "node"), findings
}

// unfit says what keeps pods with a proxy from running on a node, or "".
func unfit(n *corev1.NodeSystemInfo) string {
	if n.OperatingSystem != "" && n.OperatingSystem != "linux" {
		return "it runs " + n.OperatingSystem + ", and proxies run on Linux only"
	}
	if minor, ok := minorOf(n.KubeletVersion); ok && minor < leastMinor {
		return fmt.Sprintf("its kubelet is of Kubernetes %s: it would wait for a proxy to end before it starts the application; 1.%d is the first that does not", n.KubeletVersion, leastMinor)
	}
	major, _, _ := strings.Cut(n.KernelVersion, ".")
	if number, err := strconv.Atoi(major); err == nil && number < leastKernel {
		return "its kernel is " + n.KernelVersion + ", too old to redirect traffic with nftables"
	}
	return ""
}

// enforce is the label by which a namespace says what its pods may ask for.
const enforce = "pod-security.kubernetes.io/enforce"

// namespacesArea finds namespaces whose pods could have no proxy.
func (f *facts) namespacesArea() (string, []checkup.Finding) {
	if f.namespaces == nil {
		return notKnown, nil
	}
	var strict []string
	for i := range f.namespaces {
		ns := &f.namespaces[i]
		if level := ns.Labels[enforce]; ns.Name != mesh.SystemNamespace && (level == "baseline" || level == "restricted") {
			strict = append(strict, ns.Name)
		}
	}
	summary := number(len(f.namespaces), "namespace")
	if len(strict) == 0 {
		return summary, nil
	}
	return summary, []checkup.Finding{{
		Severity: checkup.Warning, Code: NamespaceForbids, Subject: "namespace " + listed(sorted(strict)), Count: len(strict),
		Message: "its label " + enforce + " forbids NET_ADMIN, which the container " + mesh.CaptureContainer + " has to redirect traffic: pods with a proxy are refused there",
		Fix:     "`kubectl label namespace NAME " + enforce + "=privileged --overwrite` where pods are to have a proxy",
	}}
}

// previous judges what is there of an earlier installation, or of somebody else's.
func (f *facts) previous() (string, []checkup.Finding) {
	var findings []checkup.Finding
	for _, found := range f.found {
		if found.Kind == "CustomResourceDefinition" && !found.Ours {
			findings = append(findings, checkup.Finding{
				Severity: checkup.Warning, Code: KindOfOthers, Subject: found.Name,
				Message: "somebody else has defined this kind: `lateen install` would take the definition over",
				Fix:     "if its program is still in use, do not install Lateen here; else `lateen install --force`",
			})
		}
	}
	if f.deployment != nil {
		_, tag, replicas := f.options()
		return fmt.Sprintf("Lateen %s, %s: `lateen install` brings it to this version", cmp.Or(tag, "of an unknown version"), number(replicas, "replica")), findings
	}
	if roots := slices.Sorted(maps.Keys(f.roots)); len(roots) > 0 && !f.hasKey {
		severity, then := checkup.Warning, "a control plane would make another, and what trusts these would trust nobody for a while"
		if proof := slices.DeleteFunc(slices.Clone(roots), func(n string) bool { return !mesh.ProvesRoot(n) }); len(proof) > 0 {
			severity, then = checkup.Error, "a control plane would make no other while that of "+listed(proof)+" is there"
		}
		findings = append(findings, checkup.Finding{
			Severity: severity, Code: LeftOver, Subject: "ConfigMap " + mesh.RootConfigMap, Count: len(roots),
			Message: "roots of an earlier installation are left in " + listed(roots) + ", and their key is gone: " + then,
			Fix:     "`lateen uninstall` removes them; or put the Secret " + mesh.AuthoritySecret + " of that installation into " + mesh.SystemNamespace,
		})
	}
	if len(f.lacking) > 0 {
		return notKnown, findings
	}
	if len(f.found) == 0 && len(f.roots) == 0 {
		return "nothing of Lateen", findings
	}
	return number(len(f.found)+len(f.roots), "object") + " of Lateen, without a control plane", findings
}
