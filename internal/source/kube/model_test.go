package kube

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// cluster makes random changes of a small cluster, in which everything meets everything: names come again, addresses are shared.
type cluster struct {
	*rand.Rand
	objects map[string]runtime.Object
}

var testRealm = mesh.Realm{Domain: "cluster.local", TrustDomain: "cluster.local"}

func (c *cluster) name(what string, n int) string { return fmt.Sprintf("%s%d", what, c.IntN(n)) }

func (c *cluster) oneIn(n int) bool { return c.IntN(n) == 0 }

func (c *cluster) meta(what string, n int) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: c.name("ns", 2), Name: c.name(what, n)}
}

func (c *cluster) service() runtime.Object {
	o := &corev1.Service{ObjectMeta: c.meta("svc", 4)}
	o.Spec.ClusterIPs = []string{fmt.Sprintf("10.96.0.%d", c.IntN(30))}
	if c.oneIn(4) {
		o.Spec.ClusterIPs = []string{corev1.ClusterIPNone}
	}
	if c.oneIn(8) {
		o.Spec.Type, o.Spec.ClusterIPs, o.Spec.ExternalName = corev1.ServiceTypeExternalName, nil, "example.com"
	}
	for i := range 1 + c.IntN(2) {
		o.Spec.Ports = append(o.Spec.Ports, corev1.ServicePort{Name: []string{"http", "tcp"}[i], Port: int32(80 + c.IntN(2) + 10*i)}) //nolint:gosec // small
		if c.oneIn(3) {
			o.Spec.Ports[i].TargetPort = intstr.FromString(c.name("port", 2))
		}
	}
	if !c.oneIn(3) {
		o.Spec.Selector = map[string]string{"version": c.name("v", 2)}
	}
	if c.oneIn(3) {
		o.Annotations = map[string]string{"auth.istio.io/80": []string{"NONE", "MUTUAL_TLS", "bad"}[c.IntN(3)]}
	}
	return o
}

func (c *cluster) slice() runtime.Object {
	o := &discoveryv1.EndpointSlice{ObjectMeta: c.meta("slice", 6), AddressType: discoveryv1.AddressTypeIPv4}
	o.Labels = map[string]string{discoveryv1.LabelServiceName: c.name("svc", 5)}
	if c.oneIn(5) {
		o.AddressType = discoveryv1.AddressTypeIPv6
	}
	for _, name := range []string{"http", "tcp"} {
		port := int32(8080 + c.IntN(2)) //nolint:gosec // small
		o.Ports = append(o.Ports, discoveryv1.EndpointPort{Name: &name, Port: &port})
	}
	for range c.IntN(4) {
		node := c.name("node", 2)
		zone := c.name("z", 2)
		e := discoveryv1.Endpoint{Addresses: []string{c.address(o.AddressType)}, NodeName: &node, Zone: &zone}
		if !c.oneIn(4) {
			e.TargetRef = &corev1.ObjectReference{Kind: "Pod", Name: c.name("pod", 5)}
			if c.oneIn(2) {
				e.TargetRef.UID = types.UID(c.name("uid", 2))
			}
		}
		for _, condition := range []**bool{&e.Conditions.Ready, &e.Conditions.Serving, &e.Conditions.Terminating} {
			if !c.oneIn(3) {
				value := c.oneIn(2)
				*condition = &value
			}
		}
		o.Endpoints = append(o.Endpoints, e)
	}
	return o
}

func (c *cluster) address(family discoveryv1.AddressType) string {
	if family == discoveryv1.AddressTypeIPv6 {
		return fmt.Sprintf("fd00::%d", 1+c.IntN(6))
	}
	return fmt.Sprintf("10.244.0.%d", 1+c.IntN(6))
}

func (c *cluster) pod() runtime.Object {
	o := &corev1.Pod{ObjectMeta: c.meta("pod", 5)}
	o.UID = types.UID(c.name("uid", 2))
	o.CreationTimestamp = metav1.Unix(int64(c.IntN(3)), 0)
	o.Labels = map[string]string{"version": c.name("v", 2), "pod-template-hash": c.name("h", 9)}
	o.Spec.ServiceAccountName = c.name("account", 2)
	if !c.oneIn(3) {
		probe := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromInt32(mesh.AgentHealthPort)}}}
		o.Spec.InitContainers = []corev1.Container{{Name: mesh.ProxyContainer, StartupProbe: probe}}
		o.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{{Name: c.name("port", 3), ContainerPort: 8080}}}}
		if c.oneIn(2) {
			flags := []string{"--" + mesh.KeepInboundFlag + "=15020,15021,8080", "--" + mesh.TakeInboundFlag + "=8080"}
			o.Spec.InitContainers = append(o.Spec.InitContainers, corev1.Container{Name: mesh.CaptureContainer, Args: flags[:c.IntN(3)]})
		}
		started := c.oneIn(2)
		o.Status.InitContainerStatuses = []corev1.ContainerStatus{{
			Name: mesh.ProxyContainer, Started: &started, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
		}}
	}
	if c.oneIn(4) {
		now := metav1.Unix(0, 0)
		o.DeletionTimestamp = &now
	}
	o.Spec.HostNetwork = c.oneIn(8)
	if c.oneIn(6) {
		o.Status.Phase = corev1.PodSucceeded
	}
	for _, family := range []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6} {
		if !c.oneIn(3) {
			o.Status.PodIPs = append(o.Status.PodIPs, corev1.PodIP{IP: c.address(family)})
		}
	}
	return o
}

func (c *cluster) node() runtime.Object {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: c.name("node", 2), Labels: map[string]string{corev1.LabelTopologyRegion: c.name("r", 2)}}}
}

func (c *cluster) cidr() runtime.Object {
	return &networkingv1.ServiceCIDR{
		ObjectMeta: metav1.ObjectMeta{Name: c.name("cidr", 2)}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{fmt.Sprintf("10.%d.0.0/16", c.IntN(3))}},
	}
}

// next makes a change: an object that is there now, or one that is gone.
func (c *cluster) next() (o runtime.Object, present bool) {
	kinds := []func() runtime.Object{c.service, c.slice, c.slice, c.slice, c.pod, c.pod, c.pod, c.node, c.cidr}
	o = kinds[c.IntN(len(kinds))]()
	key := keyOf(o)
	if c.objects[key] != nil && c.oneIn(3) {
		o = c.objects[key]
		delete(c.objects, key)
		return o, false
	}
	c.objects[key] = o
	return o, true
}

func keyOf(o runtime.Object) string {
	m := o.(metav1.Object)
	return fmt.Sprintf("%T %s/%s", o, m.GetNamespace(), m.GetName())
}

// TestModel makes random changes, and after some of them compares what is said then with what is said of the same objects when they
// come anew in another order. Whoever follows the edits must have the same, and a part that says the same keeps its pointer.
func TestModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(10) {
		c := &cluster{rand.New(rand.NewPCG(seed, 7)), map[string]runtime.Object{}} //nolint:gosec // a test
		m, f := newModel(testRealm), newFollower()
		for step := range 120 {
			for range 1 + c.IntN(3) {
				o, present := c.next()
				m.changeAny(t, o, present)
			}
			f.follow(t, m.edit())
			fresh := newModel(testRealm)
			for _, key := range shuffled(c) {
				fresh.putAny(t, c.objects[key])
			}
			fresh.edit()
			want, got := fresh.whole(), m.whole()
			want.Generation, got.Generation = 0, 0
			if diff := cmp.Diff(text(t, want), text(t, got)); diff != "" {
				t.Fatalf("seed %d, step %d: want -, got +\n%s", seed, step, diff)
			}
			if diff := cmp.Diff(text(t, want), text(t, f.registry())); diff != "" {
				t.Fatalf("seed %d, step %d: who follows the edits has +\n%s", seed, step, diff)
			}
			addressesAreUnique(t, got)
		}
	}
}

func shuffled(c *cluster) []string {
	keys := make([]string, 0, len(c.objects))
	for key := range c.objects {
		keys = append(keys, key)
	}
	c.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	return keys
}

// addressesAreUnique fails when two workloads have one address: nobody could tell them apart.
func addressesAreUnique(t *testing.T, r mesh.Registry) {
	t.Helper()
	seen := map[string]mesh.ProxyID{}
	for _, w := range r.Workloads {
		if other, twice := seen[w.Address]; twice {
			t.Errorf("%s and %s have the address %s", other, w.ID(), w.Address)
		}
		seen[w.Address] = w.ID()
	}
}

func text(t *testing.T, r mesh.Registry) string {
	t.Helper()
	out, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// follower has what the edits lead to.
type follower struct {
	generation int64
	services   map[mesh.Host]*mesh.Service
	endpoints  map[mesh.Host]*mesh.EndpointSet
	workloads  map[mesh.ProxyID]*mesh.Workload
	settings   *mesh.Settings
	problems   []mesh.Problem
}

func newFollower() *follower {
	return &follower{
		services: map[mesh.Host]*mesh.Service{}, endpoints: map[mesh.Host]*mesh.EndpointSet{}, workloads: map[mesh.ProxyID]*mesh.Workload{},
		problems: []mesh.Problem{},
	}
}

func (f *follower) follow(t *testing.T, e *mesh.RegistryEdit) {
	t.Helper()
	if e == nil {
		return
	}
	if e.Base != f.generation || e.Generation != e.Base+1 {
		t.Fatalf("an edit leads from %d to %d, and %d is there", e.Base, e.Generation, f.generation)
	}
	f.generation = e.Generation
	drop(t, f.services, e.RemovedServices)
	drop(t, f.endpoints, e.RemovedEndpoints)
	drop(t, f.workloads, e.RemovedWorkloads)
	put(t, f.services, e.Services, func(s *mesh.Service) mesh.Host { return s.Host })
	put(t, f.endpoints, e.Endpoints, func(s *mesh.EndpointSet) mesh.Host { return s.Host })
	put(t, f.workloads, e.Workloads, (*mesh.Workload).ID)
	if e.Settings != nil {
		f.settings = e.Settings
	}
	if e.Problems != nil {
		f.problems = e.Problems
	}
}

func drop[K comparable, V any](t *testing.T, from map[K]*V, names []K) {
	t.Helper()
	for _, n := range names {
		if from[n] == nil {
			t.Errorf("%v is removed and was not there", n)
		}
		delete(from, n)
	}
}

func put[K comparable, V any](t *testing.T, to map[K]*V, values []*V, name func(*V) K) {
	t.Helper()
	for _, v := range values {
		if old := to[name(v)]; old != nil && reflect.DeepEqual(old, v) {
			t.Errorf("%v says the same as before", name(v))
		}
		to[name(v)] = v
	}
}

func (f *follower) registry() mesh.Registry {
	r := mesh.Registry{Settings: f.settings, Problems: f.problems, Services: []*mesh.Service{}, Endpoints: []*mesh.EndpointSet{}, Workloads: []*mesh.Workload{}}
	m := newModel(testRealm) // sorts as the model does: by namespace and name
	for _, s := range f.services {
		m.said.services[name{s.Namespace, s.Name}] = s
		if e := f.endpoints[s.Host]; e != nil {
			m.said.endpoints[name{s.Namespace, s.Name}] = e
		}
	}
	for _, w := range f.workloads {
		m.said.workloads[name{w.Namespace, w.Name}] = w
	}
	r.Services, r.Endpoints, r.Workloads = values(m.said.services), values(m.said.endpoints), values(m.said.workloads)
	return r
}

// TestCostIsThatOfTheChange counts what is said again after one change in a cluster of 200 services.
func TestCostIsThatOfTheChange(t *testing.T) {
	t.Parallel()
	m := newModel(testRealm)
	pod := func(i int) *corev1.Pod {
		o := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("pod%d", i), UID: "u"}}
		o.Spec.Containers = []corev1.Container{{Name: mesh.ProxyContainer}}
		o.Status.PodIPs = []corev1.PodIP{{IP: fmt.Sprintf("10.244.0.%d", i)}}
		return o
	}
	slice := func(i int, ready bool) *discoveryv1.EndpointSlice {
		port, name := int32(80), "http"
		return &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("s%d", i), Labels: map[string]string{discoveryv1.LabelServiceName: fmt.Sprintf("svc%d", i)}},
			AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &port}},
			Endpoints: []discoveryv1.Endpoint{{
				Addresses: []string{fmt.Sprintf("10.244.0.%d", i)}, Conditions: discoveryv1.EndpointConditions{Ready: &ready},
				TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: fmt.Sprintf("pod%d", i), UID: "u"},
			}},
		}
	}
	service := func(i int) *corev1.Service {
		o := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("svc%d", i)}}
		o.Spec.ClusterIPs, o.Spec.Ports = []string{fmt.Sprintf("10.96.0.%d", i)}, []corev1.ServicePort{{Name: "http", Port: 80}}
		return o
	}
	for i := 1; i <= 200; i++ {
		m.putAny(t, service(i))
		m.putAny(t, slice(i, true))
		m.putAny(t, pod(i))
	}
	m.edit()
	relabelled, heartbeat, recycled := pod(7), pod(8), pod(9)
	relabelled.Labels = map[string]string{"version": "v2"}
	heartbeat.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, LastProbeTime: metav1.NewTime(time.Unix(1, 0))}}
	heartbeat.ResourceVersion = "77"
	recycled.UID = "another"
	for _, step := range []struct {
		what string
		o    runtime.Object
		want mesh.RegistryEdit
	}{
		{"an endpoint is not ready", slice(5, false), mesh.RegistryEdit{Endpoints: make([]*mesh.EndpointSet, 1)}},
		{"the same again", slice(5, false), mesh.RegistryEdit{}},
		{"a pod has other labels", relabelled, mesh.RegistryEdit{Endpoints: make([]*mesh.EndpointSet, 1), Workloads: make([]*mesh.Workload, 1)}},
		{"a pod has other conditions", heartbeat, mesh.RegistryEdit{}},
		{"a pod has become another one", recycled, mesh.RegistryEdit{
			Services: make([]*mesh.Service, 1), Endpoints: make([]*mesh.EndpointSet, 1), Workloads: make([]*mesh.Workload, 1),
		}},
		{"a new service", service(201), mesh.RegistryEdit{Services: make([]*mesh.Service, 1), Endpoints: make([]*mesh.EndpointSet, 1)}},
	} {
		m.putAny(t, step.o)
		if n := len(m.touched.services) + len(m.touched.endpoints) + len(m.touched.pods); n > 0 && step.want.Len() == 0 {
			t.Errorf("%s: %d names are translated anew", step.what, n)
		}
		e := m.edit()
		if e == nil {
			e = &mesh.RegistryEdit{}
		}
		got := []int{len(e.Services), len(e.Endpoints), len(e.Workloads), e.Len()}
		want := []int{len(step.want.Services), len(step.want.Endpoints), len(step.want.Workloads), step.want.Len()}
		if !reflect.DeepEqual(got, want) || e.Settings != nil && step.what != "a new service" {
			t.Errorf("%s: services, endpoints, workloads and all said again: %v, want %v", step.what, got, want)
		}
	}
}
