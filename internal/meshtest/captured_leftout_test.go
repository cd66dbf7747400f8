package meshtest_test

import (
	"fmt"
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/netns"
)

// Connections to ports of a pod that are left out of capture come past its proxy: captured callers, the pod itself and strangers get
// there in plain text, by the pod's address and by a service's, whatever a policy says; its other ports are as they were.
func TestCapturedLeftOut(t *testing.T) {
	t.Parallel()
	for name, inbound := range map[string]*mesh.Inbound{
		"left out":  {Keep: []uint16{9090, 9099, 9999}},
		"not named": {Take: []uint16{9080}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			netns.Run(t, func(t *testing.T) { leftOut(t, inbound) })
		})
	}
}

func leftOut(t *testing.T, inbound *mesh.Inbound) {
	t.Helper()
	m := meshtest.NewCaptured(t, meshtest.Config{})
	shop := m.StartSpec(meshtest.Spec{Service: "shop", Version: "v1", Capture: true, Inbound: inbound, Ports: []meshtest.SpecPort{
		{Name: "http", Number: 9080, App: mirrored("taken")}, {Name: "http-past", Number: 9090, App: mirrored("past")}, {Name: "tcp-past", Number: 9099},
	}})
	sayWhoCalls(shop.Pod().Listen(":9099"), "bytes")
	sayWhoCalls(shop.Pod().Listen(":9999"), "unnamed")
	caller, stranger := m.CapturedCaller("caller", nil), m.Network().Pod("stranger")
	place := func(port int) string { return fmt.Sprintf("%s:%d", shop.Address, port) }
	service := func(port int) string { return fmt.Sprintf("%s:%d", m.ServiceAddress("shop"), port) }
	for _, policy := range []mesh.AuthPolicy{mesh.AuthPermissive, mesh.AuthMutualTLS, mesh.AuthNone} {
		m.Set(func(s *mesh.Settings) { s.AuthPolicy = policy })
		for from, i := range map[string]*meshtest.Instance{"another pod": caller, "the pod itself": shop} {
			for at, name := range map[string]string{place(9090): "past", service(9090): "past", place(9080): "taken", service(9080): "taken"} {
				if status, body, _ := sendOut(t, i, "GET", "http://"+at+"/", ""); status != 200 || body != name+" "+at+" " {
					t.Errorf("%s: %s from %s: %d %q", policy, at, from, status, body)
				}
			}
			for at, name := range map[string]string{place(9099): "bytes", service(9099): "bytes", place(9999): "unnamed"} {
				if line, want := dialLine(t, i.Pod(), at, ""), name+" to "+i.Address; line != want {
					t.Errorf("%s: %s from %s: %q, want %q", policy, at, from, line, want)
				}
			}
		}
		if status := plainStatus(stranger, "http://"+place(9090)); status != 200 {
			t.Errorf("%s: a stranger at a port that is left out: %d", policy, status)
		}
		if status := plainStatus(stranger, "http://"+place(9080)); (status == 200) != (policy != mesh.AuthMutualTLS) {
			t.Errorf("%s: a stranger at a port that is taken: %d", policy, status)
		}
	}
}
