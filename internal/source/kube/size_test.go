package kube

import (
	"fmt"
	"runtime"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// measured is how many objects of each kind are measured.
const measured = 5000

// podAsStored is a pod with all that a cluster writes into one.
func podAsStored(i int) *corev1.Pod {
	container := func(name string) corev1.Container {
		c := corev1.Container{
			Name: name, Image: "registry.example.com/team/" + name + ":1.2.3", Args: []string{"--one", "--two=three", "--four"},
			Ports:           []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
			LivenessProbe:   &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz"}}},
			SecurityContext: &corev1.SecurityContext{}, TerminationMessagePath: "/dev/termination-log",
		}
		c.LivenessProbe.HTTPGet.Port.StrVal, c.LivenessProbe.HTTPGet.Port.Type = "http", 1
		for e := range 8 {
			c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprintf("VARIABLE_%d", e), Value: fmt.Sprintf("some value of number %d", e)})
			c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: fmt.Sprintf("volume-%d", e), MountPath: fmt.Sprintf("/var/lib/volume-%d", e)})
		}
		return c
	}
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: fmt.Sprintf("service-%d-7f4c9d9b5c-%05d", i/2, i), Namespace: fmt.Sprintf("team-%d", i/2%50), UID: types.UID(fmt.Sprintf("b1c0b7d4-0000-4000-8000-%012d", i)),
		ResourceVersion: fmt.Sprint(i), Labels: map[string]string{
			"app": fmt.Sprintf("service-%d", i/2), "version": "v1", "app.kubernetes.io/name": "service", "pod-template-hash": "7f4c9d9b5c",
		},
		Annotations:     map[string]string{"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z", "sidecar.istio.io/status": "injected-version-1"},
		OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", Name: fmt.Sprintf("service-%d-7f4c9d9b5c", i/2), UID: "u"}},
		ManagedFields: []metav1.ManagedFieldsEntry{
			{Manager: "kube-controller-manager", FieldsV1: &metav1.FieldsV1{Raw: make([]byte, 1800)}},
			{Manager: "kubelet", FieldsV1: &metav1.FieldsV1{Raw: make([]byte, 2200)}},
		},
	}}
	p.Spec.ServiceAccountName, p.Spec.NodeName = fmt.Sprintf("service-%d", i/2), fmt.Sprintf("node-%d", i%100)
	p.Spec.InitContainers = []corev1.Container{container(mesh.CaptureContainer), container(mesh.ProxyContainer)}
	p.Spec.Containers = []corev1.Container{container("app")}
	for v := range 8 {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: fmt.Sprintf("volume-%d", v)})
	}
	address := fmt.Sprintf("10.%d.%d.%d", 100+i>>16, i>>8&255, i&255)
	p.Status = corev1.PodStatus{PodIP: address, PodIPs: []corev1.PodIP{{IP: address}}, Phase: corev1.PodRunning}
	for c := range 5 {
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.PodConditionType(fmt.Sprintf("Condition%d", c))})
	}
	return p
}

func sliceAsStored(i int) *discoveryv1.EndpointSlice {
	pods := []*corev1.Pod{podAsStored(2 * i), podAsStored(2*i + 1)}
	name, port, ready := "http", int32(8080), true
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("service-%d-abcde", i), Namespace: fmt.Sprintf("team-%d", i%50), Labels: map[string]string{
				discoveryv1.LabelServiceName: fmt.Sprintf("service-%d", i), discoveryv1.LabelManagedBy: "endpointslice-controller.k8s.io",
			},
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kube-controller-manager", FieldsV1: &metav1.FieldsV1{Raw: make([]byte, 900)}}},
		},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &port}},
	}
	for _, p := range pods {
		zone, node := "west-a", p.Spec.NodeName
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{p.Status.PodIP}, Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &ready},
			NodeName: &node, Zone: &zone, TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: p.Namespace, Name: p.Name, UID: p.UID},
		})
	}
	return s
}

func serviceAsStored(i int) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{
		Name: fmt.Sprintf("service-%d", i), Namespace: fmt.Sprintf("team-%d", i%50), Labels: map[string]string{"app": "a", "team": "b"},
		Annotations:   map[string]string{"kubectl.kubernetes.io/last-applied-configuration": string(make([]byte, 600))},
		ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl", FieldsV1: &metav1.FieldsV1{Raw: make([]byte, 700)}}},
	}}
	s.Spec.ClusterIPs, s.Spec.Selector = []string{fmt.Sprintf("10.96.%d.%d", i>>8, i&255)}, map[string]string{"app": s.Name}
	s.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP}}
	return s
}

// heapOf returns how many bytes what f makes takes for each of the objects.
func heapOf(f func() any) int {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.GC() // what is interned goes with the second
	runtime.ReadMemStats(&before)
	kept := f()
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(kept)
	return int(after.HeapAlloc-before.HeapAlloc) / measured //nolint:gosec // small
}

func all[T any](of func(int) T) func() any {
	return func() any {
		list := make([]T, measured)
		for i := range list {
			list[i] = of(i)
		}
		return list
	}
}

// TestBytesPerObject bounds what is kept of an object, with that of what the API server sends for comparison.
func TestBytesPerObject(t *testing.T) {
	for what, c := range map[string]struct {
		whole, kept func() any
		most        int
	}{
		"pod":           {all(podAsStored), all(func(i int) *pod { return slimPod(podAsStored(i)) }), 1000},
		"endpointslice": {all(sliceAsStored), all(func(i int) *slice { return slimSlice(sliceAsStored(i)) }), 1000},
		"service":       {all(serviceAsStored), all(func(i int) *service { return slimService(serviceAsStored(i)) }), 400},
	} {
		whole, kept := heapOf(c.whole), heapOf(c.kept)
		t.Logf("%s: %d bytes kept of %d", what, kept, whole)
		if kept > c.most || kept*3 > whole {
			t.Errorf("%s: %d bytes are kept of %d, want at most %d", what, kept, whole, c.most)
		}
	}
}

// TestBytesPerModel bounds what a pod costs in all, with its half of a service and what is said of it to the store.
func TestBytesPerModel(t *testing.T) {
	bytes := heapOf(func() any {
		m := newModel(testRealm)
		for i := range measured {
			m.putAny(t, podAsStored(i))
			if i%2 == 0 {
				m.putAny(t, sliceAsStored(i/2))
				m.putAny(t, serviceAsStored(i/2))
			}
		}
		m.edit()
		return m
	})
	t.Logf("%d bytes for a pod", bytes)
	if bytes > 6000 {
		t.Errorf("%d bytes for a pod, want at most 6000", bytes)
	}
}
