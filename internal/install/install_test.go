package install_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/lateen-mesh/lateen/deploy"
	"github.com/lateen-mesh/lateen/internal/install"
	"github.com/lateen-mesh/lateen/internal/kubeclient"
	"github.com/lateen-mesh/lateen/internal/kubetest"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

const patience = time.Minute

// rig is a cluster of its own to install in.
type rig struct {
	t      *testing.T
	server *kubetest.Server
	where  kubeclient.Cluster
	client *kubernetes.Clientset
	*install.Cluster
}

func newRig(t *testing.T) *rig {
	t.Helper()
	s := kubetest.StartOwn(t)
	where, err := kubeclient.Load(kubeclient.Options{Kubeconfig: s.Kubeconfig})
	if err != nil {
		t.Fatal(err)
	}
	c, err := install.New(where)
	if err != nil {
		t.Fatal(err)
	}
	return &rig{t, s, where, kubetest.Clientset(t, s.Kubeconfig, nil), c}
}

func manifests(t *testing.T, o deploy.Options) []byte {
	t.Helper()
	text, err := deploy.Manifests(o)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func usual(t *testing.T) []byte {
	t.Helper()
	return manifests(t, deploy.Options{Tag: "v1", Replicas: 2})
}

// apply applies manifests and returns what was told, by verb.
func (r *rig) apply(text []byte, force bool) (map[install.Verb][]string, error) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	told := map[install.Verb][]string{}
	err := r.Apply(ctx, text, force, func(s install.Step) { told[s.Verb] = append(told[s.Verb], s.Object) })
	return told, err
}

func (r *rig) mustApply(text []byte) map[install.Verb][]string {
	r.t.Helper()
	told, err := r.apply(text, false)
	if err != nil {
		r.t.Fatal(err)
	}
	return told
}

// asController does in place of the controllers what a removal waits for, until the test ends.
func (r *rig) asController() {
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			ns, err := r.client.CoreV1().Namespaces().Get(ctx, mesh.SystemNamespace, metav1.GetOptions{})
			if err == nil && ns.DeletionTimestamp != nil {
				ns.Spec.Finalizers = nil
				_, _ = r.client.CoreV1().Namespaces().Finalize(ctx, ns, metav1.UpdateOptions{}) // again with the next tick
			}
		}
	}()
	r.t.Cleanup(func() {
		cancel()
		<-done
	})
}

// count is how many objects there are by the usual manifests.
func count(t *testing.T) int {
	t.Helper()
	return strings.Count(string(usual(t)), "\nkind: ")
}

// Everything is applied, a second time changes nothing, and another option changes only what reads it.
func TestApply(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if told := r.mustApply(usual(t)); len(told[install.Created]) != count(t) || len(told) != 1 || told[install.Created][0] != "namespace lateen-system" {
		t.Errorf("the first time: %v", told)
	}
	if told := r.mustApply(usual(t)); len(told[install.Unchanged]) != count(t) || len(told) != 1 {
		t.Errorf("the second time: %v", told)
	}
	want := []string{"deployment lateen-system/lateen", "deployment lateen-system/lateen-ingress"}
	if told := r.mustApply(manifests(t, deploy.Options{Tag: "v2", Replicas: 3})); !slices.Equal(told[install.Changed], want) || len(told[install.Unchanged]) != count(t)-2 {
		t.Errorf("another version: %v", told)
	}
	want = []string{"configmap lateen-system/lateen"}
	if told := r.mustApply(manifests(t, deploy.Options{Tag: "v2", Replicas: 3, MeshConfig: "authPolicy: NONE\n"})); !slices.Equal(told[install.Changed], want) {
		t.Errorf("settings: %v", told)
	}
	// The printed manifests are the same for kubectl, in both of its ways.
	if out := r.server.Kubectl(t, string(usual(t)), "apply", "--server-side", "--dry-run=server", "--force-conflicts", "-f", "-"); strings.Count(out, "\n") != count(t) {
		t.Errorf("kubectl: %s", out)
	}
	if out := r.server.Kubectl(t, string(usual(t)), "apply", "--dry-run=server", "-f", "-"); strings.Count(out, "\n") != count(t) {
		t.Errorf("kubectl: %s", out)
	}
}

// What others have set stays: settings that nobody gave a flag for, and the number of replicas, unless it is forced.
func TestApplyLeavesOthersAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustApply(usual(t))
	r.server.Kubectl(t, "", "patch", "configmap", "lateen", "-n", mesh.SystemNamespace, "-p", `{"data":{"mesh":"authPolicy: NONE"}}`)
	if told := r.mustApply(usual(t)); len(told[install.Unchanged]) != count(t) {
		t.Errorf("after somebody wrote settings: %v", told)
	}
	if got := r.server.Kubectl(t, "", "get", "configmap", "lateen", "-n", mesh.SystemNamespace, "-o", "jsonpath={.data.mesh}"); got != "authPolicy: NONE" {
		t.Errorf("the settings are %q", got)
	}
	r.server.Kubectl(t, "", "scale", "deployment", "lateen", "-n", mesh.SystemNamespace, "--replicas=4")
	told, err := r.apply(usual(t), false)
	var hinted *install.Error
	if !errors.As(err, &hinted) || !strings.Contains(err.Error(), ".spec.replicas") || !strings.Contains(hinted.Hint(), "--force") {
		t.Errorf("told %v, error %v", told, err)
	}
	if told, err = r.apply(usual(t), true); err != nil || !slices.Equal(told[install.Changed], []string{"deployment lateen-system/lateen"}) {
		t.Errorf("forced: %v, %v", told, err)
	}
}

// Who may not install is told what the API server says, and where to find out more; nothing is half hidden.
func TestApplyForbidden(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	where, err := kubeclient.Load(kubeclient.Options{Kubeconfig: r.server.User(t, "nobody")})
	if err != nil {
		t.Fatal(err)
	}
	c, err := install.New(where)
	if err != nil {
		t.Fatal(err)
	}
	err = c.Apply(t.Context(), usual(t), false, func(s install.Step) { t.Errorf("told %v", s) })
	var hinted *install.Error
	if err == nil || !strings.Contains(err.Error(), "forbidden") {
		t.Fatal(err)
	}
	if !errors.As(err, &hinted) || !strings.Contains(hinted.Hint(), "check --pre") {
		t.Errorf("error %v without a hint", err)
	}
}

// setReplicas says in place of the controllers how many replicas there are.
func (r *rig) setReplicas(deployment string, updated, available int) {
	r.t.Helper()
	patch := fmt.Sprintf(`{"status":{"observedGeneration":1,"replicas":%d,"updatedReplicas":%d,"readyReplicas":%d,"availableReplicas":%d}}`, updated, updated, available, available)
	r.server.Kubectl(r.t, "", "patch", "deployment", deployment, "-n", mesh.SystemNamespace, "--subresource=status", "--type=merge", "-p", patch)
}

// The end of waiting is when all replicas are ready; until then it is told what is missing, in the cluster's words.
func TestAwait(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustApply(usual(t))
	pod := `{apiVersion: v1, kind: Pod, metadata: {name: lateen-1, namespace: lateen-system, labels: {app.kubernetes.io/name: lateen}}, spec: {serviceAccountName: lateen,
		securityContext: {runAsNonRoot: true, runAsUser: 1, seccompProfile: {type: RuntimeDefault}},
		containers: [{name: lateen, image: "lateen:v1", securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}}]}}`
	r.server.Kubectl(t, pod, "create", "-f", "-")
	r.server.Kubectl(t, "", "patch", "pod", "lateen-1", "-n", mesh.SystemNamespace, "--subresource=status", "--type=merge", "-p",
		`{"status":{"containerStatuses":[{"name":"lateen","image":"","imageID":"","ready":false,"restartCount":0,"state":{"waiting":{"reason":"ErrImagePull","message":"no such image"}}}]}}`)
	r.setReplicas(mesh.SystemName, 2, 1)
	short, cancel := context.WithTimeoutCause(t.Context(), 3*time.Second, errors.New("not after 3s"))
	defer cancel()
	var told []string
	err := r.Await(short, usual(t), func(missing string) { told = append(told, missing) })
	const missing = "1 of 2 replicas of the control plane are ready: container lateen waits: ErrImagePull no such image"
	if err == nil || err.Error() != missing+": not after 3s" || len(told) == 0 || told[len(told)-1] != missing {
		t.Errorf("error %v, told %q", err, told)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	told = nil
	err = r.Await(ctx, usual(t), func(missing string) {
		told = append(told, missing)
		switch len(told) {
		case 1:
			r.setReplicas(mesh.SystemName, 2, 2)
		case 2:
			r.setReplicas(mesh.IngressName, 2, 2)
		default:
			r.server.Kubectl(t, "", "patch", "validatingwebhookconfiguration", mesh.SystemName, "--type=merge", "-p",
				`{"webhooks":[{"name":"a.b.c","sideEffects":"None","admissionReviewVersions":["v1"],"failurePolicy":"Ignore","clientConfig":{"url":"https://127.0.0.1/"}}]}`)
		}
	})
	if want := []string{missing, "0 of 2 replicas of the ingress are ready", "the API server is not told yet which pods get a sidecar"}; err != nil || !slices.Equal(told, want) {
		t.Errorf("error %v, told %q, want %q", err, told, want)
	}
}
