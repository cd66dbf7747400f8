package install_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/deploy"
	"github.com/lateen-mesh/lateen/internal/install"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

const rule = `{apiVersion: config.istio.io/v1alpha2, kind: RouteRule, metadata: {name: %s}, spec: {destination: {name: reviews}}}
---
`

// inhabit fills a cluster with what a control plane writes, and returns a namespace with objects of our kinds.
func (r *rig) inhabit() string {
	r.t.Helper()
	namespace, ours := r.server.Namespace(r.t), []string{}
	for _, ns := range []string{namespace, r.server.Namespace(r.t), mesh.SystemNamespace, "kube-system"} {
		ours = append(ours, fmt.Sprintf("{apiVersion: v1, kind: ConfigMap, metadata: {name: lateen-root, namespace: %s, labels: {app.kubernetes.io/part-of: lateen}}, data: {root-cert.pem: x}}", ns))
	}
	ours = append(ours,
		"{apiVersion: v1, kind: Secret, metadata: {name: lateen-ca, namespace: lateen-system}}",
		"{apiVersion: v1, kind: Secret, metadata: {name: lateen-ca-found-1, namespace: lateen-system, labels: {app.kubernetes.io/part-of: lateen}}}",
		"{apiVersion: v1, kind: ConfigMap, metadata: {name: lateen-stances, namespace: lateen-system, labels: {app.kubernetes.io/part-of: lateen}}}",
		"{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: lateen-1, namespace: lateen-system, labels: {app.kubernetes.io/part-of: lateen}}}",
		"{apiVersion: v1, kind: ConfigMap, metadata: {name: other, namespace: "+namespace+"}}",
		fmt.Sprintf("{apiVersion: v1, kind: Pod, metadata: {name: app, namespace: %s}, spec: {serviceAccountName: default, initContainers: [{name: lateen-proxy, image: p}], containers: [{name: app, image: a}]}}", namespace),
	)
	r.server.Kubectl(r.t, strings.Join(ours, "\n---\n"), "create", "-f", "-")
	r.server.Kubectl(r.t, "", "wait", "--for=condition=Established", "--timeout=60s", "crd", "-l", mesh.PartLabel+"=lateen")
	r.server.Kubectl(r.t, fmt.Sprintf(rule, "a")+fmt.Sprintf(rule, "b"), "create", "-n", namespace, "-f", "-")
	return namespace
}

// ours lists everything in the cluster that is Lateen's, by labels or by name; but events, which the API server makes of objects when
// it likes, and which go with their namespace where somebody empties it.
func (r *rig) ours() []string {
	r.t.Helper()
	kinds := r.server.Kubectl(r.t, "", "api-resources", "--verbs=list,delete", "-o", "name")
	out := r.server.Kubectl(r.t, "", "get", strings.Join(strings.Fields(kinds), ","), "-A", "-o", `jsonpath={range .items[*]}{.kind} {.metadata.namespace}/{.metadata.name} {.metadata.labels}{"\n"}{end}`)
	var all []string
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "Event ") && (strings.Contains(line, "lateen") || strings.Contains(line, "RouteRule")) {
			all = append(all, strings.TrimSpace(line))
		}
	}
	return all
}

func (r *rig) remove(ctx context.Context, keep bool) ([]string, error) {
	r.t.Helper()
	var told []string
	err := r.Remove(ctx, usual(r.t), keep, func(s install.Step) { told = append(told, string(s.Verb)+" "+s.Object) })
	return told, err
}

// Nothing is left, not even what the control plane itself has written, and what is not Lateen's is untouched.
func TestRemove(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.asController()
	r.mustApply(usual(t))
	namespace := r.inhabit()
	left, err := r.Survey(t.Context(), usual(t))
	if diff := cmp.Diff(install.Left{Installed: true, Objects: map[string]int{"routerule": 2}, Proxies: 1}, left); err != nil || diff != "" {
		t.Errorf("survey: %v\n%s", err, diff)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	told, err := r.remove(ctx, false)
	if err != nil {
		t.Fatal(err)
	}
	if len(told) != count(t)+8 || told[0] != "deleted mutatingwebhookconfiguration lateen" || told[2] != "deleted deployment lateen-system/lateen" || told[len(told)-1] != "deleted namespace lateen-system" {
		t.Errorf("%d steps:\n%s", len(told), strings.Join(told, "\n"))
	}
	if ours := r.ours(); len(ours) != 0 {
		t.Errorf("left:\n%s", strings.Join(ours, "\n"))
	}
	if got := r.server.Kubectl(t, "", "get", "configmap,pod", "-n", namespace, "-o", "name"); got != "configmap/other\npod/app\n" {
		t.Errorf("of others there is %q", got)
	}
	if told, err := r.remove(ctx, false); err != nil || len(told) != 0 {
		t.Errorf("again: %v, %v", told, err)
	}
	left, err = r.Survey(t.Context(), usual(t))
	if diff := cmp.Diff(install.Left{Objects: map[string]int{}, Proxies: 1}, left); err != nil || diff != "" {
		t.Errorf("survey afterwards: %v\n%s", err, diff)
	}
	if told := r.mustApply(usual(t)); len(told[install.Created]) != count(t) {
		t.Errorf("installed again: %v", told)
	}
}

// A removal goes on where an earlier one was interrupted, wherever that was; and definitions can stay.
func TestRemoveInterrupted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.asController()
	r.mustApply(usual(t))
	namespace := r.inhabit()
	seen := map[string]bool{}
	rounds := 0
	for done := false; !done; rounds++ {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		err := r.Remove(ctx, usual(t), true, func(s install.Step) {
			if seen[s.Object] {
				t.Errorf("%s was deleted twice", s.Object)
			}
			seen[s.Object] = true
			if len(seen)%4 == 0 {
				cancel()
			}
		})
		done = err == nil
		cancel()
		if rounds > 10 {
			t.Fatal(err)
		}
	}
	if rounds < 4 || len(seen) != count(t)-3+8 {
		t.Errorf("%d objects were deleted in %d rounds", len(seen), rounds)
	}
	if got := r.server.Kubectl(t, "", "get", "lateen", "-n", namespace, "-o", "name"); strings.Count(got, "\n") != 2 {
		t.Errorf("of the objects there are %q", got)
	}
	if ours := r.ours(); len(ours) != 3+2 {
		t.Errorf("left:\n%s", strings.Join(ours, "\n"))
	}
}

// What is applied is as the manifests say, whatever the API server adds; what somebody changes or removes is found.
func TestDifferences(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustApply(usual(t))
	if all, err := r.Differences(t.Context(), usual(t)); err != nil || len(all) != 0 {
		t.Errorf("at once: %v, %v", all, err)
	}
	r.server.Kubectl(t, "", "label", "namespace", mesh.SystemNamespace, "app.kubernetes.io/name-", "pod-security.kubernetes.io/enforce=baseline", "--overwrite") // is its maker's
	r.server.Kubectl(t, "", "delete", "role", "lateen", "-n", mesh.SystemNamespace)
	r.server.Kubectl(t, "", "patch", "clusterrole", "lateen", "--type=json", "-p", `[{"op":"remove","path":"/rules/0"}]`)
	r.server.Kubectl(t, "", "patch", "crd", "egressrules.config.istio.io", "--type=json", "-p", `[{"op":"remove","path":"/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/ports"}]`)
	want := []install.Difference{
		{Kind: "CustomResourceDefinition", Object: "customresourcedefinition egressrules.config.istio.io", Field: "spec.versions[0].schema.openAPIV3Schema.properties.spec.properties.ports"},
		{Kind: "ClusterRole", Object: "clusterrole lateen", Field: "rules"},
		{Kind: "Role", Object: "role lateen-system/lateen"},
	}
	all, err := r.Differences(t.Context(), usual(t))
	if diff := cmp.Diff(want, all); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

// What the API server would refuse is known before, and nothing is changed by asking.
func TestTry(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if refusals, err := r.Try(t.Context(), usual(t)); err != nil || len(refusals) != 0 {
		t.Errorf("an empty cluster: %v, %v", refusals, err)
	}
	if ours := r.ours(); len(ours) != 0 {
		t.Errorf("trying has made %v", ours)
	}
	r.mustApply(usual(t))
	r.server.Kubectl(t, `{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicy, metadata: {name: small}, spec: {
		matchConstraints: {resourceRules: [{apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}]},
		validations: [{expression: "object.spec.replicas < 2", message: "too many"}]}}
---
{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicyBinding, metadata: {name: small}, spec: {policyName: small, validationActions: [Deny]}}
`, "create", "-f", "-")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for { // until the policy is in force, which it may be between the two Deployments for the first time
		refusals, err := r.Try(ctx, manifests(t, deploy.Options{Tag: "v1", Replicas: 3}))
		if err != nil {
			t.Fatal(err)
		}
		if len(refusals) > 1 {
			if len(refusals) != 2 || refusals[0].Object != "deployment lateen-system/lateen" || !strings.Contains(refusals[0].Why, "too many") {
				t.Errorf("refusals: %v", refusals)
			}
			return
		}
		<-tick.C
	}
}
