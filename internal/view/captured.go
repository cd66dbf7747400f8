package view

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// CapturedOutbound takes every connection that a captured workload makes, whatever it is for.
type CapturedOutbound struct {
	Name      string   `json:"name"`
	Families  []Family `json:"families"` // of the workload's addresses
	Services  []string `json:"services"` // networks in which services have their addresses, and nobody else has
	Mesh      []string `json:"mesh"`     // networks in which endpoints and workloads are
	Spoken    Spoken   `json:"spoken"`
	OnlyKnown bool     `json:"onlyKnown,omitempty"` // what is for others does not pass
	Named     []Named  `json:"named,omitempty"`     // with OnlyKnown, the narrowest first
	Outside   []int    `json:"outside,omitempty"`   // without it: ports for which there are [OutsideRoutes]
	Inspects  bool     `json:"inspects,omitempty"`  // there is an [Inspected]
	NoLog     bool     `json:"noLog,omitempty"`
}

// Spoken is what services speak, as [mesh.Spoken] says.
type Spoken struct {
	Requests []int        `json:"requests,omitempty"`
	Bytes    []int        `json:"bytes,omitempty"`
	Apart    []mesh.Apart `json:"apart,omitempty"`
	Unclear  []int        `json:"unclear,omitempty"`
}

// Inspected takes those connections of a captured workload of which nobody has said whether they carry requests. It is there where there
// may be such: what is for others does not pass, egress rules let requests to others through, or services differ in too much.
type Inspected struct {
	Name      string   `json:"name"`
	Services  []string `json:"services"`            // as those of the [CapturedOutbound]
	OnlyKnown bool     `json:"onlyKnown,omitempty"` // likewise
	Outside   []int    `json:"outside,omitempty"`   // likewise
	NoLog     bool     `json:"noLog,omitempty"`
}

// InspectCluster leads to the [Inspected].
type InspectCluster struct {
	Name string `json:"name"`
}

// Named is a network outside the mesh as an EgressRule names it.
type Named struct {
	Network string `json:"network"`
	Ports   []int  `json:"ports"` // sorted
}

// Scope tells captured workloads by which routes requests to one address and port of a service are steered.
type Scope struct {
	Name    string    `json:"name"` // "10.96.1.10:9080"
	Host    mesh.Host `json:"host"`
	Routes  string    `json:"routes"`            // name of the routes
	Pressed bool      `json:"pressed,omitempty"` // the routes are asked for at once, not with the first request
}

// Dialled is what connections to an address depend on, as far as they are steered. Host is "" where no rule can hold.
type Dialled struct {
	Name     string            `json:"name"`
	Address  string            `json:"address"` // as the caller dials it
	Host     mesh.Host         `json:"host,omitempty"`
	Port     int               `json:"port"`             // of the host, or else as dialled
	Source   string            `json:"source,omitempty"` // address of the caller, where rules ask for it
	Rules    []*mesh.RouteRule `json:"rules,omitempty"`
	Policies []Policy          `json:"policies,omitempty"`
}

// DialledCluster is what the cluster for an address depends on. Without ways connections go to the address itself, unless it is closed.
type DialledCluster struct {
	Dialled
	Closed         bool          `json:"closed,omitempty"`
	Ways           []Cluster     `json:"ways,omitempty"` // to each subset that rules may choose, the whole host first
	ConnectTimeout mesh.Duration `json:"connectTimeout"`
}

// DialledEndpoints is what the endpoints behind an address depend on.
type DialledEndpoints struct {
	Dialled
	Ways []Endpoints `json:"ways,omitempty"` // as those of the [DialledCluster]
}

func (CapturedOutbound) view() {}
func (Inspected) view()        {}
func (InspectCluster) view()   {}
func (Scope) view()            {}
func (DialledCluster) view()   {}
func (DialledEndpoints) view() {}

// ScopesOf names the scopes of a service: one for each of its addresses and ports.
func ScopesOf(svc *mesh.Service) []ID {
	if svc == nil {
		return nil
	}
	var ids []ID
	for _, text := range svc.Addresses {
		address, err := netip.ParseAddr(text)
		if err != nil || address.Zone() != "" {
			continue
		}
		for _, p := range svc.Ports {
			ids = append(ids, ID{KindScope, spot(address, p.Number)})
		}
	}
	return ids
}

// ScopesCalled names the scopes of a service's port as a workload in a namespace spells it, "reviews:9080" or by an address, whether
// there are such scopes or not.
func ScopesCalled(s *mesh.Snapshot, namespace, spelling string) []ID {
	host, port, ok := splitAuthority(spelling)
	if !ok {
		return nil
	}
	if address, err := netip.ParseAddr(host); err == nil { // as it is dialled
		return []ID{{KindScope, spot(address, port)}}
	}
	for _, candidate := range mesh.Candidates(host, namespace, s.Domain()) {
		if svc := s.Service(candidate); svc != nil {
			suffix := ":" + strconv.Itoa(port)
			return slices.DeleteFunc(ScopesOf(svc), func(id ID) bool { return !strings.HasSuffix(id.Name, suffix) })
		}
	}
	return nil
}

// spot writes an address and port.
func spot(a netip.Addr, port int) string { return netip.AddrPortFrom(a.Unmap(), uint16(port)).String() } //nolint:gosec // a port

func (r *reader) address(ip netip.Addr) *mesh.Address {
	r.note(mesh.KindAddress, ip.String())
	return r.snapshot.Address(ip.String())
}

// serviceAt returns the port of the service that has the address, or "".
func (r *reader) serviceAt(at netip.AddrPort) (mesh.Host, mesh.Port) {
	a := r.address(at.Addr())
	if a == nil {
		return "", mesh.Port{}
	}
	for _, h := range a.Services {
		if svc := r.service(h); svc != nil {
			if port, ok := svc.Port(int(at.Port())); ok {
				return h, port
			}
		}
	}
	return "", mesh.Port{}
}

func (r *reader) scope(name string) View {
	at, err := netip.ParseAddrPort(name)
	if err != nil {
		return nil
	}
	host, port := r.serviceAt(at)
	if host == "" {
		return nil
	}
	return Scope{Name: name, Host: host, Routes: CapturedRoutesOf(host, port.Number).Name}
}

// capturedRoutes cuts the routes of a captured workload to one port of a host. Where the port speaks something else, requests to
// it are steered as its bytes are.
func (r *reader) capturedRoutes(c Caller, name string) View {
	host, port, ok := parsePlace(name, capturedPrefix)
	if !ok {
		return nil
	}
	v := LocalRoutes{Name: name, Host: host, Port: port, Rules: r.rules(c, host)}
	v.Policies = r.policies(c, host, v.Rules)
	if svc := r.service(host); svc != nil {
		p, known := svc.Port(port)
		v.Bytes = known && !p.Protocol.IsHTTP()
	}
	return v
}

// dialled finds out whose an address is, and what steers the caller there.
func (r *reader) dialled(c Caller, name string) (d Dialled, at netip.AddrPort, ok bool) {
	at, ok = parseDialled(name)
	if !ok {
		return d, at, false
	}
	d = Dialled{Name: name, Address: at.Addr().String(), Port: int(at.Port())}
	if d.Host, _ = r.serviceAt(at); d.Host == "" {
		return d, at, true
	}
	d.Rules = r.rules(c, d.Host)
	d.Policies = r.policies(c, d.Host, d.Rules)
	if slices.ContainsFunc(d.Rules, func(rule *mesh.RouteRule) bool { return rule.TCP != nil }) {
		d.Source = mesh.AddressLike(at.Addr(), append([]string{c.Address}, c.Further...)...)
	}
	return d, at, true
}

// ways lists the subsets that connections may go to, the whole host first.
func (d *Dialled) ways() []mesh.Subset {
	ways := []mesh.Subset{{Host: d.Host, Port: d.Port, Policies: PolicyNames(d.Policies, d.Host, nil)}}
	known := map[string]bool{ways[0].String(): true}
	for _, rule := range d.Rules {
		for _, to := range rule.Routes {
			s := mesh.Subset{Host: to.Host, Port: d.Port, Labels: to.Labels, Policies: PolicyNames(d.Policies, to.Host, to.Labels)}
			s.Raw = to.Host != d.Host
			if !known[s.String()] {
				known[s.String()] = true
				ways = append(ways, s)
			}
		}
	}
	return ways
}

// PolicyNames names the policies that hold for endpoints of a host with labels, as [mesh.Subset.Policies].
func PolicyNames(policies []Policy, h mesh.Host, labels mesh.Labels) string {
	names := ""
	for _, p := range policies {
		if p.Host == h && (len(p.Labels) == 0 || p.Labels.String() == labels.String()) {
			if names != "" {
				names += ","
			}
			names += p.Object.Path()
		}
	}
	return names
}

func (r *reader) dialledCluster(c Caller, name string) View {
	d, at, ok := r.dialled(c, name)
	if !ok {
		return nil
	}
	v := DialledCluster{Dialled: d, ConnectTimeout: r.settings().ConnectTimeout}
	if d.Host == "" {
		if way, _ := r.place(c, at); way != nil {
			v.Ways = []Cluster{*way}
		} else {
			v.Closed = r.settings().OnlyKnown && !r.mayLeave(at)
		}
		return v
	}
	for _, s := range d.ways() {
		if way, ok := r.cluster(c, s.String()).(Cluster); ok {
			v.Ways = append(v.Ways, way)
		}
	}
	return v
}

func (r *reader) dialledEndpoints(c Caller, name string) View {
	d, at, ok := r.dialled(c, name)
	if !ok {
		return nil
	}
	v := DialledEndpoints{Dialled: d}
	if d.Host == "" {
		if way, endpoint := r.place(c, at); way != nil {
			v.Ways = []Endpoints{{Subset: way.Subset, Endpoints: []Endpoint{endpoint}}}
		}
		return v
	}
	for _, s := range d.ways() {
		if way, ok := r.subsetEndpoints(s.String()).(Endpoints); ok {
			v.Ways = append(v.Ways, way)
		}
	}
	return v
}

// place returns the way to exactly one place: that of a workload, or of an endpoint without one. It is nil where nobody of the mesh
// is. Of who is there it is known who that is, so that nobody else is taken for it.
func (r *reader) place(c Caller, at netip.AddrPort) (*Cluster, Endpoint) {
	a := r.address(at.Addr())
	if a == nil {
		return nil, Endpoint{}
	}
	for _, id := range a.Workloads {
		if w := r.workload(id); w != nil && w.Type == mesh.Sidecar {
			host, port, speak := r.servedAt(w, int(at.Port()))
			identity := r.snapshot.Realm().IdentityOf(w.Namespace, w.Account)
			e := Endpoint{Workload: w.Name, Version: w.Labels["version"]}
			return r.placeOf(c, at, mesh.Subset{Host: host, Port: port}, speak, identity, e)
		}
	}
	for _, h := range a.Endpoints {
		svc := r.service(h)
		if svc == nil {
			continue
		}
		for _, e := range r.endpoints(h) {
			for _, port := range svc.Ports {
				if isAt(e, at.Addr()) && e.Ports[port.Name] == int(at.Port()) {
					identity := r.snapshot.Realm().IdentityOf(svc.Namespace, e.Account)
					found := Endpoint{Workload: e.Workload, Version: e.Labels["version"]}
					speak := r.stance(h).Port(port.Number).Speak
					if r.pastProxy(svc, e, int(at.Port())) {
						speak = mesh.Plain
					}
					return r.placeOf(c, at, mesh.Subset{Host: h, Port: port.Number}, speak, identity, found)
				}
			}
		}
	}
	return nil, Endpoint{}
}

// mayLeave tells whether an EgressRule names an address outside the mesh, with this port.
func (r *reader) mayLeave(at netip.AddrPort) bool {
	rule := r.egress(mesh.Host(at.Addr().String()))
	if rule == nil {
		return false
	}
	_, ok := rule.Port(int(at.Port()))
	return ok
}

// isAt tells whether an address is one of an endpoint's.
func isAt(e mesh.Endpoint, a netip.Addr) bool {
	return slices.ContainsFunc(append([]string{e.Address}, e.Further...), func(text string) bool {
		own, err := netip.ParseAddr(text)
		return err == nil && own.Unmap() == a
	})
}

func (r *reader) placeOf(c Caller, at netip.AddrPort, s mesh.Subset, speak mesh.Transport, identity string, e Endpoint) (*Cluster, Endpoint) {
	way := &Cluster{Subset: s, Protocol: mesh.TCP, ConnectTimeout: r.settings().ConnectTimeout}
	e.Address, e.Port, e.Health = at.Addr().String(), int(at.Port()), mesh.Healthy
	if speak == mesh.TLS && identity != "" && !c.Plain {
		way.Mutual = &Mutual{Identities: []string{identity}, CertTTL: r.snapshot.Realm().CertTTL}
		e.Proves = true
	}
	return way, e
}

// servedAt returns for which port of which host a workload listens on a port, and what is spoken there. A port of which nobody has
// said anything has no stance that changes in steps: whatever the mesh wants, a captured workload takes mutual TLS there, so that
// is spoken. Ports to which connections come past the proxy are not the proxy's.
func (r *reader) servedAt(w *mesh.Workload, listen int) (h mesh.Host, port int, speak mesh.Transport) {
	h, port, speak = mesh.Host(w.ID()), listen, mesh.Plain
	named := false
	for _, s := range w.Serves {
		if s.Listen != listen {
			continue
		}
		if !named {
			h, port, named = s.Host, s.Port, true
		}
		if r.stance(s.Host).Port(s.Port).Speak == mesh.TLS {
			speak = mesh.TLS
		}
	}
	if !named && w.Capture {
		speak = mesh.TLS
	}
	if w.Capture && w.Inbound.Past(listen) {
		speak = mesh.Plain
	}
	return h, port, speak
}
