package local

import (
	"cmp"
	"maps"
	"slices"
	"sync"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// roster knows which instances there are and which of them take requests: what the control plane is told. Each
// change has a number, so that one can wait until it has arrived.
type roster struct {
	changed chan struct{} // has a value when there is something new

	mu       sync.Mutex
	number   int64
	services map[mesh.Host]*mesh.Service // all that there ever were
	offered  map[mesh.Host]bool
	entries  map[mesh.ProxyID]entry

	settings     *mesh.Settings
	certificates []mesh.SealedCertificate
}

type entry struct {
	instance *Instance
	health   mesh.Health // "": takes no requests
}

func newRoster() *roster {
	return &roster{
		changed:  make(chan struct{}, 1),
		services: map[mesh.Host]*mesh.Service{},
		offered:  map[mesh.Host]bool{},
		entries:  map[mesh.ProxyID]entry{},
	}
}

// offer says which services there are, and what holds for the whole mesh. A service that is gone stays until the last
// of its instances is.
func (r *roster) offer(services []*mesh.Service, settings mesh.Settings, certificates []mesh.SealedCertificate) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.offered = map[mesh.Host]bool{}
	for _, s := range services {
		r.services[s.Host], r.offered[s.Host] = s, true
	}
	r.settings, r.certificates = &settings, certificates
	r.bump()
}

// put adds an instance, which takes no requests yet, or replaces what is known of it.
func (r *roster) put(i *Instance) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.entries[i.ID()]
	e.instance = i
	r.entries[i.ID()] = e
	r.bump()
}

// set says whether an instance takes requests ("": no) and returns the number of the change.
func (r *roster) set(id mesh.ProxyID, health mesh.Health) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.entries[id]
	if !ok || e.health == health {
		return r.number
	}
	e.health = health
	r.entries[id] = e
	return r.bump()
}

// remove forgets an instance.
func (r *roster) remove(id mesh.ProxyID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.entries, id)
	r.bump()
}

func (r *roster) bump() int64 {
	r.number++
	select {
	case r.changed <- struct{}{}:
	default:
	}
	return r.number
}

// registry returns all of it in the mesh's words, sorted, and the number of the last change in it.
func (r *roster) registry() (mesh.Registry, int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	present := maps.Clone(r.offered)
	for _, e := range r.entries {
		if host := e.instance.Workload.Host; r.services[host] != nil {
			present[host] = true
		}
	}
	registry := mesh.Registry{Settings: r.settings, Certificates: r.certificates}
	sets := map[mesh.Host]*mesh.EndpointSet{}
	for _, host := range slices.Sorted(maps.Keys(present)) {
		sets[host] = &mesh.EndpointSet{Host: host, Endpoints: []mesh.Endpoint{}}
		registry.Services = append(registry.Services, r.services[host])
		registry.Endpoints = append(registry.Endpoints, sets[host])
	}
	for _, id := range slices.Sorted(maps.Keys(r.entries)) {
		e := r.entries[id]
		if !e.instance.Workload.external() {
			w := e.instance.MeshWorkload()
			w.Running = e.health != ""
			registry.Workloads = append(registry.Workloads, w)
		}
		if set := sets[e.instance.Workload.Host]; set != nil && e.health != "" {
			set.Endpoints = append(set.Endpoints, e.instance.Endpoint(e.health))
		}
	}
	for _, set := range registry.Endpoints {
		slices.SortFunc(set.Endpoints, func(a, b mesh.Endpoint) int {
			return cmp.Or(cmp.Compare(a.Address, b.Address), cmp.Compare(a.Workload, b.Workload))
		})
	}
	return registry, r.number
}
