package kube

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Who selects whom is found as by comparing each service with each pod, whatever comes and goes.
func TestSelectorsFindAll(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // no secret
	services, pods, s := map[name]*service{}, map[name]*pod{}, newSelectors()
	at := func(what string) name {
		return name{fmt.Sprint("ns", random.IntN(2)), fmt.Sprint(what, random.IntN(12))}
	}
	labels := func() map[string]string {
		all := map[string]string{}
		for range random.IntN(4) {
			all[fmt.Sprint("key", random.IntN(3))] = fmt.Sprint("v", random.IntN(2))
		}
		return all
	}
	found := 0
	for range 3000 {
		if n := at("svc"); random.IntN(2) == 0 {
			before := services[n]
			if delete(services, n); random.IntN(3) > 0 {
				svc := &service{}
				for key, value := range labels() {
					svc.selector = append(svc.selector, label{key, value})
				}
				if random.IntN(8) == 0 {
					svc.external = "example.com"
				}
				services[n] = svc
			}
			if before != nil || services[n] != nil {
				s.serviceChanged(n, services[n])
			}
		} else {
			n := at("pod")
			before := pods[n]
			if delete(pods, n); random.IntN(3) > 0 {
				pods[n] = &pod{labels: labels(), proxy: random.IntN(4) > 0}
			}
			s.podChanged(n, before, pods[n])
		}
		var want, got []string
		for at, svc := range services {
			for n, p := range pods {
				if at.namespace == n.namespace && p.proxy && svc.selects(p) {
					want = append(want, at.String()+" "+n.String())
				}
			}
			for _, n := range s.podsOf(at.namespace, svc, pods) {
				got = append(got, at.String()+" "+n.String())
			}
		}
		var back []string
		for n, p := range pods {
			for _, at := range s.servicesOf(n.namespace, p, services) {
				back = append(back, at.String()+" "+n.String())
			}
		}
		for _, all := range [][]string{want, got, back} {
			slices.Sort(all)
		}
		if found += len(want); !slices.Equal(want, got) || !slices.Equal(want, back) {
			t.Fatalf("selected are\n%v, found from services\n%v, from pods\n%v", want, got, back)
		}
	}
	if found < 3000 {
		t.Errorf("only %d were to be found", found)
	}
	for n := range services {
		s.serviceChanged(n, nil)
	}
	for n, p := range pods {
		s.podChanged(n, p, nil)
	}
	if len(s.pods)+len(s.services)+len(s.chosen) > 0 {
		t.Errorf("left: %d, %d, %d", len(s.pods), len(s.services), len(s.chosen))
	}
}

// TestSelectorsCost counts selectors that are compared with pods, in one namespace with as many services as pods, all of which have a
// label in common: not each with each, neither when all come nor when one changes.
func TestSelectorsCost(t *testing.T) {
	t.Parallel()
	const many = 500
	pod := func(i int, version string) *corev1.Pod {
		o := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: fmt.Sprint("pod", i), UID: "u", Labels: map[string]string{"a-team": "a", "app": fmt.Sprint("app", i), "version": version},
		}}
		o.Spec.Containers = []corev1.Container{{Name: mesh.ProxyContainer}}
		o.Status.PodIPs = []corev1.PodIP{{IP: fmt.Sprintf("10.244.%d.%d", i>>8, i&255)}}
		return o
	}
	service := func(i int, port int32) *corev1.Service {
		o := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprint("svc", i)}}
		o.Spec.ClusterIPs, o.Spec.Ports = []string{fmt.Sprintf("10.96.%d.%d", i>>8, i&255)}, []corev1.ServicePort{{Name: "http", Port: port}}
		o.Spec.Selector = map[string]string{"a-team": "a", "app": fmt.Sprint("app", i)}
		return o
	}
	for _, podsFirst := range []bool{false, true} {
		m := newModel(testRealm)
		step := func(what string, most int, change func()) {
			t.Helper()
			before := m.selectors.compared
			change()
			m.edit()
			if n := m.selectors.compared - before; n > most || n == 0 {
				t.Errorf("pods first %t, %s: %d selectors are compared with pods, want at most %d", podsFirst, what, n, most)
			}
		}
		step("all come", 4*many, func() {
			for i := range many {
				if podsFirst {
					m.putAny(t, pod(i, "v1"))
				} else {
					m.putAny(t, service(i, 80))
				}
			}
			m.edit()
			for i := range many {
				if podsFirst {
					m.putAny(t, service(i, 80))
				} else {
					m.putAny(t, pod(i, "v1"))
				}
			}
		})
		step("a pod has another label", 2, func() { m.putAny(t, pod(7, "v2")) })
		step("a service has another port", 4, func() { m.putAny(t, service(8, 81)) })
	}
}
