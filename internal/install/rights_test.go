package install_test

import (
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// What the control plane needs it may do, as its ServiceAccount; and nothing that somebody who has taken it over would want:
// no Secret of others, no pod, no right for itself or others.
func TestRights(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustApply(usual(t))
	other := r.server.Namespace(t)
	for _, c := range []struct {
		may  bool
		what string // verb, what, and where
	}{
		{true, "list services -A"},
		{true, "watch pods -A"},
		{true, "watch endpointslices.discovery.k8s.io -A"},
		{true, "list nodes"},
		{true, "watch namespaces"},
		{true, "list servicecidrs.networking.k8s.io"},
		{true, "list routerules.config.istio.io -A"},
		{true, "watch destinationpolicies.config.istio.io -A"},
		{true, "watch egressrules.config.istio.io -A"},
		{true, "patch routerules.config.istio.io/any --subresource=status -n " + other},
		{true, "patch destinationpolicies.config.istio.io/any --subresource=status -n " + other},
		{true, "patch egressrules.config.istio.io/any --subresource=status -n " + other},
		{true, "create events.events.k8s.io -n " + other},
		{true, "watch ingresses.networking.k8s.io -A"},
		{true, "create tokenreviews.authentication.k8s.io"},
		{true, "create configmaps -n " + other},
		{true, "update configmaps/lateen-root -n " + other},
		{true, "watch configmaps/lateen-root -A"},
		{true, "delete configmaps/lateen-root -n " + other}, // one that is immutable is replaced
		{true, "create secrets -n " + mesh.SystemNamespace},
		{true, "get secrets/lateen-ca -n " + mesh.SystemNamespace},
		{true, "update secrets/lateen-ca -n " + mesh.SystemNamespace},
		{true, "watch configmaps/lateen -n " + mesh.SystemNamespace},
		{true, "update configmaps/lateen-stances -n " + mesh.SystemNamespace},
		{true, "watch configmaps/lateen-inject -n " + mesh.SystemNamespace},
		{true, "list replicasets.apps -A"},
		{true, "watch cronjobs.batch -A"},
		{true, "get replicationcontrollers -A"},
		{true, "update mutatingwebhookconfigurations.admissionregistration.k8s.io/lateen"},
		{true, "get validatingwebhookconfigurations.admissionregistration.k8s.io/lateen"},
		{false, "create mutatingwebhookconfigurations.admissionregistration.k8s.io"},
		{false, "update mutatingwebhookconfigurations.admissionregistration.k8s.io/other"},
		{false, "update deployments.apps -n " + other},
		{true, "create leases.coordination.k8s.io -n " + mesh.SystemNamespace},
		{true, "delete leases.coordination.k8s.io -n " + mesh.SystemNamespace},
		{false, "get secrets -n " + mesh.SystemNamespace},
		{true, "list secrets -A"}, // those that Ingress objects name: nobody can say beforehand which
		{true, "watch secrets -A"},
		{true, "watch ingressclasses.networking.k8s.io"},
		{true, "patch ingresses.networking.k8s.io --subresource=status -A"},
		{false, "update ingresses.networking.k8s.io -A"},
		{false, "get secrets -A"},
		{false, "update secrets -n " + other},
		{false, "get secrets/lateen-ca -n " + other},
		{false, "create secrets -n " + other},
		{false, "list configmaps -A"},
		{false, "get configmaps/other -n " + other},
		{false, "delete configmaps/other -n " + other},
		{false, "update configmaps/lateen -n " + mesh.SystemNamespace},
		{false, "create pods -n " + mesh.SystemNamespace},
		{false, "create pods/exec -n " + other},
		{false, "delete pods -n " + other},
		{false, "update services -n " + other},
		{false, "create routerules.config.istio.io -n " + other},
		{false, "patch routerules.config.istio.io/any -n " + other},
		{false, "list events.events.k8s.io -n " + other},
		{false, "delete events -n " + other},
		{false, "update nodes"},
		{false, "create serviceaccounts/token -n " + mesh.SystemNamespace},
		{false, "impersonate users"},
		{false, "create clusterrolebindings.rbac.authorization.k8s.io"},
		{false, "update leases.coordination.k8s.io -n " + other},
		{false, "create subjectaccessreviews.authorization.k8s.io"},
	} {
		args := append([]string{"auth", "can-i", "--as=system:serviceaccount:lateen-system:lateen"}, strings.Fields(c.what)...)
		out, err := r.server.TryKubectl(t, "", args...)
		if got := strings.TrimSpace(out); got != map[bool]string{true: "yes", false: "no"}[c.may] {
			t.Errorf("%s: %q, want %v (%v)", c.what, got, c.may, err)
		}
	}
	// As it is really asked: the roots of all namespaces, and nothing else, in one list.
	as := "--as=system:serviceaccount:lateen-system:lateen"
	if out, err := r.server.TryKubectl(t, "", "get", "configmaps", "-A", "--field-selector=metadata.name="+mesh.RootConfigMap, as); err != nil {
		t.Errorf("%s: %v", out, err)
	}
	r.server.Kubectl(t, "{apiVersion: v1, kind: ConfigMap, metadata: {name: lateen-root, namespace: "+other+"}}", "create", as, "-f", "-")
}

// Who may view a namespace may view its rules, by the roles that the cluster has. To edit them is given to nobody by itself: they
// are for callers in all namespaces.
func TestRightsOfUsers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustApply(usual(t))
	for role, want := range map[string]bool{"lateen-edit": false, "lateen-view": true} {
		labels := r.server.Kubectl(t, "", "get", "clusterrole", role, "-o", "jsonpath={.metadata.labels}")
		if strings.Contains(labels, "aggregate-to") != want {
			t.Errorf("%s has the labels %s", role, labels)
		}
	}
	ns := r.server.Namespace(t)
	r.server.Kubectl(t, "", "create", "rolebinding", "eve", "-n", ns, "--clusterrole=lateen-view", "--user=eve")
	r.server.Kubectl(t, "", "create", "rolebinding", "ed", "-n", ns, "--clusterrole=lateen-edit", "--user=ed")
	for what, want := range map[string]string{
		"eve list routerules": "yes", "eve create routerules": "no", "ed create routerules": "yes", "ed delete egressrules": "yes", "eve list secrets": "no",
	} {
		words := strings.Fields(what)
		out, _ := r.server.TryKubectl(t, "", "auth", "can-i", words[1], words[2]+".config.istio.io", "-n", ns, "--as="+words[0])
		if words[2] == "secrets" {
			out, _ = r.server.TryKubectl(t, "", "auth", "can-i", words[1], words[2], "-n", ns, "--as="+words[0])
		}
		if strings.TrimSpace(out) != want {
			t.Errorf("%s: %q, want %s", what, out, want)
		}
	}
}
