package kube

import (
	"cmp"
	"maps"
	"net/netip"
	"reflect"
	"slices"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// model holds what is kept of a cluster and says it in the mesh's words. A change touches the services and pods that it is about;
// [model.edit] translates those anew and returns what differs. It knows no clock, no network and no API server: the same objects
// make the same registry, in whatever order they came.
type model struct {
	realm    mesh.Realm
	part     bool // only some namespaces are read
	services *table[service]
	slices   *table[slice]
	pods     *table[pod]
	nodes    *table[node]
	ranges   *table[networks]
	classes  *table[class]

	slicesOf  index[name]   // by service
	slicesOn  index[string] // by node
	slicesFor index[name]   // by pod
	slicesAt  index[string] // by address
	podsAt    index[string] // by address, of pods that have a network of their own
	selectors selectors

	touched touched
	said    said
	span    span // of the services' addresses
}

// touched are the names whose translation may differ.
type touched struct {
	services, endpoints, pods map[name]bool
	settings                  bool
}

func newTouched() touched {
	return touched{map[name]bool{}, map[name]bool{}, map[name]bool{}, false}
}

// said is what was said last.
type said struct {
	services   map[name]*mesh.Service
	endpoints  map[name]*mesh.EndpointSet
	workloads  map[name]*mesh.Workload
	problems   map[name][]mesh.Problem // of services
	settings   *mesh.Settings
	generation int64
}

func newModel(realm mesh.Realm) *model {
	m := &model{
		realm:    realm,
		slicesOf: index[name]{}, slicesOn: index[string]{}, slicesFor: index[name]{}, slicesAt: index[string]{}, podsAt: index[string]{},
		selectors: newSelectors(), touched: newTouched(), span: newSpan(),
		said: said{
			services: map[name]*mesh.Service{}, endpoints: map[name]*mesh.EndpointSet{}, workloads: map[name]*mesh.Workload{},
			problems: map[name][]mesh.Problem{},
		},
	}
	m.services = newTable(equalServices, m.serviceChanged)
	m.slices = newTable(equalSlices, m.sliceChanged)
	m.pods = newTable(equalPods, m.podChanged)
	m.nodes = newTable(func(a, b *node) bool { return *a == *b }, m.nodeChanged)
	m.ranges = newTable(func(a, b *networks) bool { return slices.Equal(*a, *b) }, func(name, *networks, *networks) { m.touched.settings = true })
	m.classes = newTable(func(*class, *class) bool { return true }, func(name, *class, *class) { m.touched.settings = true })
	return m
}

func (m *model) serviceChanged(n name, before, after *service) {
	m.touched.services[n], m.touched.endpoints[n] = true, true
	for _, s := range m.slicesOf[n] {
		for _, e := range m.slices.rows[s].endpoints {
			m.touchPod(n.namespace, &e)
		}
	}
	m.selectorChanged(n, before, after)
	if m.span.swap(addressesOf(before), addressesOf(after)) {
		m.touched.settings = true
	}
}

// selectorChanged touches the pods that a service selects, or did.
func (m *model) selectorChanged(n name, before, after *service) {
	if before != nil && after != nil && aimAlike(before, after) {
		return
	}
	for _, s := range []*service{before, after} {
		for _, at := range m.selectors.podsOf(n.namespace, s, m.pods.rows) {
			m.touched.pods[at] = true
		}
	}
	m.selectors.serviceChanged(n, after)
}

func addressesOf(s *service) []string {
	if s == nil {
		return nil
	}
	return s.addresses
}

// touchPod notes that what a pod serves may differ.
func (m *model) touchPod(namespace string, e *endpoint) {
	if e.pod != "" {
		m.touched.pods[name{namespace, e.pod}] = true
		return
	}
	for _, n := range m.podsAt[e.address] {
		m.touched.pods[n] = true
	}
}

func (m *model) sliceChanged(n name, before, after *slice) {
	for _, s := range []*slice{before, after} {
		if s != nil {
			service := name{n.namespace, s.service}
			m.touched.endpoints[service], m.touched.services[service] = true, true
		}
	}
	m.indexSlice(n, before, false)
	m.indexSlice(n, after, true)
	var same map[string]bool // the members that serve as before
	if before != nil && after != nil && before.service == after.service && maps.Equal(before.ports, after.ports) {
		same = before.members(nil)
		same = after.members(same)
	}
	for _, s := range []*slice{before, after} {
		for i := range endpointsIn(s) {
			if e := &s.endpoints[i]; !same[e.member()] {
				m.touchPod(n.namespace, e)
			}
		}
	}
}

// members returns which pods, at which addresses, the endpoints are; with others only those that are among them too.
func (s *slice) members(others map[string]bool) map[string]bool {
	all := make(map[string]bool, len(s.endpoints))
	for i := range s.endpoints {
		if member := s.endpoints[i].member(); others == nil || others[member] {
			all[member] = true
		}
	}
	return all
}

// member says which pod, at which address, an endpoint is, whatever its health.
func (e *endpoint) member() string { return e.pod + " " + e.uid + " " + e.address }

func endpointsIn(s *slice) []endpoint {
	if s == nil {
		return nil
	}
	return s.endpoints
}

func (m *model) indexSlice(n name, s *slice, present bool) {
	if s == nil {
		return
	}
	update(m.slicesOf, name{n.namespace, s.service}, n, present)
	for _, e := range s.endpoints {
		update(m.slicesAt, e.address, n, present)
		if e.pod != "" {
			update(m.slicesFor, name{n.namespace, e.pod}, n, present)
		}
		if e.node != "" {
			update(m.slicesOn, e.node, n, present)
		}
	}
}

func update[K comparable](i index[K], k K, n name, present bool) {
	if present {
		i.add(k, n)
	} else {
		i.remove(k, n)
	}
}

// podChanged touches the pod, what serves with it, and the pods with which it shares an address.
func (m *model) podChanged(n name, before, after *pod) {
	m.touched.pods[n] = true
	m.selectors.podChanged(n, before, after)
	if before != nil && after != nil && before.looksLike(after) {
		return
	}
	m.touchServices(m.slicesFor[n])
	for _, p := range []*pod{before, after} {
		if p == nil {
			continue
		}
		for _, address := range p.addresses {
			if p.ownsNetwork() {
				update(m.podsAt, address, n, p == after)
			}
		}
	}
	for _, p := range []*pod{before, after} {
		if p == nil || p.host {
			continue
		}
		for _, address := range p.addresses {
			m.touchServices(m.slicesAt[address])
			for _, other := range m.podsAt[address] {
				m.touched.pods[other] = true
				m.touchServices(m.slicesFor[other])
			}
		}
	}
}

// ownsNetwork tells whether the addresses of a pod are its own.
func (p *pod) ownsNetwork() bool { return !p.host && !p.gone }

// touchServices touches what the services of some slices have for endpoints, and who may answer for them.
func (m *model) touchServices(all []name) {
	for _, n := range all {
		if s := m.slices.rows[n]; s != nil {
			service := name{n.namespace, s.service}
			m.touched.endpoints[service], m.touched.services[service] = true, true
		}
	}
}

func (m *model) nodeChanged(n name, _, _ *node) {
	for _, s := range m.slicesOn[n.name] {
		m.touched.endpoints[name{s.namespace, m.slices.rows[s].service}] = true
	}
}

// podAt returns the pod that an address belongs to. After a pod has ended, its address may be given to another one while the
// first is still there: the newest counts.
func (m *model) podAt(address string) (name, *pod) {
	var owner name
	var best *pod
	for _, n := range m.podsAt[address] {
		p := m.pods.rows[n]
		if best == nil || p.goesBefore(best) || (!best.goesBefore(p) && compareNames(n, owner) < 0) {
			owner, best = n, p
		}
	}
	return owner, best
}

// goesBefore tells whether of two pods with one address this one is more likely the one that has it.
func (p *pod) goesBefore(o *pod) bool {
	if p.deleting != o.deleting {
		return o.deleting
	}
	return p.created.After(o.created)
}

// edit returns what differs from what was said last, or nil, and notes it as said.
func (m *model) edit() *mesh.RegistryEdit {
	t := m.touched
	m.touched = newTouched()
	e := &mesh.RegistryEdit{}
	problems := false
	for _, n := range sorted(t.services) {
		svc, told := m.service(n)
		say(n, svc, m.said.services, &e.Services, func() { e.RemovedServices = append(e.RemovedServices, m.host(n)) })
		problems = m.tell(n, told) || problems
	}
	for _, n := range sorted(t.endpoints) {
		say(n, m.endpoints(n), m.said.endpoints, &e.Endpoints, func() { e.RemovedEndpoints = append(e.RemovedEndpoints, m.host(n)) })
	}
	for _, n := range sorted(t.pods) {
		say(n, m.workload(n), m.said.workloads, &e.Workloads, func() {
			e.RemovedWorkloads = append(e.RemovedWorkloads, mesh.NewProxyID(n.name, n.namespace))
		})
	}
	if t.settings || m.said.settings == nil {
		if s := m.settings(); m.said.settings == nil || !reflect.DeepEqual(s, m.said.settings) {
			m.said.settings, e.Settings = s, s
		}
	}
	if problems {
		e.Problems = m.problems()
	}
	if e.Len() == 0 && e.Settings == nil && e.Problems == nil {
		return nil
	}
	e.Base = m.said.generation
	m.said.generation++
	e.Generation = m.said.generation
	return e
}

// whole returns all that was said.
func (m *model) whole() mesh.Registry {
	return mesh.Registry{
		Generation: m.said.generation, Services: values(m.said.services), Endpoints: values(m.said.endpoints),
		Workloads: values(m.said.workloads), Settings: m.said.settings, Problems: m.problems(),
	}
}

// say notes what is said of a name now, and puts it into an edit if it differs.
func say[T comparable](n name, now T, said map[name]T, put *[]T, remove func()) {
	var none T
	before, known := said[n]
	switch {
	case now == none && !known, known && now != none && reflect.DeepEqual(before, now):
	case now == none:
		delete(said, n)
		remove()
	default:
		said[n] = now
		*put = append(*put, now)
	}
}

func sorted[V any](m map[name]V) []name { return slices.SortedFunc(maps.Keys(m), compareNames) }

func values[V any](m map[name]V) []V {
	all := make([]V, 0, len(m))
	for _, n := range sorted(m) {
		all = append(all, m[n])
	}
	return all
}

// tell notes what is wrong with a service, and tells whether that differs.
func (m *model) tell(n name, problems []mesh.Problem) bool {
	if slices.Equal(m.said.problems[n], problems) {
		return false
	}
	if len(problems) == 0 {
		delete(m.said.problems, n)
	} else {
		m.said.problems[n] = problems
	}
	return true
}

// problems returns all that is wrong with services. It is never nil.
func (m *model) problems() []mesh.Problem {
	all := []mesh.Problem{}
	for _, n := range sorted(m.said.problems) {
		all = append(all, m.said.problems[n]...)
	}
	return all
}

func (m *model) host(n name) mesh.Host { return mesh.ServiceHost(n.name, n.namespace, m.realm.Domain) }

// settings say from which networks services get their addresses: what the cluster says, else what covers those that are known. Where
// only some namespaces are read, others have services there of which nothing is known. And they say which classes are Lateen's.
func (m *model) settings() *mesh.Settings {
	s := mesh.DefaultSettings
	s.Ingress.Classes = []string{mesh.IngressClassName}
	for n := range m.classes.rows {
		s.Ingress.Classes = append(s.Ingress.Classes, n.name)
	}
	slices.Sort(s.Ingress.Classes)
	s.Ingress.Classes = slices.Compact(s.Ingress.Classes)
	if m.part {
		return &s
	}
	for _, n := range m.ranges.rows {
		for _, text := range *n {
			if p, err := netip.ParsePrefix(text); err == nil {
				s.ServiceRanges = append(s.ServiceRanges, p.Masked().String())
			}
		}
	}
	if len(s.ServiceRanges) == 0 {
		s.ServiceRanges = m.span.prefixes()
	}
	slices.SortFunc(s.ServiceRanges, cmp.Compare[string])
	s.ServiceRanges = slices.Compact(s.ServiceRanges)
	return &s
}
