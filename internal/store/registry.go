package store

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// registry is what one source knows, by name. It is immutable.
type registry struct {
	services     map[mesh.Host]*mesh.Service
	endpoints    map[mesh.Host]*mesh.EndpointSet
	workloads    map[mesh.ProxyID]*mesh.Workload
	settings     *mesh.Settings
	certificates map[string]mesh.Certificate // by path
	problems     []mesh.Problem              // names that it has twice
}

// setRegistry replaces what a source knows.
func (f *fold) setRegistry(source string, r mesh.Registry) {
	f.reported[source] = true
	before := f.registries[source]
	if before == nil {
		before = &registry{}
	}
	next := newRegistry(source, r)
	f.registries[source] = next
	f.clashes = f.registryClashes()
	touch(f.stale, mesh.KindService, before.services, next.services)
	touch(f.stale, mesh.KindEndpoints, before.services, next.services) // whose endpoints count depends on whose service does
	touch(f.stale, mesh.KindEndpoints, before.endpoints, next.endpoints)
	touch(f.stale, mesh.KindWorkload, before.workloads, next.workloads)
	touch(f.stale, mesh.KindSecret, before.certificates, next.certificates)
	if before.settings != next.settings {
		f.stale[mesh.Key{Kind: mesh.KindSettings}] = true
	}
}

// touch notes the parts of a kind whose values differ.
func touch[K ~string, V comparable](stale map[mesh.Key]bool, kind mesh.Kind, before, after map[K]V) {
	for name, value := range before {
		if after[name] != value {
			stale[mesh.Key{Kind: kind, Name: string(name)}] = true
		}
	}
	for name := range after {
		if _, ok := before[name]; !ok {
			stale[mesh.Key{Kind: kind, Name: string(name)}] = true
		}
	}
}

func newRegistry(source string, r mesh.Registry) *registry {
	n := &registry{
		services:  make(map[mesh.Host]*mesh.Service, len(r.Services)),
		endpoints: make(map[mesh.Host]*mesh.EndpointSet, len(r.Endpoints)),
		workloads: make(map[mesh.ProxyID]*mesh.Workload, len(r.Workloads)),
		settings:  r.Settings, certificates: make(map[string]mesh.Certificate, len(r.Certificates)),
	}
	for _, s := range r.Services {
		if n.services[s.Host] != nil {
			n.problems = append(n.problems, duplicate(serviceRef(s), source, source))
			continue
		}
		n.services[s.Host] = sortedService(s)
	}
	for _, e := range r.Endpoints {
		if known := n.endpoints[e.Host]; known != nil {
			e = &mesh.EndpointSet{Host: e.Host, Endpoints: slices.Concat(known.Endpoints, e.Endpoints)}
		}
		n.endpoints[e.Host] = sortedEndpoints(e)
	}
	for _, w := range r.Workloads {
		if n.workloads[w.ID()] != nil {
			n.problems = append(n.problems, duplicate(workloadRef(w), source, source))
			continue
		}
		n.workloads[w.ID()] = w
	}
	for _, c := range r.Certificates {
		certificate := mesh.Certificate{
			Namespace: c.Namespace, Name: c.Name, Origin: c.Origin, Chain: c.Chain, Key: mesh.NewSecret(c.Key.Reveal()),
		}
		if _, twice := n.certificates[certificate.Path()]; !twice {
			n.certificates[certificate.Path()] = certificate
		}
	}
	return n
}

// sortedService returns the service with its ports in order: itself if they are.
func sortedService(s *mesh.Service) *mesh.Service {
	byNumber := func(a, b mesh.Port) int {
		return cmp.Or(cmp.Compare(a.Number, b.Number), cmp.Compare(a.Name, b.Name))
	}
	if slices.IsSortedFunc(s.Ports, byNumber) {
		return s
	}
	c := *s
	c.Ports = slices.SortedFunc(slices.Values(s.Ports), byNumber)
	return &c
}

func compareEndpoints(a, b mesh.Endpoint) int {
	return cmp.Or(cmp.Compare(a.Address, b.Address), cmp.Compare(a.Workload, b.Workload))
}

// sortedEndpoints returns the set in order: itself if it is.
func sortedEndpoints(e *mesh.EndpointSet) *mesh.EndpointSet {
	if slices.IsSortedFunc(e.Endpoints, compareEndpoints) {
		return e
	}
	return &mesh.EndpointSet{Host: e.Host, Endpoints: slices.SortedStableFunc(slices.Values(e.Endpoints), compareEndpoints)}
}

// registrySources returns the sources that have reported a registry, by rank.
func (f *fold) registrySources() []string {
	return slices.SortedFunc(maps.Keys(f.registries), f.compareSources)
}

func (f *fold) serviceOf(h mesh.Host, sources []string) *mesh.Service {
	for _, source := range sources {
		if s := f.registries[source].services[h]; s != nil {
			return s
		}
	}
	return nil
}

// endpointsOf returns the endpoints of a host: those of the source whose service counts, and of every source that knows
// endpoints but no service of the host.
func (f *fold) endpointsOf(h mesh.Host, sources []string) *mesh.EndpointSet {
	var sets []*mesh.EndpointSet
	owned := false
	for _, source := range sources {
		r := f.registries[source]
		_, owner := r.services[h]
		if set := r.endpoints[h]; set != nil && (!owner || !owned) {
			sets = append(sets, set)
		}
		owned = owned || owner
	}
	switch len(sets) {
	case 0:
		return nil
	case 1:
		return sets[0]
	}
	all := &mesh.EndpointSet{Host: h}
	for _, set := range sets {
		all.Endpoints = append(all.Endpoints, set.Endpoints...)
	}
	slices.SortStableFunc(all.Endpoints, compareEndpoints) // of equal ones the first source's is first
	all.Endpoints = slices.CompactFunc(all.Endpoints, func(a, b mesh.Endpoint) bool { return compareEndpoints(a, b) == 0 })
	return all
}

func (f *fold) workloadOf(id mesh.ProxyID, sources []string) *mesh.Workload {
	for _, source := range sources {
		if w := f.registries[source].workloads[id]; w != nil {
			return w
		}
	}
	return nil
}

// settingsOf returns the settings of the first source that has some, or nil.
func (f *fold) settingsOf(sources []string) *mesh.Settings {
	for _, source := range sources {
		if s := f.registries[source].settings; s != nil {
			return s
		}
	}
	return nil
}

// registeredCertificate returns the certificate that the first source knows which has one of this path, or nil.
func (f *fold) registeredCertificate(path string, sources []string) *mesh.Certificate {
	for _, source := range sources {
		if c, ok := f.registries[source].certificates[path]; ok {
			return &c
		}
	}
	return nil
}

// registryClashes tells the services and workloads that a source knows in vain, since one before it has the name.
func (f *fold) registryClashes() []mesh.Problem {
	var problems []mesh.Problem
	services, workloads := map[mesh.Host]string{}, map[mesh.ProxyID]string{}
	for _, source := range f.registrySources() {
		r := f.registries[source]
		problems = append(problems, r.problems...)
		for h, s := range r.services {
			if first, taken := services[h]; taken {
				problems = append(problems, duplicate(serviceRef(s), first, source))
			} else {
				services[h] = source
			}
		}
		for id, w := range r.workloads {
			if first, taken := workloads[id]; taken {
				problems = append(problems, duplicate(workloadRef(w), first, source))
			} else {
				workloads[id] = source
			}
		}
	}
	return problems
}

func serviceRef(s *mesh.Service) mesh.Ref {
	return mesh.Ref{Kind: "Service", Namespace: s.Namespace, Name: s.Name}
}

func workloadRef(w *mesh.Workload) mesh.Ref {
	return mesh.Ref{Kind: "Workload", Namespace: w.Namespace, Name: w.Name}
}

func duplicate(object mesh.Ref, first, second string) mesh.Problem {
	p := mesh.Problem{Object: object, Code: config.CodeDuplicateService, Severity: mesh.Warning}
	if first == second {
		p.Message = fmt.Sprintf("source %q knows it twice; the first one counts", first)
	} else {
		p.Message = fmt.Sprintf("source %q knows it, and so does %q, which counts", second, first)
	}
	return p
}
