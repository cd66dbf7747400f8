package bench

import (
	"fmt"
	"strings"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/serve"
)

// world is what a mesh of a given size consists of. Every proxy belongs to a workload with an account and labels of
// its own, so no two share a scope, and calls some of the hosts; nobody says which but the proxy itself. Every tenth
// service has a rule that divides its requests between two versions.
type world struct {
	shape
	registry mesh.Registry
	moves    int // endpoints that were moved so far
}

// shape says how large a mesh is, and so who calls whom.
type shape struct{ proxies, services, uses int }

const (
	port       = 9080
	namespaces = 50
	ruledEvery = 10
)

func newWorld(proxies, services, uses int) *world {
	w := &world{shape: shape{proxies, services, min(uses, services)}}
	for i := range services {
		w.add(i)
	}
	for i := range proxies {
		w.registry.Workloads = append(w.registry.Workloads, w.workload(i))
	}
	return w
}

// add adds a service with two endpoints, and returns what it adds.
func (w *world) add(i int) mesh.RegistryEdit {
	s := &mesh.Service{
		Host: hostAt(i), Name: fmt.Sprintf("svc-%04d", i), Namespace: namespaceAt(i),
		Ports: []mesh.Port{{Name: "http", Number: port, Protocol: mesh.HTTP}},
	}
	set := &mesh.EndpointSet{Host: s.Host}
	for version := 1; version <= 2; version++ {
		set.Endpoints = append(set.Endpoints, mesh.Endpoint{
			Address: fmt.Sprintf("10.%d.%d.%d", version, i/250, 1+i%250), Ports: map[string]int{"http": port},
			Labels:   mesh.Labels{"app": s.Name, "version": fmt.Sprintf("v%d", version)},
			Workload: fmt.Sprintf("%s-v%d-0", s.Name, version), Account: s.Name, Health: mesh.Healthy,
		})
	}
	w.registry.Services = append(w.registry.Services, s)
	w.registry.Endpoints = append(w.registry.Endpoints, set)
	return mesh.RegistryEdit{Services: []*mesh.Service{s}, Endpoints: []*mesh.EndpointSet{set}}
}

func hostAt(i int) mesh.Host {
	return mesh.ServiceHost(fmt.Sprintf("svc-%04d", i), namespaceAt(i), serve.Domain)
}

func namespaceAt(i int) string { return fmt.Sprintf("ns-%02d", i%namespaces) }

// spelling is how workloads call a host.
func spelling(i int) string { return fmt.Sprintf("%s:%d", hostAt(i), port) }

// endpointsAt names the endpoints of a service without a rule.
func endpointsAt(i int) string { return mesh.Subset{Host: hostAt(i), Port: port}.String() }

func (w *world) workload(i int) *mesh.Workload {
	name := fmt.Sprintf("app-%04d", i)
	return &mesh.Workload{
		Name: name + "-v1-0", Namespace: namespaceAt(i), Type: mesh.Sidecar, Account: name,
		Labels:  mesh.Labels{"app": name, "version": "v1"},
		Address: fmt.Sprintf("10.9.%d.%d", i/250, 1+i%250), Outbound: 15001, Running: true,
		Serves: []mesh.Serving{{
			Host: hostAt(i % w.services), Port: port, Protocol: mesh.HTTP, Listen: port, Target: "127.0.0.1:8080",
		}},
	}
}

// node is what proxy i says that it is.
func (w *world) node(i int) string {
	p := w.registry.Workloads[i]
	return mesh.Node{Type: p.Type, Address: p.Address, Name: p.Name, Namespace: p.Namespace, Domain: serve.Domain}.String()
}

// members returns the proxies, none of which is captured.
func (w *world) members() []member {
	var all []member
	for i := range w.proxies {
		all = append(all, member{node: w.node(i), calls: w.targets(i)})
	}
	return all
}

// targets returns what proxy i calls.
func (w *world) targets(i int) []target {
	var list []target
	for _, h := range w.hosts(i) {
		list = append(list, spelled(spelling(h)))
	}
	return list
}

// hosts returns the services that proxy i calls.
func (w shape) hosts(i int) []int {
	list := make([]int, w.uses)
	for k := range list {
		list[k] = (i*w.uses + k) % w.services
	}
	return list
}

// used returns the services that some proxy calls, with a rule or without.
func (w shape) used(ruled bool) []int {
	var list []int
	for i := range min(w.services, w.proxies*w.uses) {
		if (i%ruledEvery == 0) == ruled {
			list = append(list, i)
		}
	}
	return list
}

// callers returns how many proxies call service i.
func (w shape) callers(i int) int {
	n := 0
	for p := range w.proxies {
		if (i-p*w.uses%w.services+w.services)%w.services < w.uses {
			n++
		}
	}
	return n
}

// move gives the first endpoint of service i another address, and returns what it changes.
func (w *world) move(i int) mesh.RegistryEdit {
	w.moves++
	before := w.registry.Endpoints[i]
	set := &mesh.EndpointSet{Host: before.Host, Endpoints: append([]mesh.Endpoint{}, before.Endpoints...)}
	set.Endpoints[0].Address = fmt.Sprintf("10.%d.%d.%d", 10+w.moves/62500%200, w.moves/250%250, 1+w.moves%250)
	w.registry.Endpoints[i] = set
	return mesh.RegistryEdit{Endpoints: []*mesh.EndpointSet{set}}
}

// rule returns the rule of service i, with a given share for its first version.
func rule(i, share int) string {
	return fmt.Sprintf(`apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata: {name: svc-%04d, namespace: %s}
spec:
  destination: {name: svc-%04d}
  precedence: 1
  route:
  - {labels: {version: v1}, weight: %d}
  - {labels: {version: v2}, weight: %d}
`, i, namespaceAt(i), i, share, 100-share)
}

// rules returns the rules of all services that have one.
func (w *world) rules() string {
	var list []string
	for i := 0; i < w.services; i += ruledEvery {
		list = append(list, rule(i, 90))
	}
	return strings.Join(list, "---\n")
}
