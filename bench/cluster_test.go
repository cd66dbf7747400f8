package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/lateen-mesh/lateen/internal/inject"
	"github.com/lateen-mesh/lateen/internal/kubeclient"
	"github.com/lateen-mesh/lateen/internal/kubetest"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/serve"
	"github.com/lateen-mesh/lateen/internal/view"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// cluster is a mesh on Kubernetes: an API server that has all objects of one, and nothing that runs them. Each service has two pods,
// of two versions. Those of the first version of the first services have a sidecar: proxy i is that of service i. As in a
// [world] no two share a scope, each calls some of the hosts, and every tenth service has a rule.
type cluster struct {
	testing.TB
	shape
	server  *kubetest.Server
	typed   *kubernetes.Clientset
	dynamic dynamic.Interface
	sidecar corev1.PodSpec // of a pod with one

	// By service. Whoever changes one service does so alone.
	pods      [][2]*corev1.Pod
	addresses []string // "": the API server has not chosen it yet
	slices    []*discoveryv1.EndpointSlice
}

const (
	writers = 16 // that make objects at the same time
	nodes   = 50 // on which the pods are said to be
)

var routeRules = schema.GroupVersionResource{Group: "config.istio.io", Version: "v1alpha2", Resource: "routerules"}

// newCluster starts an API server, installs what `lateen install` does, and makes all objects of a mesh, with room for some more
// services.
func newCluster(tb testing.TB, s shape, more int) *cluster {
	tb.Helper()
	if s.proxies > s.services {
		tb.Fatalf("%d proxies are more than one for each of %d services", s.proxies, s.services)
	}
	all := s.services + more
	c := &cluster{
		TB: tb, shape: s, server: kubetest.StartOwn(tb), sidecar: injected(tb), pods: make([][2]*corev1.Pod, all),
		addresses: make([]string, all), slices: make([]*discoveryv1.EndpointSlice, all),
	}
	at, err := kubeclient.Load(kubeclient.Options{Kubeconfig: c.server.Kubeconfig})
	c.must(err)
	at.Config.QPS = -1
	typed := rest.CopyConfig(at.Config)
	typed.ContentType, typed.AcceptContentTypes = runtime.ContentTypeProtobuf, runtime.ContentTypeProtobuf+","+runtime.ContentTypeJSON
	c.typed, err = kubernetes.NewForConfig(typed)
	c.must(err)
	c.dynamic, err = at.Dynamic()
	c.must(err)
	for i := range more {
		c.addresses[s.services+i] = fmt.Sprintf("10.96.0.%d", 100+i) // the API server chooses others
	}
	manifests, err := os.ReadFile(filepath.Join(meshtest.Root(tb), "deploy", "manifests", "lateen.yaml"))
	c.must(err)
	c.server.Kubectl(tb, string(manifests), "apply", "--server-side", "-f", "-")
	c.server.Kubectl(tb, "", "wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
	c.each(namespaces, func(i int) error {
		_, err := c.typed.CoreV1().Namespaces().Create(c.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespaceAt(i)}}, metav1.CreateOptions{})
		return err
	})
	c.each(s.services, func(i int) error {
		if err := c.prepare(i); err != nil {
			return err
		}
		if err := c.expose(i); err != nil || i%ruledEvery != 0 {
			return err
		}
		return c.rule(i, 90)
	})
	return c
}

func (c *cluster) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

// each does something for each number below n, some at the same time.
func (c *cluster) each(n int, do func(i int) error) {
	c.Helper()
	var group errgroup.Group
	group.SetLimit(writers)
	for i := range n {
		group.Go(func() error { return do(i) })
	}
	c.must(group.Wait())
}

// injected returns a pod as it is after injection.
func injected(tb testing.TB) corev1.PodSpec {
	tb.Helper()
	const plain = "apiVersion: v1\nkind: Pod\nmetadata: {name: app}\n" +
		"spec: {containers: [{name: app, image: 'app:1', ports: [{containerPort: 9080}], readinessProbe: {httpGet: {path: /health, port: 9080}}}]}\n"
	r := inject.Inject("pod", []byte(plain), inject.Options{Image: "lateen-proxy:1", Version: "1"})
	var pod corev1.Pod
	if err := yaml.Unmarshal(r.Text, &pod); err != nil || len(r.Problems) > 0 || !r.Workloads[0].Changed {
		tb.Fatal(err, r.Problems, r.Workloads)
	}
	return pod.Spec
}

func serviceName(i int) string { return fmt.Sprintf("svc-%04d", i) }

// prepare makes what stands behind a service: its account, its pods, as they are when they run, and their slice.
func (c *cluster) prepare(i int) error {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: serviceName(i)}}
	if _, err := c.typed.CoreV1().ServiceAccounts(namespaceAt(i)).Create(c.Context(), account, metav1.CreateOptions{}); err != nil {
		return err
	}
	for n := range 2 {
		pod, err := c.pod(i, n)
		if err != nil {
			return err
		}
		c.pods[i][n] = pod
	}
	slice, err := c.typed.DiscoveryV1().EndpointSlices(namespaceAt(i)).Create(c.Context(), c.slice(i), metav1.CreateOptions{})
	c.slices[i] = slice
	return err
}

// pod makes the pod of one version of a service, and says of it what a kubelet says.
func (c *cluster) pod(i, n int) (*corev1.Pod, error) {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-v%d-0", serviceName(i), n+1), Labels: map[string]string{
			"app": serviceName(i), "version": fmt.Sprintf("v%d", n+1), "pod-template-hash": "7d4f8c9b6",
		}},
		Spec: *c.sidecar.DeepCopy(),
	}
	p.Spec.ServiceAccountName, p.Spec.NodeName = serviceName(i), fmt.Sprintf("node-%02d", i%nodes)
	if !c.proxied(i, n) {
		p.Spec.InitContainers, p.Spec.Volumes = nil, nil
	}
	pods := c.typed.CoreV1().Pods(namespaceAt(i))
	p, err := pods.Create(c.Context(), p, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	address := fmt.Sprintf("10.%d.%d.%d", 130+n, i/250, 1+i%250)
	started, now := true, metav1.Now()
	p.Status = corev1.PodStatus{
		Phase: corev1.PodRunning, PodIP: address, PodIPs: []corev1.PodIP{{IP: address}}, StartTime: &now,
		Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: now}},
	}
	runs := func(list []corev1.Container) (all []corev1.ContainerStatus) {
		for i := range list {
			state := corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}}
			all = append(all, corev1.ContainerStatus{Name: list[i].Name, Image: list[i].Image, Started: &started, Ready: true, State: state})
		}
		return all
	}
	p.Status.InitContainerStatuses, p.Status.ContainerStatuses = runs(p.Spec.InitContainers), runs(p.Spec.Containers)
	return pods.UpdateStatus(c.Context(), p, metav1.UpdateOptions{})
}

// proxied tells whether a version of a service has a sidecar.
func (c *cluster) proxied(i, n int) bool { return n == 0 && i < c.proxies }

// slice returns the endpoints of a service.
func (c *cluster) slice(i int) *discoveryv1.EndpointSlice {
	name, number, protocol, yes, no := "http", int32(port), corev1.ProtocolTCP, true, false
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: serviceName(i) + "-x7k2p", Labels: map[string]string{discoveryv1.LabelServiceName: serviceName(i)}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &number, Protocol: &protocol}},
	}
	for _, p := range c.pods[i] {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{p.Status.PodIP}, NodeName: &p.Spec.NodeName,
			Conditions: discoveryv1.EndpointConditions{Ready: &yes, Serving: &yes, Terminating: &no},
			TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: p.Namespace, Name: p.Name, UID: p.UID},
		})
	}
	return s
}

// expose makes the service itself. The API server chooses its address, but for those that come later.
func (c *cluster) expose(i int) error {
	made, err := c.typed.CoreV1().Services(namespaceAt(i)).Create(c.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: serviceName(i)},
		Spec: corev1.ServiceSpec{
			ClusterIP: c.addresses[i],
			Selector:  map[string]string{"app": serviceName(i)},
			Ports:     []corev1.ServicePort{{Name: "http", Port: port, TargetPort: intstr.FromInt32(port)}},
		},
	}, metav1.CreateOptions{})
	if err == nil {
		c.addresses[i] = made.Spec.ClusterIP
	}
	return err
}

// move takes the second endpoint of a service out, or puts it back: a pod that is not ready, and is again. It returns when the API
// server has answered.
func (c *cluster) move(i int) error {
	s := c.slices[i].DeepCopy()
	conditions := &s.Endpoints[1].Conditions
	ready := !*conditions.Ready
	conditions.Ready, conditions.Serving = &ready, &ready
	s, err := c.typed.DiscoveryV1().EndpointSlices(s.Namespace).Update(c.Context(), s, metav1.UpdateOptions{})
	if err == nil {
		c.slices[i] = s
	}
	return err
}

// rule writes the rule of a service, with a given share for its first version.
func (c *cluster) rule(i, share int) error {
	o := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(rule(i, share)), &o.Object); err != nil {
		return err
	}
	// Applied, and not put in the place of what was read before: the control plane writes the status of the rule meanwhile.
	_, err := c.dynamic.Resource(routeRules).Namespace(namespaceAt(i)).Apply(c.Context(), o.GetName(), o, metav1.ApplyOptions{FieldManager: "bench"})
	return err
}

// scope names the scope of a service: its address and port.
func (c *cluster) scope(i int) string { return fmt.Sprintf("%s:%d", c.addresses[i], port) }

// scopes names the scopes that there must be: one for each address and port of every service that the API server has.
func (c *cluster) scopes() []string {
	c.Helper()
	list, err := c.typed.CoreV1().Services("").List(c.Context(), metav1.ListOptions{})
	c.must(err)
	var all []string
	for i := range list.Items {
		for _, p := range list.Items[i].Spec.Ports {
			if ip := list.Items[i].Spec.ClusterIP; ip != corev1.ClusterIPNone && p.Protocol == corev1.ProtocolTCP {
				all = append(all, fmt.Sprintf("%s:%d", ip, p.Port))
			}
		}
	}
	slices.Sort(all)
	return all
}

// routes names the routes of captured workloads to a service.
func routes(i int) string { return view.CapturedRoutesOf(hostAt(i), port).Name }

// target is what a captured workload calls.
func (c *cluster) target(i int) target {
	return target{typ: xds.RouteType, name: routes(i), host: string(hostAt(i)), scope: c.scope(i)}
}

// members returns the proxies.
func (c *cluster) members() []member {
	var all []member
	for i := range c.proxies {
		w := c.workload(i)
		node := mesh.Node{Type: mesh.Sidecar, Address: w.Address, Name: w.Name, Namespace: w.Namespace, Domain: serve.Domain}
		m := member{node: node.String(), captured: true}
		for _, h := range c.hosts(i) {
			m.calls = append(m.calls, c.target(h))
		}
		all = append(all, m)
	}
	return all
}

// workload returns whom proxy i belongs to.
func (c *cluster) workload(i int) *mesh.Workload {
	p := c.pods[i][0]
	return &mesh.Workload{Name: p.Name, Namespace: p.Namespace, Account: p.Spec.ServiceAccountName, Address: p.Status.PodIP}
}

// user returns a kubeconfig of the control plane's ServiceAccount.
func (c *cluster) user() string {
	const accounts = "system:serviceaccounts"
	return c.server.User(c, strings.Join([]string{"system:serviceaccount", mesh.SystemNamespace, mesh.SystemName}, ":"), accounts, accounts+":"+mesh.SystemNamespace)
}

// uid is that of a pod, for its token.
func (c *cluster) uid(i int) types.UID { return c.pods[i][0].UID }
