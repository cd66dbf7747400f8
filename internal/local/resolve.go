package local

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// mention is a place in a document where a service is named, which may stand in another document.
type mention struct {
	object   *config.Object
	workload *Workload // that names it; nil: the settings do
	path     string
	variable string // UPSTREAM_…; "": a service that the workload depends on, or is given
	service  string // as written
	pinned   int    // the port of a service that the workload's proxies are given; 0: one that it depends on
}

// resolver finds out what mentions mean, once all services are known.
type resolver struct {
	services  map[mesh.Host]*mesh.Service
	all       []*mesh.Service
	addresses map[string]localAddresses // by namespace of the workload
	wanted    map[*Workload]map[localAddress]bool
	waits     map[*Workload]map[mesh.Host]mention
	problems  []mesh.Problem
}

// resolve tells each workload of m what it depends on and which local addresses it has. A workload about which it
// tells a problem is unsound.
func (m *Mesh) resolve(mentions []mention) []mesh.Problem {
	r := newResolver(m.Services)
	for _, at := range mentions {
		w := at.workload
		if r.wanted[w] == nil {
			r.wanted[w], r.waits[w] = map[localAddress]bool{}, map[mesh.Host]mention{}
		}
		switch {
		case at.variable != "":
			r.variable(at)
		case at.pinned != 0:
			r.pin(at)
		default:
			r.dependency(at)
		}
	}
	for w, ports := range r.wanted {
		w.Upstreams = r.of(w.Namespace).upstreams(ports)
		w.DependsOn = slices.Sorted(maps.Keys(r.waits[w]))
	}
	r.cycles(m.Workloads)
	return r.problems
}

func newResolver(services []*mesh.Service) *resolver {
	r := &resolver{
		services: map[mesh.Host]*mesh.Service{}, all: services, addresses: map[string]localAddresses{},
		wanted: map[*Workload]map[localAddress]bool{}, waits: map[*Workload]map[mesh.Host]mention{},
	}
	for _, s := range services {
		r.services[s.Host] = s
	}
	return r
}

// find returns the service that is meant, or nil.
func (r *resolver) find(at mention) *mesh.Service {
	for _, host := range mesh.Candidates(strings.ToLower(at.service), at.object.Namespace, domain) {
		if s := r.services[host]; s != nil {
			return s
		}
	}
	return nil
}

// of returns the local addresses for the workloads of a namespace.
func (r *resolver) of(namespace string) localAddresses {
	if r.addresses[namespace] == nil {
		r.addresses[namespace] = newLocalAddresses(r.all, namespace)
	}
	return r.addresses[namespace]
}

// tell reports a problem of the workload that the mention is about.
func (r *resolver) tell(at mention, code, message, hint string) {
	p := at.object.Problem(code, at.path, "%s", message)
	p.Hint = hint
	r.problems = append(r.problems, p)
	at.workload.unsound = true
}

func (r *resolver) variable(at mention) {
	addresses := r.of(at.workload.Namespace)
	if message, hint := addresses.check(at.variable); message != "" {
		r.tell(at, CodeUnknownVariable, message, hint)
		return
	}
	if at.workload.Type == mesh.Proxyless {
		r.tell(at, config.CodeConflictingFields, "a workload without a proxy has no local addresses",
			"dial xds:///NAME:PORT with its gRPC library, or take proxyless away")
		return
	}
	a := addresses[at.variable][0]
	r.wanted[at.workload][localAddress{a.host, a.port, wholeAddress}] = true
}

func (r *resolver) dependency(at mention) {
	s := r.find(at)
	if s == nil {
		r.tell(at, config.CodeUnknownHost, "there is no service "+at.service, r.suggest(at))
		return
	}
	if _, twice := r.waits[at.workload][s.Host]; !twice {
		r.waits[at.workload][s.Host] = at
	}
	for _, p := range s.Ports {
		r.wanted[at.workload][localAddress{s.Host, p.Number, wholeAddress}] = true
	}
}

// suggest returns a hint at the service that is meant.
func (r *resolver) suggest(at mention) string {
	var names []string
	for _, s := range r.all {
		name := s.Name
		if s.Namespace != at.object.Namespace {
			name += "." + s.Namespace
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return config.Suggest(at.service, "services", names)
}

// pin warns of a host that the workload's proxies are given and that is not there. A name with dots that is no service's
// may be one outside the mesh.
func (r *resolver) pin(at mention) {
	p := at.object.Problem(config.CodeUnknownHost, at.path, "there is no service %s: the proxies are given nothing for it", at.service)
	p.Severity = mesh.Warning
	if s := r.find(at); s != nil {
		if slices.ContainsFunc(s.Ports, func(p mesh.Port) bool { return p.Number == at.pinned }) {
			return
		}
		p.Code, p.Message = config.CodeUnknownPort, fmt.Sprintf("service %s has no port %d", at.service, at.pinned)
		var ports []string
		for _, port := range s.Ports {
			ports = append(ports, fmt.Sprintf("%d (%s)", port.Number, port.Name))
		}
		p.Hint = "ports: " + strings.Join(ports, ", ")
		r.problems = append(r.problems, p)
		return
	}
	if r.inside(strings.ToLower(at.service)) {
		p.Hint = r.suggest(at)
		r.problems = append(r.problems, p)
	}
}

// inside tells whether a name can only be one of a service, whether or not there is one.
func (r *resolver) inside(name string) bool {
	_, rest, dotted := strings.Cut(name, ".")
	namespace, _, _ := strings.Cut(rest, ".")
	return !dotted || rest == namespace+".svc" || rest == namespace+".svc."+domain ||
		rest == namespace && slices.ContainsFunc(r.all, func(s *mesh.Service) bool { return s.Namespace == namespace })
}

// cycles reports workloads that wait for themselves, each ring once.
func (r *resolver) cycles(workloads []*Workload) {
	serving := map[mesh.Host][]*Workload{}
	for _, w := range workloads {
		serving[w.Host] = append(serving[w.Host], w)
	}
	done := map[*Workload]bool{}
	var path []*Workload
	var visit func(w *Workload)
	visit = func(w *Workload) {
		if i := slices.Index(path, w); i >= 0 {
			r.cycle(path[i:])
			return
		}
		if done[w] {
			return
		}
		path = append(path, w)
		for _, host := range w.DependsOn {
			for _, next := range serving[host] {
				visit(next)
			}
		}
		path = path[:len(path)-1]
		done[w] = true
	}
	for _, w := range workloads {
		visit(w)
	}
}

// cycle reports a ring of workloads, at the place where the first one names the service of the second.
func (r *resolver) cycle(ring []*Workload) {
	var names []string
	for _, w := range ring {
		names = append(names, w.Name)
		w.unsound = true
	}
	first, second := ring[0], ring[1%len(ring)]
	r.tell(r.waits[first][second.Host], config.CodeConflictingFields,
		"the workload would wait for itself: "+strings.Join(append(names, first.Name), " → "), "take one of these dependencies away")
}
