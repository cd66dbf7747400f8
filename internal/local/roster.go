package local

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// roster knows which instances there are and which of them take requests: what the control plane is told. Each
// change has a number, so that one can wait until it has arrived.
type roster struct {
	changed chan struct{} // has a value when there is something new
	epoch   int64         // makes the generations of this roster others than those of one before

	mu       sync.Mutex
	number   int64
	services map[mesh.Host]*mesh.Service // all that there ever were
	offered  map[mesh.Host]bool
	entries  map[mesh.ProxyID]entry
	members  map[mesh.Host]map[mesh.ProxyID]bool // instances by service

	settings     *mesh.Settings
	certificates []mesh.SealedCertificate
	problems     []mesh.Problem // of the Mesh files

	touched touched
}

type entry struct {
	instance *Instance
	health   mesh.Health // "": takes no requests
}

// touched is what may have changed since the control plane was told.
type touched struct {
	hosts     map[mesh.Host]bool
	instances map[mesh.ProxyID]bool
	settings  bool
	problems  bool
}

func newTouched() touched {
	return touched{hosts: map[mesh.Host]bool{}, instances: map[mesh.ProxyID]bool{}}
}

func newRoster() *roster {
	return &roster{
		changed:  make(chan struct{}, 1),
		epoch:    1 + rand.Int64N(1<<50),
		services: map[mesh.Host]*mesh.Service{},
		offered:  map[mesh.Host]bool{},
		entries:  map[mesh.ProxyID]entry{},
		members:  map[mesh.Host]map[mesh.ProxyID]bool{},
		touched:  newTouched(),
	}
}

// offer says which services there are, and what holds for the whole mesh. A service that is gone stays until the last
// of its instances is. It returns the number of the change.
func (r *roster) offer(services []*mesh.Service, settings mesh.Settings, certificates []mesh.SealedCertificate) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.Copy(r.touched.hosts, r.offered)
	r.offered = map[mesh.Host]bool{}
	for _, s := range services {
		r.services[s.Host], r.offered[s.Host] = s, true
	}
	maps.Copy(r.touched.hosts, r.offered)
	r.settings, r.certificates, r.touched.settings = &settings, certificates, true
	return r.bump()
}

// tell says what is wrong with the Mesh files now.
func (r *roster) tell(problems []mesh.Problem) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(r.problems, problems) {
		r.problems, r.touched.problems = problems, true
		r.bump()
	}
}

// put adds an instance, which takes no requests yet, or replaces what is known of it.
func (r *roster) put(i *Instance) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.entries[i.ID()]
	r.leave(e.instance)
	e.instance = i
	r.entries[i.ID()] = e
	host := i.Workload.Host
	if r.members[host] == nil {
		r.members[host] = map[mesh.ProxyID]bool{}
	}
	r.members[host][i.ID()] = true
	r.touch(i)
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
	return r.touch(e.instance)
}

// remove forgets an instance.
func (r *roster) remove(id mesh.ProxyID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.entries[id]
	if !ok {
		return
	}
	r.leave(e.instance)
	delete(r.entries, id)
	r.touch(e.instance)
}

// leave takes an instance, which may be nil, out of its service.
func (r *roster) leave(i *Instance) {
	if i == nil {
		return
	}
	host := i.Workload.Host
	if delete(r.members[host], i.ID()); len(r.members[host]) == 0 {
		delete(r.members, host)
	}
	r.touched.hosts[host] = true
}

// touch notes that an instance changed, and returns the number of the change.
func (r *roster) touch(i *Instance) int64 {
	r.touched.instances[i.ID()], r.touched.hosts[i.Workload.Host] = true, true
	return r.bump()
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
	r.touched = touched{hosts: maps.Clone(r.offered), instances: map[mesh.ProxyID]bool{}, settings: true, problems: true}
	for id, e := range r.entries {
		r.touched.instances[id], r.touched.hosts[e.instance.Workload.Host] = true, true
	}
	e := r.take()
	return mesh.Registry{
		Generation: e.Generation, Services: e.Services, Endpoints: e.Endpoints, Workloads: e.Workloads, Settings: e.Settings,
		Certificates: e.Certificates, Problems: e.Problems,
	}, r.number
}

// edit returns what changed since the last call of it or of registry, and the number of the last change in it.
func (r *roster) edit() (mesh.RegistryEdit, int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.take(), r.number
}

// take returns what was touched, as it is now, and forgets that it was.
func (r *roster) take() mesh.RegistryEdit {
	e := mesh.RegistryEdit{Generation: r.epoch + r.number}
	for _, host := range slices.Sorted(maps.Keys(r.touched.hosts)) {
		service := r.services[host]
		switch {
		case service == nil: // its instances are no service's
		case r.offered[host] || len(r.members[host]) > 0:
			e.Services = append(e.Services, service)
			e.Endpoints = append(e.Endpoints, r.endpoints(host))
		default:
			e.RemovedServices = append(e.RemovedServices, host)
			e.RemovedEndpoints = append(e.RemovedEndpoints, host)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(r.touched.instances)) {
		known, ok := r.entries[id]
		if !ok || known.instance.Workload.external() {
			e.RemovedWorkloads = append(e.RemovedWorkloads, id)
			continue
		}
		w := known.instance.MeshWorkload()
		w.Running = known.health != "" && w.Type != mesh.Proxyless
		e.Workloads = append(e.Workloads, w)
	}
	if r.touched.settings {
		e.Settings, e.Certificates = r.settings, append([]mesh.SealedCertificate{}, r.certificates...)
	}
	if r.touched.problems {
		e.Problems = append([]mesh.Problem{}, r.problems...)
	}
	r.touched = newTouched()
	return e
}

// endpoints returns the instances of a service that take requests, sorted.
func (r *roster) endpoints(host mesh.Host) *mesh.EndpointSet {
	set := &mesh.EndpointSet{Host: host, Endpoints: []mesh.Endpoint{}}
	for id := range r.members[host] {
		if e := r.entries[id]; e.health != "" {
			set.Endpoints = append(set.Endpoints, e.instance.Endpoint(e.health))
		}
	}
	slices.SortFunc(set.Endpoints, func(a, b mesh.Endpoint) int {
		return cmp.Or(cmp.Compare(a.Address, b.Address), cmp.Compare(a.Workload, b.Workload))
	})
	return set
}
