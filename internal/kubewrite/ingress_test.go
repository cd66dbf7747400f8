package kubewrite_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/testkit"
)

// The leader writes the addresses of the load balancer into the Ingress objects that are for the ingress, takes them away where they are
// not any more, and fights with nobody.
func TestIngressStatus(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	ns := c.server.Namespace(t)
	ingress := func(name, class string) string {
		return fmt.Sprintf("{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: %s}, spec: {ingressClassName: %s, defaultBackend: {service: {name: a, port: {number: 80}}}}}\n---\n", name, class)
	}
	c.server.Kubectl(t, ingress("ours", "lateen")+ingress("theirs", "nginx")+ingress("moved", "lateen"), "create", "-n", ns, "-f", "-")
	c.server.Kubectl(t, "{apiVersion: v1, kind: Service, metadata: {name: lateen-ingress, namespace: lateen-system}, spec: {type: LoadBalancer, ports: [{port: 80}]}}", "create", "-f", "-")
	status := func(name string) string {
		t.Helper()
		o, err := c.admin.NetworkingV1().Ingresses(ns).Get(t.Context(), name, metav1.GetOptions{})
		must(t, err)
		var all []string
		for _, a := range o.Status.LoadBalancer.Ingress {
			all = append(all, a.IP+a.Hostname)
		}
		return strings.Join(all, " ")
	}
	is := func(name, want string) {
		t.Helper()
		testkit.Await(t, name+" has the addresses "+want, func() bool { return status(name) == want })
	}
	set := func(manager, name, ip string) {
		t.Helper()
		c.server.Kubectl(t, "", "patch", "ingress", name, "-n", ns, "--subresource=status", "--type=merge", "--field-manager="+manager, "-p",
			fmt.Sprintf(`{"status":{"loadBalancer":{"ingress":[{"ip":%q}]}}}`, ip))
	}
	balance := func(addresses ...corev1.LoadBalancerIngress) {
		t.Helper()
		s, err := c.admin.CoreV1().Services(mesh.SystemNamespace).Get(t.Context(), mesh.IngressName, metav1.GetOptions{})
		must(t, err)
		s.Status.LoadBalancer.Ingress = addresses
		_, err = c.admin.CoreV1().Services(mesh.SystemNamespace).UpdateStatus(t.Context(), s, metav1.UpdateOptions{})
		must(t, err)
	}
	set("nginx", "theirs", "192.0.2.9")
	set("nginx", "moved", "192.0.2.9")
	r := c.replica(t, "a", beat)
	testkit.Await(t, "it leads", r.Leading)
	balance(corev1.LoadBalancerIngress{IP: "192.0.2.1"}, corev1.LoadBalancerIngress{Hostname: "lb.example.com"})
	settings := func(s mesh.IngressSettings) { r.ingress.Store(&s) }
	settings(mesh.IngressSettings{Classes: []string{"lateen"}})
	const both = "192.0.2.1 lb.example.com"
	is("ours", both)
	is("moved", both) // it was written by somebody whose object it was before
	balance(corev1.LoadBalancerIngress{IP: "192.0.2.2"})
	is("ours", "192.0.2.2")
	is("moved", "192.0.2.2")

	// Who writes it again has it.
	set("nginx", "moved", "192.0.2.9")
	is("moved", "192.0.2.2")
	set("nginx", "moved", "192.0.2.9")
	set("somebody", "ours", "192.0.2.8")
	is("ours", "192.0.2.2")
	if got := status("moved"); got != "192.0.2.9" {
		t.Errorf("what somebody has written a second time is %q", got)
	}
	// And it is not tried again with each event of another object.
	next := func(name string) {
		c.server.Kubectl(t, ingress(name, "lateen"), "create", "-n", ns, "-f", "-")
		is(name, "192.0.2.2")
	}
	next("one")
	refused := r.refused.Load()
	next("two")
	next("three")
	if n := r.refused.Load() - refused; n != 0 {
		t.Errorf("what somebody has is tried %d times more", n)
	}
	before := r.status.Load()
	balance(corev1.LoadBalancerIngress{IP: "192.0.2.3"})
	is("ours", "192.0.2.3")
	is("moved", "192.0.2.3")
	if writes := r.status.Load() - before; writes > 11 {
		t.Errorf("%d writes", writes)
	}

	settings(mesh.IngressSettings{Mode: mesh.IngressOff})
	is("ours", "")
	is("moved", "")
	settings(mesh.IngressSettings{Classes: []string{"lateen"}})
	is("ours", "192.0.2.3")
	balance()
	is("ours", "")
	if got := status("theirs"); got != "192.0.2.9" {
		t.Errorf("the status of somebody else's object is %q", got)
	}
}
