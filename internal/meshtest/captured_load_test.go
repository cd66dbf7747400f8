package meshtest_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/netns"
)

const toPod = "to a pod"

// newCapturedTransitions is a mesh of pods under load, by the address of a service and by that of a pod.
func newCapturedTransitions(t *testing.T) *transitions {
	t.Helper()
	m := meshtest.NewCaptured(t, meshtest.Config{})
	for _, v := range []string{"v1", "v2"} {
		m.Start("reviews", v, meshtest.Named(v))
	}
	m.Start("elsewhere", "v1", meshtest.Named("elsewhere"))
	pod := m.Start("pod", "v1", meshtest.Named("pod"))
	caller := m.Start("caller", "v1", meshtest.Named("caller"))
	m.Apply(rule("all", "route: [{labels: {version: v1}}]"))
	x := &transitions{T: t, mesh: m, caller: caller, loads: map[string]*meshtest.Load{
		throughProxy: meshtest.StartLoad(t, caller, reviews),
		toPod:        meshtest.StartLoad(t, caller, fmt.Sprintf("http://%s:%d/", pod.Address, meshtest.ServicePort)),
	}}
	x.loads[toPod].Expect("always", "pod")
	x.while("start", func() {}, captured("v1"))
	return x
}

// captured says which answers are right by the address of the service. Those to a pod are its own.
func captured(answers ...string) map[string][]string {
	return map[string][]string{throughProxy: answers, toPod: {"pod"}}
}

// Whatever changes in a mesh of captured pods under load, no request fails and none is answered by the wrong version.
func TestLoadCaptured(t *testing.T) {
	netns.Run(t, func(t *testing.T) {
		rounds := 1
		if meshtest.FullLoad() {
			rounds = 10
		}
		x := newCapturedTransitions(t)
		x.everywhereElse = captured
		for round := range rounds {
			x.subsets(round)
			x.policies()
			x.moves(round)
			x.capturedPorts()
			x.capturedAbsences(round)
			x.capturedModes()
		}
		for name, l := range x.loads {
			l.Stop(name)
		}
	})
}

// capturedPorts makes the port speak other protocols. What is sent to it goes on, whatever it is said to speak.
func (x *transitions) capturedPorts() {
	x.Helper()
	for _, name := range []string{"http2", "http", "tcp", "http", "grpc", "http"} {
		x.to("the port is named "+name, x.service("reviews", speaks(name)), "v1")
	}
}

// capturedAbsences removes the service, which is answered at once, and adds it again, at its address and at others.
func (x *transitions) capturedAbsences(round int) {
	x.Helper()
	host := meshtest.HostOf("reviews")
	var services []*mesh.Service
	x.while("the service is gone", func() {
		x.mesh.Edit(func(r *mesh.Registry) {
			services = r.Services
			r.Services = slices.DeleteFunc(slices.Clone(r.Services), func(s *mesh.Service) bool { return s.Host == host })
		})
	}, captured(meshtest.Status(http.StatusNotFound)))
	x.to("the service is back", func() { x.mesh.Edit(func(r *mesh.Registry) { r.Services = services }) }, "v1")
	more := fmt.Sprintf("10.96.9.%d", 1+round)
	x.to("it has one more address", x.service("reviews", func(s *mesh.Service, _ *mesh.EndpointSet) {
		s.Addresses = append(slices.Clone(s.Addresses), more)
	}), "v1")
	wantBody(x.T, x.caller, "http://"+more+":9080/", "v1")
	x.to("and no longer", x.service("reviews", func(s *mesh.Service, _ *mesh.EndpointSet) {
		s.Addresses = s.Addresses[:1]
	}), "v1")
}

// capturedModes changes how callers prove who they are, and restarts the control plane.
func (x *transitions) capturedModes() {
	x.Helper()
	for _, policy := range []mesh.AuthPolicy{mesh.AuthNone, mesh.AuthMutualTLS, mesh.AuthPermissive} {
		x.to(string(policy), func() { x.mesh.Set(func(s *mesh.Settings) { s.AuthPolicy = policy }) }, "v1")
	}
	x.to("another control plane", x.mesh.Restart, "v1")
}
