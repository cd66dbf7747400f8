package kubecheck

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/version"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/checkup"
	"github.com/lateen-mesh/lateen/internal/install"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// told returns findings as lines: severity, code, subject and message. Each has to say what to do.
func told(t *testing.T, findings []checkup.Finding) []string {
	t.Helper()
	lines := []string{}
	for _, f := range findings {
		if f.Fix == "" {
			t.Errorf("%s says not what to do", f.Code)
		}
		if !slices.Contains(Codes(), f.Code) {
			t.Errorf("%s is no known code", f.Code)
		}
		lines = append(lines, fmt.Sprintf("%s %s %s: %s", f.Severity, f.Code, f.Subject, f.Message))
	}
	return lines
}

func namespace(name string, labels ...string) corev1.Namespace {
	ns := corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}}}
	for _, l := range labels {
		key, value, _ := strings.Cut(l, ":")
		ns.Labels[key] = value
	}
	return ns
}

func node(name string, info corev1.NodeSystemInfo) corev1.Node {
	return corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{NodeInfo: info}}
}

func deployment(wanted, available int32) *appsv1.Deployment {
	return &appsv1.Deployment{
		Spec: appsv1.DeploymentSpec{Replicas: &wanted, Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "lateen", Image: "registry.example:5000/a/lateen:v7"}},
		}}},
		Status: appsv1.DeploymentStatus{Replicas: wanted, UpdatedReplicas: wanted, AvailableReplicas: available},
	}
}

// pod returns one with a proxy, which is ready or waits for something.
func pod(name, waits string, containers ...corev1.Container) corev1.Pod {
	always := corev1.ContainerRestartPolicyAlways
	asks := corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromInt32(mesh.AgentHealthPort)}}}
	p := corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{
			InitContainers: []corev1.Container{{Name: mesh.ProxyContainer, RestartPolicy: &always, StartupProbe: &asks}}, Containers: containers,
		},
	}
	status := corev1.ContainerStatus{Name: mesh.ProxyContainer, Ready: waits == ""}
	if waits != "" && waits != "-" {
		status.State.Waiting = &corev1.ContainerStateWaiting{Reason: waits}
	}
	p.Status.InitContainerStatuses = []corev1.ContainerStatus{status}
	return p
}

// aged makes a pod one of a time, in seconds of the Unix epoch.
func aged(p corev1.Pod, created int64) corev1.Pod {
	p.CreationTimestamp = metav1.Unix(created, 0)
	return p
}

// foreign returns one with something else of the proxy's name.
func foreign(name string) corev1.Pod {
	p := pod(name, "")
	p.Spec.InitContainers[0].StartupProbe = nil
	return p
}

func service(name string, ports ...corev1.ServicePort) corev1.Service {
	return corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": name}, Ports: ports},
	}
}

func tcpProbe(port intstr.IntOrString) *corev1.Probe {
	return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: port}}}
}

// judgement is a case of [TestJudgements].
type judgement struct {
	name    string
	facts   facts
	judge   func(*facts) (string, []checkup.Finding)
	summary string
	want    []string
}

// Each thing that can be wrong is found, with its severity, its words and what to do; and nothing is where nothing is wrong.
func TestJudgements(t *testing.T) {
	t.Parallel()
	grpc := "grpc"
	web := corev1.Container{Name: "web", Ports: []corev1.ContainerPort{{Name: "main", ContainerPort: 8080}}, ReadinessProbe: tcpProbe(intstr.FromString("main"))}
	shown := map[checkup.Code]bool{}
	strict := []api.Service{{Host: "web.default.svc.cluster.local", Ports: []api.ServicePort{{Number: 80, Policy: mesh.AuthMutualTLS}, {Number: 81, Policy: mesh.AuthPermissive}}}}
	for _, c := range append([]judgement{
		{"a recent server", facts{version: &version.Info{GitVersion: "v1.29.0-eks"}}, (*facts).server, "Kubernetes v1.29.0-eks", nil},
		{"an old server", facts{version: &version.Info{GitVersion: "v1.28.9"}}, (*facts).server, "Kubernetes v1.28.9", []string{
			"error cluster-old : the API server is of Kubernetes v1.28.9: proxies are containers that start before the others and go on running, which 1.29 has first",
		}},
		{"rights", facts{lacking: []string{"create roles in lateen-system"}}, (*facts).rightsOfUser, "1 right missing", []string{
			"error right-missing your rights: you may not create roles in lateen-system",
		}},
		{
			"a policy",
			facts{refusals: []install.Refusal{{Object: "namespace lateen-system", Why: "admission webhook denied it"}}},
			(*facts).rightsOfUser,
			"all that an installation takes",
			[]string{"error refused-in-advance namespace lateen-system: the API server would refuse it: admission webhook denied it"},
		},
		{"nodes", facts{nodes: []corev1.Node{
			node("a", corev1.NodeSystemInfo{OperatingSystem: "linux", KubeletVersion: "v1.34.4", KernelVersion: "6.1.0-9-amd64"}),
			node("c", corev1.NodeSystemInfo{OperatingSystem: "windows"}), node("b", corev1.NodeSystemInfo{OperatingSystem: "windows"}),
			node("d", corev1.NodeSystemInfo{KubeletVersion: "v1.27.1"}), node("e", corev1.NodeSystemInfo{KernelVersion: "3.10.0-el7"}),
		}}, (*facts).nodesArea, "5 nodes", []string{
			"warning node-unfit node b, c: it runs windows, and proxies run on Linux only",
			"warning node-unfit node e: its kernel is 3.10.0-el7, too old to redirect traffic with nftables",
			"warning node-unfit node d: its kubelet is of Kubernetes v1.27.1: it would wait for a proxy to end before it starts the application; 1.29 is the first that does not",
		}},
		{"namespaces", facts{namespaces: []corev1.Namespace{
			namespace("z", enforce+":baseline"), namespace("y", enforce+":restricted"), namespace("x", enforce+":privileged"), namespace(mesh.SystemNamespace, enforce+":restricted"),
		}}, (*facts).namespacesArea, "4 namespaces", []string{
			"warning namespace-forbids namespace y, z: its label " + enforce + " forbids NET_ADMIN, which the container lateen-capture has to redirect traffic: pods with a proxy are refused there",
		}},
		{"nothing before", facts{}, (*facts).previous, "nothing of Lateen", nil},
		{
			"an installation before",
			facts{deployment: deployment(2, 2), roots: map[string]string{"a": "x"}},
			(*facts).previous,
			"Lateen v7, 2 replicas: `lateen install` brings it to this version", nil,
		},
		{"roots without a key", facts{roots: map[string]string{"b": "x", "a": "x"}}, (*facts).previous, "2 objects of Lateen, without a control plane", []string{
			"warning left-over ConfigMap lateen-root: roots of an earlier installation are left in a, b, and their key is gone: a control plane would make another, and what trusts these would trust nobody for a while",
		}},
		{"a root of its own without a key", facts{roots: map[string]string{mesh.SystemNamespace: "x"}}, (*facts).previous, "1 object of Lateen, without a control plane", []string{
			"error left-over ConfigMap lateen-root: roots of an earlier installation are left in lateen-system, and their key is gone: a control plane would make no other while that of lateen-system is there",
		}},
		{"Lateen's namespace was deleted", facts{roots: map[string]string{"kube-system": "x", "a": "x"}}, (*facts).previous, "2 objects of Lateen, without a control plane", []string{
			"error left-over ConfigMap lateen-root: roots of an earlier installation are left in a, kube-system, and their key is gone: a control plane would make no other while that of kube-system is there",
		}},
		{
			"a kind of somebody else",
			facts{found: []install.Found{{Kind: definitionKind, Name: "routerules.config.istio.io"}, {Kind: definitionKind, Name: "x", Ours: true}}},
			(*facts).previous,
			"2 objects of Lateen, without a control plane",
			[]string{
				"warning kind-of-others routerules.config.istio.io: somebody else has defined this kind: `lateen install` would take the definition over",
			},
		},
		{"no installation", facts{name: "here"}, (*facts).installation, "none", []string{
			"error not-installed here: there is no Deployment lateen in the namespace lateen-system, or you may not look at it",
		}},
		{"a control plane", facts{deployment: deployment(2, 2), plane: "a", config: Config{Version: "a"}}, (*facts).installation, "version v7, 2 of 2 replicas available", nil},
		{
			"half a control plane, of another version",
			facts{deployment: deployment(2, 1), plane: "a", config: Config{Version: "b"}},
			(*facts).installation,
			"version v7, 1 of 2 replicas available",
			[]string{
				"warning plane-down deployment lateen-system/lateen: 1 of 2 replicas are available",
				"warning version-differs deployment lateen-system/lateen: the control plane is of version a, and this program of b",
			},
		},
		{
			"no control plane",
			facts{deployment: deployment(1, 0), differences: []install.Difference{{Kind: "Service", Object: "service a/b"}, {Kind: "Role", Object: "role a/b", Field: "rules[1]"}, {Kind: definitionKind}}},
			(*facts).installation, "version v7, 0 of 1 replica available",
			[]string{
				"error plane-down deployment lateen-system/lateen: 0 of 1 replica are available: proxies go on with what they have, and nothing new comes into force",
				"error installation-differs service a/b: it is not there",
				"warning installation-differs role a/b: it is not as this version of lateen installs it: see rules[1]",
			},
		},
		{
			"definitions",
			facts{differences: []install.Difference{{Kind: definitionKind, Object: "customresourcedefinition a", Field: "spec.versions"}}},
			(*facts).kinds,
			"1 definition of another version",
			[]string{"warning installation-differs customresourcedefinition a: it is not as this version of lateen installs it: see spec.versions"},
		},
		{"rights of the control plane", facts{denied: []string{"list services"}}, (*facts).rightsOfPlane, "1 right missing", []string{
			"error right-missing serviceaccount lateen-system/lateen: the control plane may not list services",
		}},
		{"roots", facts{roots: map[string]string{mesh.SystemNamespace: "x", "a": "x", "b": "y"}, namespaces: []corev1.Namespace{
			namespace(mesh.SystemNamespace), namespace("a"), namespace("b"), namespace("c"),
			{ObjectMeta: metav1.ObjectMeta{Name: "d", DeletionTimestamp: &metav1.Time{}}},
		}}, (*facts).rootsArea, "in 3 of 5 namespaces", []string{
			"error root-missing namespace c: there is no ConfigMap lateen-root: new pods with a proxy wait for it, and do not start",
			"error root-differs namespace b: the ConfigMap lateen-root holds other roots than that of lateen-system: new proxies trust nobody",
		}},
		{"pods", facts{now: time.Unix(1_000, 0), pods: []corev1.Pod{pod("a", ""), pod("b", "-"), pod("c", "ErrImagePull")}}, (*facts).podsArea, "1 of 3 pods with a proxy have it ready", []string{
			"error pod-not-ready pod default/b: its proxy is not ready", "error pod-not-ready pod default/c: container lateen-proxy waits: ErrImagePull",
		}},
		{
			"pods that start",
			facts{now: time.Unix(1_000, 0), pods: []corev1.Pod{aged(pod("a", "-"), 970), aged(pod("b", "-"), 930), aged(pod("c", "ErrImagePull"), 970)}},
			(*facts).podsArea, "0 of 3 pods with a proxy have it ready, 1 just starting",
			[]string{
				"error pod-not-ready pod default/b: its proxy is not ready", "error pod-not-ready pod default/c: container lateen-proxy waits: ErrImagePull",
			},
		},
		{"a pod with something of the proxy's name", facts{pods: []corev1.Pod{foreign("a")}}, (*facts).podsArea, "0 of 1 pod with a proxy have it ready", []string{
			"error pod-not-ready pod default/a: its container lateen-proxy is taken for a proxy, and no probe asks the agent of one there",
		}},
		{"services", facts{pods: []corev1.Pod{pod("web", "", web)}, known: strict, services: []corev1.Service{
			service("web", corev1.ServicePort{Name: "http", Port: 80, TargetPort: intstr.FromInt32(8080)}, corev1.ServicePort{Name: "web", Port: 81, TargetPort: intstr.FromString("main")},
				corev1.ServicePort{Port: 82, AppProtocol: &grpc}, corev1.ServicePort{Name: "tcp-x", Port: 83}, corev1.ServicePort{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP}),
			service("other", corev1.ServicePort{Port: 1}),
		}}, (*facts).servicesArea, "1 service served by pods with a proxy", []string{
			`warning protocol-unknown web.default:81: neither its appProtocol nor its name "web" says what it speaks: it is taken for TCP, and no rule for requests concerns it`,
			"warning probe-says-nothing web.default:80: container web of pod default/web has a probe that connects to it and asks nothing: the proxy takes the connection, so it succeeds even if the application is not there",
			"warning selector-empty service default/other: no pod has the labels that it selects, app=other: requests to it are answered with 503",
		}},
	}, injectionJudgements()...) {
		for _, code := range Codes() {
			for _, line := range c.want {
				if word := strings.Fields(line); word[1] == string(code) {
					shown[code] = true
				}
			}
		}
		t.Run(c.name, func(t *testing.T) {
			summary, findings := c.judge(&c.facts)
			if summary != c.summary {
				t.Errorf("summary %q, want %q", summary, c.summary)
			}
			if got := told(t, findings); !slices.Equal(got, c.want) && len(got)+len(c.want) > 0 {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
	for _, code := range Codes() {
		if !shown[code] {
			t.Errorf("no case shows %s", code)
		}
	}
}

// What may not be looked at is said to be unknown, and is neither good nor bad.
func TestWhatMayNotBeRead(t *testing.T) {
	t.Parallel()
	f := facts{name: "x", noNodes: true, noRoots: true, noReview: true, noPods: true, noServices: true}
	r := f.report([]area{
		{"nodes", (*facts).nodesArea},
		{"namespaces", (*facts).namespacesArea},
		{"rights", (*facts).rightsOfPlane},
		{"roots", (*facts).rootsArea},
		{"pods", (*facts).podsArea},
		{"services", (*facts).servicesArea},
	})
	for _, a := range r.Areas {
		if a.Verdict != checkup.Unknown {
			t.Errorf("%s is %s: %s", a.Name, a.Verdict, a.Summary)
		}
	}
	if r.Verdict != checkup.OK || len(r.Findings) != 0 || len(r.Areas) != 6 {
		t.Errorf("%+v", r)
	}
}

// A thousand pods that do not start are told in a few findings, which say how many more there are.
func TestManyFindings(t *testing.T) {
	t.Parallel()
	f := facts{now: time.Unix(1_000, 0)}
	for i := range 1000 {
		f.pods = append(f.pods, pod(fmt.Sprint(i), "-"))
	}
	_, findings := f.podsArea()
	if len(findings) != mostFindings+1 || findings[mostFindings].Count != 1000-mostFindings {
		t.Errorf("%d findings, the last one %+v", len(findings), findings[len(findings)-1])
	}
}
