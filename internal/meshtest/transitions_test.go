package meshtest_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
)

// transitions is a mesh under load on every way to one service, which every change of the mesh meets.
type transitions struct {
	*testing.T
	mesh    *meshtest.Mesh
	caller  *meshtest.Instance // through whose proxy the load goes
	dialler *meshtest.Instance // that has the local address
	loads   map[string]*meshtest.Load
	now     map[string][]string // the answers that are right
	// everywhereElse says which answers are right on each way where not the same ones are on all; nil: they are.
	everywhereElse func(answers ...string) map[string][]string
}

const (
	throughProxy = "through the proxy"
	byAddress    = "by a local address"
	throughDoor  = "through the ingress"
)

func newTransitions(t *testing.T) *transitions {
	t.Helper()
	m := meshtest.New(t)
	for _, v := range []string{"v1", "v2"} {
		m.Start("reviews", v, meshtest.Named(v))
	}
	m.Start("elsewhere", "v1", meshtest.Named("elsewhere"))
	dialler := m.StartSpec(meshtest.Spec{
		Service: "dialler", Version: "v1", Ports: []meshtest.SpecPort{{Name: "http", Number: 9080, App: meshtest.Named("dialler")}},
		Upstreams: []mesh.Upstream{{Host: meshtest.HostOf("reviews"), Port: meshtest.ServicePort}},
	})
	m.Apply(reviewsDoor)
	caller, door := m.Start("caller", "v1", meshtest.Named("caller")), m.Door()
	m.Apply(rule("all", "route: [{labels: {version: v1}}]"))
	x := &transitions{T: t, mesh: m, caller: caller, dialler: dialler, loads: map[string]*meshtest.Load{
		throughProxy: meshtest.StartLoad(t, caller, reviews),
		byAddress:    meshtest.StartLoadWith(t, direct, "http://"+dialler.Upstream("reviews", meshtest.ServicePort)+"/"),
		throughDoor:  meshtest.StartLoad(t, door, "http://door/"),
	}}
	x.while("start", func() {}, x.everywhere("v1"))
	return x
}

// direct is a client that knows no proxy.
func direct() *http.Client { return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}} }

// everywhere says that the same answers are right on every way.
func (x *transitions) everywhere(answers ...string) map[string][]string {
	if x.everywhereElse != nil {
		return x.everywhereElse(answers...)
	}
	ways := map[string][]string{}
	for name := range x.loads {
		ways[name] = answers
	}
	return ways
}

// to makes a change after which the same answers are right on every way.
func (x *transitions) to(phase string, change func(), after ...string) {
	x.Helper()
	x.while(phase, change, x.everywhere(after...))
}

// while makes a change. On its way the answers that were right before and those that will be are right; when it is said to be
// in force, only the latter.
func (x *transitions) while(phase string, change func(), after map[string][]string) {
	x.Helper()
	for name, l := range x.loads {
		l.Expect(phase+", on its way", slices.Concat(x.now[name], after[name])...)
	}
	change()
	x.now = after
	for name, l := range x.loads {
		l.Expect(phase, after[name]...)
	}
	x.loads[throughProxy].More(requestsBetween)
}

func (x *transitions) apply(yaml string, warnings ...string) func() {
	return func() { x.Helper(); x.mesh.Apply(yaml, warnings...) }
}

// service edits a service and its endpoints, of which the edit gets copies.
func (x *transitions) service(name string, edit func(*mesh.Service, *mesh.EndpointSet)) func() {
	return func() {
		x.Helper()
		x.mesh.Edit(func(r *mesh.Registry) {
			for i, s := range r.Services {
				for k, e := range r.Endpoints {
					if s.Name == name && e.Host == s.Host {
						svc, set := *s, *e
						edit(&svc, &set)
						r.Services[i], r.Endpoints[k] = &svc, &set
					}
				}
			}
		})
	}
}

// speaks makes the port of reviews another one: its name tells the protocol, and endpoints name it.
func speaks(portName string) func(*mesh.Service, *mesh.EndpointSet) {
	return func(s *mesh.Service, set *mesh.EndpointSet) {
		s.Ports = []mesh.Port{{Name: portName, Number: meshtest.ServicePort, Protocol: mesh.ProtocolOf(portName)}}
		endpoints := set.Endpoints
		set.Endpoints = nil
		for _, e := range endpoints {
			e.Ports = map[string]int{portName: meshtest.ServicePort}
			set.Endpoints = append(set.Endpoints, e)
		}
	}
}

// Whatever changes in a mesh under load, no request fails and none is answered by the wrong version: each kind of change
// once, and over and over in `make soak`.
func TestLoadTransitions(t *testing.T) {
	rounds := 1
	if meshtest.FullLoad() {
		rounds = 20
	}
	x := newTransitions(t)
	for round := range rounds {
		x.subsets(round)
		x.policies()
		x.moves(round)
		x.protocols()
		x.absences()
	}
	for name, l := range x.loads {
		l.Stop(name)
	}
}

// subsets leads to versions that had no cluster, to one whose instances come later, to shares, and to none.
func (x *transitions) subsets(round int) {
	x.Helper()
	to := func(spec string) func() { return x.apply(rule("all", "precedence: 1, route: "+spec)) }
	x.to("a new subset", to("[{labels: {version: v2}}]"), "v2")
	x.to("weights", to("[{labels: {version: v1}, weight: 30}, {labels: {version: v2}, weight: 70}]"), "v1", "v2")
	x.to("weights shifted", to("[{labels: {version: v1}, weight: 100}, {labels: {version: v2}, weight: 0}]"), "v1")
	x.to("weights shifted back", to("[{labels: {version: v1}, weight: 70}, {labels: {version: v2}, weight: 30}]"), "v1", "v2")
	x.to("one version", to("[{labels: {version: v1}}]"), "v1")

	later := fmt.Sprintf("later-%d", round)
	x.to("a subset without endpoints for some", x.apply(rule("some",
		"precedence: 2, match: {request: {headers: {x-try: {exact: later}}}}, route: [{labels: {version: "+later+"}}]"), "empty-subset"), "v1")
	if status, body := x.caller.Get(reviews, "X-Try", "later"); status != http.StatusServiceUnavailable {
		x.Errorf("a subset without endpoints answers %d %q, want 503", status, body)
	}
	var instance *meshtest.Instance
	x.to("its endpoints come", func() { instance = x.mesh.Start("reviews", later, meshtest.Named(later)) }, "v1")
	wantBody(x.T, x.caller, reviews, later, "X-Try", "later")
	x.to("everything goes there", to("[{labels: {version: "+later+"}}]"), later)
	x.to("the rules are deleted", func() {
		x.mesh.Delete("RouteRule", "some")
		x.mesh.Delete("RouteRule", "all")
	}, "v1", "v2", later)
	x.to("its instance goes", instance.Stop, "v1", "v2")
	x.to("a rule again", to("[{labels: {version: v1}}]"), "v1")
}

// policies change clusters and make clusters of their own for some callers.
func (x *transitions) policies() {
	x.Helper()
	for _, spec := range []string{"name: RANDOM", "name: LEAST_CONN", "name: ROUND_ROBIN"} {
		x.to("load balancing "+spec, x.apply(policy("lb", "loadBalancing: {"+spec+"}")), "v1")
	}
	x.to("a policy for some callers", x.apply(policy("own", "source: {name: caller}, loadBalancing: {name: RANDOM}")), "v1")
	x.to("another one for them", x.apply(policy("own", "source: {name: caller}, circuitBreaker: {simpleCb: {maxConnections: 500}}")), "v1")
	x.to("the policies are deleted", func() {
		x.mesh.Delete("DestinationPolicy", "own")
		x.mesh.Delete("DestinationPolicy", "lb")
	}, "v1")
	x.to("timeouts of connections", func() { x.mesh.Set(func(s *mesh.Settings) { s.ConnectTimeout *= 2 }) }, "v1")
	x.to("timeouts as they were", func() { x.mesh.Set(func(s *mesh.Settings) { s.ConnectTimeout /= 2 }) }, "v1")
	x.to("a timeout of requests", x.apply(rule("all", "route: [{labels: {version: v1}}], httpReqTimeout: {simpleTimeout: {timeout: 9s}}")), "v1")
}

// moves gives a host wholly other addresses and back, and sends its requests to another service.
func (x *transitions) moves(round int) {
	x.Helper()
	x.to("no rule", func() { x.mesh.Delete("RouteRule", "all") }, "v1", "v2")
	moved := fmt.Sprintf("moved-%d", round)
	other := x.mesh.Start(moved, "v1", meshtest.Named(moved))
	var before []mesh.Endpoint
	x.to("all endpoints have moved", x.service("reviews", func(_ *mesh.Service, set *mesh.EndpointSet) {
		before = set.Endpoints
		set.Endpoints = []mesh.Endpoint{{
			Address: other.Address, Ports: map[string]int{"http": meshtest.ServicePort}, Labels: mesh.Labels{"version": "v1"},
			Workload: other.Name, Health: mesh.Healthy,
		}}
	}), moved)
	x.to("all endpoints are back", x.service("reviews", func(_ *mesh.Service, set *mesh.EndpointSet) {
		set.Endpoints = before
	}), "v1", "v2")
	x.to("its requests go to another host", x.apply(rule("all", "route: [{destination: {name: elsewhere}}]")), "elsewhere")
	x.to("it loses its endpoints", x.service("reviews", func(_ *mesh.Service, set *mesh.EndpointSet) {
		set.Endpoints = nil
	}), "elsewhere")
	x.to("it has them again", x.service("reviews", func(_ *mesh.Service, set *mesh.EndpointSet) {
		set.Endpoints = before
	}), "elsewhere")
	x.to("its requests come back", x.apply(rule("all", "route: [{labels: {version: v1}}]")), "v1")
	other.Stop()
}

// protocols makes the port speak another protocol.
func (x *transitions) protocols() {
	x.Helper()
	x.to("http2", x.service("reviews", speaks("http2")), "v1")
	x.to("http", x.service("reviews", speaks("http")), "v1")
	x.to("grpc", x.service("reviews", speaks("grpc")), "v1")
	x.to("http again", x.service("reviews", speaks("http")), "v1")

	x.while("bytes", x.service("reviews", speaks("tcp")), map[string][]string{
		throughProxy: {meshtest.Status(http.StatusBadGateway)}, byAddress: {"v1"}, throughDoor: {meshtest.Status(http.StatusServiceUnavailable)},
	})
	x.to("requests again", x.service("reviews", speaks("http")), "v1")
	x.noMoreBytes()
}

// noMoreBytes has clients leave the connections that the local address took for bytes: each leads to one version, whatever
// rules say, as long as it is open.
func (x *transitions) noMoreBytes() {
	x.Helper()
	x.loads[byAddress].Reconnect()
}

// absences removes the service and adds it again, before the clusters are dropped and after it. While it is gone the
// requests are told so; when it is back they are answered at once. A local address speaks bytes meanwhile.
func (x *transitions) absences() {
	x.Helper()
	reviews := meshtest.HostOf("reviews")
	var services []*mesh.Service
	var endpoints []*mesh.EndpointSet
	remove := func(r *mesh.Registry) {
		services, endpoints = slices.Clone(r.Services), slices.Clone(r.Endpoints)
		r.Services = slices.DeleteFunc(r.Services, func(s *mesh.Service) bool { return s.Host == reviews })
		r.Endpoints = slices.DeleteFunc(r.Endpoints, func(e *mesh.EndpointSet) bool { return e.Host == reviews })
	}
	for _, long := range []bool{false, true} {
		x.while("the service is gone", func() { x.mesh.Edit(remove) }, map[string][]string{
			throughProxy: {meshtest.Status(http.StatusBadGateway)},
			byAddress:    {meshtest.Status(0), meshtest.Status(http.StatusServiceUnavailable)},
			throughDoor:  {meshtest.Status(http.StatusServiceUnavailable)},
		})
		if long {
			meshtest.Await(x.T, "the end of the cluster", func() bool { return !holds(x.caller, "|reviews.") })
		}
		x.to("the service is back", func() {
			x.mesh.Edit(func(r *mesh.Registry) { r.Services, r.Endpoints = services, endpoints })
		}, "v1")
		x.noMoreBytes()
	}
}
