package kubecheck

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lateen-mesh/lateen/internal/inject/policy"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// without returns a pod without a proxy.
func without(space, name string, annotations ...string) corev1.Pod {
	p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: space, Labels: map[string]string{"app": name}, Annotations: map[string]string{}}}
	for _, a := range annotations {
		key, value, _ := strings.Cut(a, "=")
		p.Annotations[key] = value
	}
	p.Spec.Containers = []corev1.Container{{Name: "app"}}
	return p
}

// selecting returns a service that selects pods of an app.
func selecting(space, app string) corev1.Service {
	return corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: app, Namespace: space}, Spec: corev1.ServiceSpec{Selector: map[string]string{"app": app}}}
}

// injectionJudgements are those of what keeps pods from getting their sidecars: the policy, the webhooks, pods that were made without asking.
func injectionJudgements() []judgement {
	good := hook{"silent.sidecar.lateen.dev", []byte("root\n")}
	old := pod("old", "")
	old.Annotations = map[string]string{mesh.StatusAnnotation: "injected-version-1"}
	done := without("shop", "done")
	done.Status.Phase = corev1.PodSucceeded
	host := without("shop", "host")
	host.Spec.HostNetwork = true
	var all []judgement
	for name, c := range map[string]struct {
		asked    asked
		others   []corev1.Pod
		pods     []corev1.Pod
		replicas int32
		summary  string
		want     []string
	}{
		"all is well": {
			asked: asked{policy: policy.Unsaid(), hooks: []hook{good}}, replicas: 2, pods: []corev1.Pod{pod("new", "")}, summary: "1 webhook asked about pods and objects; 1 sidecar that is as new ones",
			others: []corev1.Pod{without("quiet", "a"), without("shop", "b", mesh.InjectAnnotation+"=no"), done, host, without("kube-system", "c")},
		},
		"pods have none": {
			asked: asked{policy: policy.Unsaid(), hooks: []hook{good}}, replicas: 2, others: []corev1.Pod{without("shop", "a"), without("quiet", "b", mesh.InjectAnnotation+"=yes")},
			want: []string{
				`warning sidecar-missing pod shop/a: it has no sidecar, and would get one now: label istio-injection of namespace shop is "enabled"`,
				`warning sidecar-missing pod quiet/b: it has no sidecar, and would get one now: annotation sidecar.istio.io/inject is "yes"`,
			},
		},
		"one is old": {
			asked: asked{policy: policy.Unsaid(), hooks: []hook{good}}, replicas: 2, pods: []corev1.Pod{old},
			want: []string{"warning sidecar-old pod default/old: its sidecar is of version 1, and new ones are of 2"},
		},
		"nobody asks": {
			asked: asked{policy: policy.Unsaid()}, replicas: 2, summary: "0 webhooks asked about pods and objects; 0 sidecars that are as new ones",
			want: []string{"error webhook-silent mutatingwebhookconfiguration lateen: the API server is told to ask about no pods and no objects: none gets a sidecar by itself"},
		},
		"nobody asks, and nobody could answer": {asked: asked{policy: policy.Unsaid()}, summary: "0 webhooks asked about pods and objects; 0 sidecars that are as new ones"},
		"it trusts another root": {
			asked: asked{policy: policy.Unsaid(), hooks: []hook{good, {"objects.lateen.dev", []byte("other")}}}, replicas: 2, summary: "2 webhooks asked about pods and objects; 0 sidecars that are as new ones",
			want: []string{"error webhook-distrusted mutatingwebhookconfiguration lateen: the API server is told to verify the certificate of objects.lateen.dev by another root than that of the mesh"},
		},
		"it cannot ask": {
			asked: asked{policy: policy.Unsaid(), hooks: []hook{good}, failed: "no route to host"}, replicas: 2,
			want: []string{"error webhook-unreachable mutatingwebhookconfiguration lateen: the API server cannot ask about pods, and keeps out those that are to have a sidecar: no route to host"},
		},
		"the policy is broken": {
			asked: asked{policy: policy.Default(), hooks: []hook{good}, problems: []mesh.Problem{{
				Object: mesh.Ref{Kind: "ConfigMap", Namespace: "lateen-system", Name: "lateen-inject"}, Severity: mesh.Error, Code: "invalid-value", Message: "no policy",
			}}}, replicas: 2,
			want: []string{"error policy-broken ConfigMap lateen-system/lateen-inject: error: ConfigMap lateen-system/lateen-inject: no policy [invalid-value]"},
		},
	} {
		f := facts{
			asked: c.asked, pods: c.pods, plane: "2", deployment: deployment(2, c.replicas), roots: map[string]string{mesh.SystemNamespace: "root"},
			namespaces: []corev1.Namespace{namespace("quiet"), namespace("shop", "istio-injection:enabled"), namespace("kube-system", "istio-injection:enabled")},
		}
		for i := range c.others {
			f.others = append(f.others, otherOf(&c.others[i]))
		}
		all = append(all, judgement{name, f, (*facts).injection, cmp.Or(c.summary, "1 webhook asked about pods and objects; 0 sidecars that are as new ones"), c.want})
	}
	return all
}

// A Service whose selector matches no pod, with a proxy or without, is found; one without a selector and one of the system is none.
func TestSelectors(t *testing.T) {
	t.Parallel()
	plain := without("shop", "plain")
	none := selecting("shop", "none")
	none.Spec.Selector = nil
	f := &facts{
		pods: []corev1.Pod{pod("web", "")}, others: []other{otherOf(&plain)},
		services: []corev1.Service{selecting("default", "web"), selecting("shop", "plain"), selecting("shop", "web"), selecting("kube-system", "x"), none},
	}
	want := []string{"warning selector-empty service shop/web: no pod has the labels that it selects, app=web: requests to it are answered with 503"}
	if got := told(t, f.selectors()); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}
