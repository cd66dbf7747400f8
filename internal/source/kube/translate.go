package kube

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// service returns what a Service is in the mesh, nil for none, and what is wrong with it.
func (m *model) service(n name) (*mesh.Service, []mesh.Problem) {
	s := m.services.rows[n]
	if s == nil {
		return nil, nil
	}
	svc := &mesh.Service{
		Host: m.host(n), Name: n.name, Namespace: n.namespace, Ports: slices.Clone(s.ports),
		Addresses: s.addresses, Headless: s.headless, External: s.external,
	}
	r := annotationReader{service: svc, realm: m.realm}
	r.read(s.annotations)
	for id := range m.identities(n) {
		svc.Identities = append(svc.Identities, id)
	}
	slices.Sort(svc.Identities)
	svc.Identities = slices.Compact(svc.Identities)
	return svc, r.problems
}

// identities are those of the pods of a service that have a proxy, also of those that take no requests yet: so callers know whom
// to expect before the first of them does.
func (m *model) identities(service name) map[string]bool {
	all := map[string]bool{}
	for _, n := range m.slicesOf[service] {
		s := m.slices.rows[n]
		for i := range s.endpoints {
			if owner, p := m.podOf(n.namespace, &s.endpoints[i]); p != nil && owner.namespace == n.namespace && p.captured(s.endpoints[i].address) {
				all[m.realm.IdentityOf(n.namespace, p.account)] = true
			}
		}
	}
	return all
}

// podOf returns the pod that an endpoint is, whatever its address; nil: none that is known, or another one of this name.
func (m *model) podOf(namespace string, e *endpoint) (name, *pod) {
	if e.pod == "" {
		return m.podAt(e.address)
	}
	n := name{namespace, e.pod}
	p := m.pods.rows[n]
	if p == nil || p.gone || (e.uid != "" && e.uid != p.uid) {
		return n, nil
	}
	return n, p
}

// captured tells whether what is sent to this address of the pod comes to its proxy. Only then can a caller ask who it is.
func (p *pod) captured(address string) bool {
	a, ok := parseAddress(address)
	return ok && (a.Is4() || p.ipv6) && p.proxy && !p.host && !p.door
}

// endpoints returns the endpoints of a service, nil for a service that has none by its nature.
func (m *model) endpoints(n name) *mesh.EndpointSet {
	s := m.services.rows[n]
	if s == nil || s.external != "" {
		return nil
	}
	set := &mesh.EndpointSet{Host: m.host(n)}
	merged := map[string]int{} // by pod, or by address of one that is none: where in the set
	v4 := false
	for _, v6 := range []bool{false, true} {
		for _, at := range m.slicesOf[n] {
			slice := m.slices.rows[at]
			if slice.v6 != v6 {
				continue
			}
			for i := range slice.endpoints {
				e, key, ok := m.endpoint(at.namespace, slice, &slice.endpoints[i])
				if !ok || (v6 && v4 && slice.endpoints[i].pod == "") { // of what is no pod nobody knows which two are one
					continue
				}
				known, twice := merged[key]
				switch {
				case !twice:
					v4 = v4 || !v6
					merged[key] = len(set.Endpoints)
					set.Endpoints = append(set.Endpoints, e)
				case set.Endpoints[known].Address == e.Address:
					set.Endpoints[known] = merge(set.Endpoints[known], e)
				case v6 && alike(set.Endpoints[known], e):
					set.Endpoints[known].Further = append(set.Endpoints[known].Further, e.Address)
				}
			}
		}
	}
	slices.SortFunc(set.Endpoints, func(a, b mesh.Endpoint) int {
		return cmp.Or(cmp.Compare(a.Address, b.Address), cmp.Compare(a.Workload, b.Workload))
	})
	return set
}

// endpoint returns what an endpoint is in the mesh, and by what it is told from others. One that takes no requests, or whose pod
// is not known yet or any more, is none: nobody can tell how it is to be called. One whose node is not heard of gets no requests while
// there are others.
func (m *model) endpoint(namespace string, s *slice, e *endpoint) (mesh.Endpoint, string, bool) {
	owner, p := m.podOf(namespace, e)
	health := e.health
	if health == "" && p != nil && p.unheard {
		health = mesh.Draining
	}
	if health == "" {
		return mesh.Endpoint{}, "", false
	}
	out := mesh.Endpoint{Address: e.address, Ports: s.ports, Health: health, Zone: m.zone(e)}
	if a, ok := parseAddress(e.address); ok {
		out.Address = a.String()
	}
	if e.pod != "" && !m.mayHave(p, e.address) {
		return out, "", false
	}
	if p == nil || owner.namespace != namespace { // whoever is called is proven by accounts of the service's namespace
		return out, e.address, true
	}
	out.Labels, out.Workload = p.labels, owner.name
	if slices.Contains(p.addresses, e.address) && p.captured(e.address) {
		out.Account, out.Inbound = p.account, p.inbound
	}
	if e.pod == "" {
		return out, e.address, true
	}
	return out, owner.String(), true
}

// mayHave tells whether a pod may be found at an address: it is known and has an address at all, as its proxy must be known too, and
// the address is not that of another pod by now. It need not be one of those that the cluster gave it: there may be more networks.
func (m *model) mayHave(p *pod, address string) bool {
	if p == nil || len(p.addresses) == 0 {
		return false
	}
	_, owner := m.podAt(address)
	return owner == nil || owner == p || p.host
}

// zone returns where an endpoint is, "REGION/ZONE"; "" when that is not known.
func (m *model) zone(e *endpoint) string {
	region := ""
	if n := m.nodes.rows[name{name: e.node}]; n != nil {
		region = n.region
	}
	if region == "" && e.zone == "" {
		return ""
	}
	return intern(region + "/" + e.zone)
}

// alike tells whether what reaches one of two endpoints that stand for the same pod, by different families, reaches the other as well. A
// further address that is known already is none.
func alike(a, b mesh.Endpoint) bool {
	is4 := func(text string) bool { address, _ := parseAddress(text); return address.Is4() }
	return is4(a.Address) != is4(b.Address) && len(a.Further) == 0 && a.Account == b.Account && a.Health == b.Health && maps.Equal(a.Ports, b.Ports)
}

// merge makes one endpoint of two that stand for the same pod, as when its ports are those of several slices.
func merge(a, b mesh.Endpoint) mesh.Endpoint {
	if !maps.Equal(a.Ports, b.Ports) {
		ports := maps.Clone(b.Ports)
		maps.Copy(ports, a.Ports)
		a.Ports = ports
	}
	if b.Health == mesh.Healthy {
		a.Health = mesh.Healthy
	}
	a.Zone = cmp.Or(a.Zone, b.Zone)
	return a
}

// workload returns what a pod with a proxy is in the mesh; nil: it has none, or no address of its own.
func (m *model) workload(n name) *mesh.Workload {
	p := m.pods.rows[n]
	if p == nil || !p.proxy || !p.ownsNetwork() || p.primary() == "" {
		return nil
	}
	if owner, _ := m.podAt(p.primary()); owner != n {
		return nil // the address is another pod's by now
	}
	address, err := netip.ParseAddr(p.primary())
	if err != nil {
		return nil
	}
	if p.door {
		return door(n, p, address)
	}
	return &mesh.Workload{
		Name: n.name, Namespace: n.namespace, Type: mesh.Sidecar, Account: p.account, Labels: p.labels, Address: address.String(),
		Further: m.further(n, p),
		Serves:  m.serves(n, p), Capture: true, Inbound: p.inbound, Probes: p.probes, Running: p.running,
	}
}

// further returns the addresses of a pod beside its first one by which its proxy is reached.
func (m *model) further(n name, p *pod) []string {
	var all []string
	for _, text := range p.addresses[1:] {
		if owner, _ := m.podAt(text); owner != n || !p.captured(text) {
			continue
		}
		if a, ok := parseAddress(text); ok {
			all = append(all, a.String())
		}
	}
	return all
}

// door returns what a pod of the ingress is. It takes requests on every address of the pod, also on that by which ports are forwarded;
// for no service of the mesh does it answer, whoever selects it.
func door(n name, p *pod, address netip.Addr) *mesh.Workload {
	every := netip.IPv4Unspecified()
	if address.Is6() {
		every = netip.IPv6Unspecified()
	}
	return &mesh.Workload{
		Name: n.name, Namespace: n.namespace, Type: mesh.Ingress, Account: p.account, Labels: p.labels, Address: address.String(),
		Door: every.String(), Outbound: mesh.IngressPort, DoorTLS: mesh.IngressTLSPort, Running: p.running,
	}
}

// serves returns the ports on which a pod answers for services, whether it takes requests already or not: its proxy has to know
// before the first of them comes. Whom a service selects is known before the cluster has made an endpoint of it; so what a proxy is
// does not change just when it has begun.
func (m *model) serves(n name, p *pod) []mesh.Serving {
	var all []mesh.Serving
	from := func(among []name, is func(e *endpoint) bool) {
		for _, at := range among {
			if at.namespace != n.namespace {
				continue // what another namespace says of its services secures nobody's ports
			}
			endpoints := m.slices.rows[at].endpoints
			for i := range endpoints {
				if is(&endpoints[i]) {
					all = append(all, m.servings(at)...)
					break
				}
			}
		}
	}
	from(m.slicesFor[n], func(e *endpoint) bool { return e.pod == n.name && (e.uid == "" || e.uid == p.uid) })
	for _, address := range p.addresses {
		from(m.slicesAt[address], func(e *endpoint) bool { return e.pod == "" && e.address == address })
	}
	for _, at := range m.selectors.servicesOf(n.namespace, p, m.services.rows) {
		all = append(all, m.selected(at, m.services.rows[at], p)...)
	}
	slices.SortFunc(all, func(a, b mesh.Serving) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Listen, b.Listen))
	})
	return slices.CompactFunc(all, func(a, b mesh.Serving) bool { return a.Host == b.Host && a.Port == b.Port })
}

// selected returns what a pod answers for that a service selects.
func (m *model) selected(n name, svc *service, p *pod) []mesh.Serving {
	var all []mesh.Serving
	for i, port := range svc.ports {
		if listen := p.numberOf(svc.targets[i]); listen > 0 && listen < 65536 {
			all = append(all, mesh.Serving{Host: m.host(n), Port: port.Number, Protocol: port.Protocol, Listen: listen})
		}
	}
	return all
}

// servings returns what the members of a slice answer for.
func (m *model) servings(at name) []mesh.Serving {
	s := m.slices.rows[at]
	n := name{at.namespace, s.service}
	svc := m.services.rows[n]
	if svc == nil {
		return nil
	}
	var all []mesh.Serving
	for _, p := range svc.ports {
		if listen := s.ports[p.Name]; listen > 0 {
			all = append(all, mesh.Serving{Host: m.host(n), Port: p.Number, Protocol: p.Protocol, Listen: listen})
		}
	}
	return all
}
