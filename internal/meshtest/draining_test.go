package meshtest_test

import (
	"fmt"
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
)

// What is in flight on an instance that is withdrawn is finished, and what is new goes elsewhere: while it drains, when it
// is removed, and also when a source removes it without having said that it drains. A connection with bytes stays.
func TestDraining(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		states []mesh.Health
	}{{"draining, then removed", []mesh.Health{mesh.Draining, ""}}, {"removed", []mesh.Health{""}}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := meshtest.New(t)
			leaves := newHeld(t, "leaves")
			instance := m.StartSpec(meshtest.Spec{Service: "reviews", Version: "v1", Ports: []meshtest.SpecPort{
				{Name: "http", Number: 9080, App: leaves.app()}, {Name: "tcp", Number: 9081, Target: greeter(t, "leaves")},
			}})
			caller := m.StartSpec(meshtest.Spec{
				Service: "caller", Version: "v1", Ports: []meshtest.SpecPort{{Name: "http", Number: 9080, App: meshtest.Named("caller")}},
				Upstreams: []mesh.Upstream{{Host: meshtest.HostOf("reviews"), Port: 9081}},
			})
			_, conn, reader := greeting(t, caller.Upstream("reviews", 9081))
			answer := make(chan string, 1)
			go func() {
				body, err := meshtest.Fetch(t.Context(), caller.Client(), reviews)
				answer <- fmt.Sprint(body, err)
			}()
			meshtest.Await(t, "the request in flight", func() bool { return leaves.has.Load() == 1 })
			m.StartSpec(meshtest.Spec{Service: "reviews", Version: "v1", Ports: []meshtest.SpecPort{
				{Name: "http", Number: 9080, App: meshtest.Named("stays")}, {Name: "tcp", Number: 9081, Target: greeter(t, "stays")},
			}})
			for _, state := range c.states {
				instance.Announce(state)
				if got := only(answersOf(t, caller, 20)); got != "stays" {
					t.Errorf("%q: new requests are answered by %s", state, got)
				}
				if got := only(greetings(t, caller.Upstream("reviews", 9081), 5)); got != "stays" {
					t.Errorf("%q: new connections go to %s", state, got)
				}
			}
			leaves.release()
			if got := <-answer; got != "leaves<nil>" {
				t.Errorf("the request in flight: %s", got)
			}
			fmt.Fprintln(conn, "still here")
			if line, err := reader.ReadString('\n'); line != "still here\n" {
				t.Errorf("the open connection: %q, %v", line, err)
			}
		})
	}
}

// answersOf counts who answers n requests.
func answersOf(t *testing.T, i *meshtest.Instance, n int) map[string]int {
	t.Helper()
	got := map[string]int{}
	for _, who := range answers(t, i, n) {
		got[who]++
	}
	return got
}
