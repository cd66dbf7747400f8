package meshtest_test

import (
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/plan"
)

// A copy of somebody's key and certificate is of no use at another address than theirs, neither where callers speak first nor
// where servers do, and what was tried with it is not said to be theirs. From their own address it is theirs, which shows
// that the copy is good.
func TestCopiedCertificateHoldsNowhereElse(t *testing.T) {
	t.Parallel()
	m := meshtest.New(t)
	fort := newFortress(t, m)
	victim := m.StartSpec(meshtest.Spec{Service: "victim", Version: "v1", Account: "victim", Ports: []meshtest.SpecPort{
		{Name: "http", Number: meshtest.ServicePort, App: meshtest.Named("victim")},
	}})
	thief := m.Caller("thief", nil)
	copied, _ := takenFrom(t, victim)
	config := showing(&copied, proxyALPN, "http/1.1")
	say := map[int]string{meshtest.ServicePort: asked("/"), bytesPort: "let me in\n"}
	for _, policy := range []func(*mesh.Settings){permissive, strict} {
		m.Set(policy)
		for _, port := range []int{meshtest.ServicePort, bytesPort} {
			before, requests := fort.conns.Load(), fort.requests.Load()
			if answer, err := heard(t, thief.Address, at(fort.Instance, port), config, say[port]); answer != "" {
				t.Errorf("port %d: the thief gets %q, %v", port, answer, err)
			}
			if port == bytesPort { // the server speaks first
				if answer, err := heard(t, thief.Address, at(fort.Instance, port), config, ""); answer != "" {
					t.Errorf("port %d: the thief, who says nothing, gets %q, %v", port, answer, err)
				}
			}
			if conns, n := fort.conns.Load()-before, fort.requests.Load()-requests; conns != 0 || n != 0 {
				t.Errorf("port %d: the application got %d connections and %d requests of the thief", port, conns, n)
			}
			answer, err := heard(t, victim.Address, at(fort.Instance, port), config, say[port])
			if !strings.Contains(answer, "inside /") && answer != welcome {
				t.Errorf("port %d: the victim gets %q, %v", port, answer, err)
			}
		}
	}
	theft := map[string]any{
		"source": thief.Address, "rule": plan.AnotherAddress, "peer": idOf("victim"), "tls": "TLSv1.3",
		"details": "given_to_" + string(victim.ID()) + "_at_" + victim.Address,
	}
	meshtest.Await(t, "six thefts in the log", func() bool { return len(entries(t, fort.Instance, theft)) == 6 })
	if all := entries(t, fort.Instance, map[string]any{"source": thief.Address}); len(all) != 6 {
		t.Errorf("of the thief there are %d entries: %v", len(all), all)
	}
	meshtest.Await(t, "what the victim did", func() bool {
		return len(entries(t, fort.Instance, map[string]any{"source": string(victim.ID()), "peer": idOf("victim"), "rule": "inbound"})) == 4
	})
	if all := entries(t, fort.Instance, map[string]any{"source": string(victim.ID())}); len(all) != 4 {
		t.Errorf("of the victim there are %d entries: %v", len(all), all)
	}
}
