package meshtest_test

import (
	"fmt"
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/netns"
)

// The agent's ports of a pod come past its proxy: captured callers get there in plain text, by the pod's address and by a service's,
// whatever a policy says.
func TestCapturedCallsAgents(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		m := meshtest.NewCaptured(t, meshtest.Config{})
		shop := m.StartSpec(meshtest.Spec{Service: "shop", Version: "v1", Capture: true, Ports: []meshtest.SpecPort{
			{Name: "http", Number: 9080, App: mirrored("shop")}, {Name: "http-metrics", Number: mesh.AgentMetricsPort, App: mirrored("metrics")},
		}})
		m.Serve(shop.Pod().Listen(fmt.Sprintf(":%d", mesh.AgentHealthPort)), mirrored("health")(nil))
		collector := m.CapturedCaller("collector", nil)
		for _, policy := range []mesh.AuthPolicy{mesh.AuthPermissive, mesh.AuthMutualTLS} {
			m.Set(func(s *mesh.Settings) { s.AuthPolicy = policy })
			for from, i := range map[string]*meshtest.Instance{"another pod": collector, "the pod itself": shop} {
				for at, name := range map[string]string{
					fmt.Sprintf("%s:%d", shop.Address, mesh.AgentMetricsPort):             "metrics",
					fmt.Sprintf("%s:%d", shop.Address, mesh.AgentHealthPort):              "health",
					fmt.Sprintf("%s:%d", m.ServiceAddress("shop"), mesh.AgentMetricsPort): "metrics",
				} {
					if status, body, _ := sendOut(t, i, "GET", "http://"+at+"/", ""); status != 200 || body != name+" "+at+" " {
						t.Errorf("%s: %s from %s: %d %q", policy, at, from, status, body)
					}
				}
			}
			if status, body, _ := sendOut(t, collector, "GET", "http://shop:9080/", ""); status != 200 {
				t.Errorf("%s: the application: %d %q", policy, status, body)
			}
		}
	})
}
