package view

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// View is one of the types of this package: [Cluster], [Endpoints], [VirtualHost], [OnDemandRoutes], [Door],
// [InboundCluster], [InboundListener], [OutboundListener] or [DoorListener].
type View interface{ view() }

// Cluster is what a cluster for a subset depends on.
type Cluster struct {
	Subset   mesh.Subset   `json:"subset"`
	Protocol mesh.Protocol `json:"protocol"`
}

// Endpoints is what the endpoints of a subset depend on.
type Endpoints struct {
	Subset    mesh.Subset `json:"subset"`
	Endpoints []Endpoint  `json:"endpoints"` // sorted by address
}

// Endpoint is one address of the subset.
type Endpoint struct {
	Address  string      `json:"address"`
	Port     int         `json:"port"`
	Workload string      `json:"workload,omitempty"`
	Version  string      `json:"version,omitempty"` // label "version"
	Health   mesh.Health `json:"health"`
}

// VirtualHost is what the answer for one spelling of a host depends on. Service is nil when no service is meant;
// Port is 0 when the spelling has no usable port.
type VirtualHost struct {
	Name    string            `json:"name"`   // of the resource
	Domain  string            `json:"domain"` // as the client spells it
	Host    mesh.Host         `json:"host,omitempty"`
	Port    int               `json:"port,omitempty"`
	Service *mesh.Service     `json:"service,omitempty"`
	Rules   []*mesh.RouteRule `json:"rules,omitempty"` // those that this caller meets, in order
}

// OnDemandRoutes is the frame in which a sidecar's virtual hosts stand. It depends on nothing.
type OnDemandRoutes struct {
	Name string `json:"name"`
}

// Door is what the routes of an ingress depend on.
type Door struct {
	Name  string     `json:"name"`
	Paths []DoorPath `json:"paths"`
}

// DoorPath is one rule of an Ingress object with what stands behind it. Port is 0 when the backend does not exist.
type DoorPath struct {
	Rule  *mesh.DoorRule    `json:"rule"`
	Port  int               `json:"port,omitempty"`
	Rules []*mesh.RouteRule `json:"rules,omitempty"` // route rules of the backend that the ingress meets, in order
}

// InboundCluster leads to the application behind one served port.
type InboundCluster struct {
	Name    string       `json:"name"`
	Serving mesh.Serving `json:"serving"`
}

// InboundListener takes requests for one served port.
type InboundListener struct {
	Name     string       `json:"name"`
	Workload string       `json:"workload"` // ID of the proxy
	Version  string       `json:"version,omitempty"`
	Address  string       `json:"address"`
	Serving  mesh.Serving `json:"serving"`
}

// OutboundListener takes the workload's own requests, as an HTTP proxy.
type OutboundListener struct {
	Name     string `json:"name"`
	Workload string `json:"workload"`
	Address  string `json:"address"`
	Port     int    `json:"port"`
}

// DoorListener takes requests from outside.
type DoorListener struct {
	Name     string `json:"name"`
	Workload string `json:"workload"`
	Address  string `json:"address"`
	Port     int    `json:"port"`
}

func (Cluster) view()          {}
func (Endpoints) view()        {}
func (VirtualHost) view()      {}
func (OnDemandRoutes) view()   {}
func (Door) view()             {}
func (InboundCluster) view()   {}
func (InboundListener) view()  {}
func (OutboundListener) view() {}
func (DoorListener) view()     {}

// Cut returns the view of a resource for a caller, projected to it, and the keys of everything that was looked for,
// sorted. The view is nil when there is no such resource.
func Cut(s *mesh.Snapshot, c Caller, id ID) (View, []mesh.Key) {
	r := &reader{snapshot: s, keys: map[mesh.Key]struct{}{}}
	v := r.cut(c, id)
	return v, slices.SortedFunc(maps.Keys(r.keys), mesh.Key.Compare)
}

// reader reads a snapshot and remembers what it was asked for.
type reader struct {
	snapshot *mesh.Snapshot
	keys     map[mesh.Key]struct{}
}

func (r *reader) note(kind mesh.Kind, name string) {
	r.keys[mesh.Key{Kind: kind, Name: name}] = struct{}{}
}

func (r *reader) service(h mesh.Host) *mesh.Service {
	r.note(mesh.KindService, string(h))
	return r.snapshot.Service(h)
}

func (r *reader) endpoints(h mesh.Host) []mesh.Endpoint {
	r.note(mesh.KindEndpoints, string(h))
	if set := r.snapshot.Endpoints(h); set != nil {
		return set.Endpoints
	}
	return nil
}

func (r *reader) workload(id mesh.ProxyID) *mesh.Workload {
	r.note(mesh.KindWorkload, string(id))
	return r.snapshot.Workload(id)
}

func (r *reader) cut(c Caller, id ID) View {
	switch {
	case id.own():
		return r.ownResource(c, id)
	case id.Kind == KindVirtualHost:
		return r.virtualHost(c, id.Name)
	case id.Kind == KindRoutes && id.Name == OutboundRoutes && c.Type == mesh.Sidecar:
		return OnDemandRoutes{Name: id.Name}
	case id.Kind == KindRoutes && id.Name == DoorRoutes && c.Type == mesh.Ingress:
		return r.door(c)
	case id.Kind == KindCluster:
		return r.cluster(id.Name)
	case id.Kind == KindEndpoints:
		return r.subsetEndpoints(id.Name)
	default:
		return nil
	}
}

func (r *reader) cluster(name string) View {
	subset, err := mesh.ParseSubset(name)
	if err != nil {
		return nil
	}
	protocol := mesh.HTTP
	if svc := r.service(subset.Host); svc != nil {
		if port, ok := svc.Port(subset.Port); ok {
			protocol = port.Protocol
		}
	}
	return Cluster{Subset: subset, Protocol: protocol}
}

func (r *reader) subsetEndpoints(name string) View {
	subset, err := mesh.ParseSubset(name)
	if err != nil {
		return nil
	}
	v := Endpoints{Subset: subset}
	svc := r.service(subset.Host)
	all := r.endpoints(subset.Host)
	if svc == nil {
		return v
	}
	port, ok := svc.Port(subset.Port)
	if !ok {
		return v
	}
	for _, e := range all {
		if number := e.Ports[port.Name]; dialable(e.Address, number) && subset.Labels.Select(e.Labels) {
			v.Endpoints = append(v.Endpoints, Endpoint{
				Address: e.Address, Port: number, Workload: e.Workload, Version: e.Labels["version"], Health: e.Health,
			})
		}
	}
	slices.SortFunc(v.Endpoints, func(a, b Endpoint) int {
		return cmp.Or(cmp.Compare(a.Address, b.Address), cmp.Compare(a.Port, b.Port))
	})
	return v
}

// dialable tells whether a source gave an address and port that a proxy can be told. One that is not is left out, so
// that it harms no other.
func dialable(address string, port int) bool {
	_, err := netip.ParseAddr(address)
	return err == nil && port > 0 && port < 65536
}

func (r *reader) virtualHost(c Caller, name string) View {
	domain, ok := strings.CutPrefix(name, virtualHostRoot)
	if !ok {
		return nil
	}
	v := VirtualHost{Name: name, Domain: domain}
	if domain == initName {
		v.Domain = initName + ".invalid"
		return v
	}
	host, port, ok := splitAuthority(domain)
	if !ok {
		return v
	}
	for _, candidate := range mesh.Candidates(host, c.Namespace, r.snapshot.Domain()) {
		if svc := r.service(candidate); svc != nil {
			v.Service, v.Host = svc, candidate
			break
		}
	}
	if v.Service == nil {
		return v
	}
	if p, ok := v.Service.Port(port); ok && p.Protocol.IsHTTP() {
		v.Port = port
		v.Rules = r.rules(c, v.Host)
	}
	return v
}

// splitAuthority splits a request's authority into a lower-case host and a port, 80 when it names none.
func splitAuthority(authority string) (host string, port int, ok bool) {
	host, text, found := strings.Cut(strings.ToLower(authority), ":")
	if !found {
		return host, 80, host != ""
	}
	port, err := strconv.Atoi(text)
	return host, port, err == nil && host != "" && port > 0 && port < 65536
}

// rules returns the rules of a host that the caller meets, up to the first one that takes every request.
func (r *reader) rules(c Caller, h mesh.Host) []*mesh.RouteRule {
	r.note(mesh.KindRules, string(h))
	set := r.snapshot.Rules(h)
	if set == nil {
		return nil
	}
	var rules []*mesh.RouteRule
	for _, rule := range set.Rules {
		if !c.meets(rule.Source) {
			continue
		}
		rules = append(rules, rule)
		if rule.CatchesAll() {
			break
		}
	}
	return rules
}

// meets tells whether a rule for the source is for this caller.
func (c Caller) meets(source *mesh.SourceMatch) bool {
	return source == nil || ((source.Host == "" || c.serves(source.Host)) && source.Labels.Select(c.Labels))
}

func (r *reader) door(c Caller) View {
	v := Door{Name: DoorRoutes}
	r.note(mesh.KindDoor, "")
	door := r.snapshot.Door()
	if door == nil {
		return v
	}
	for _, rule := range door.Rules {
		path := DoorPath{Rule: rule}
		if svc := r.service(rule.Backend.Host); svc != nil {
			path.Port = backendPort(svc, rule.Backend)
		}
		if path.Port != 0 {
			path.Rules = r.rules(c, rule.Backend.Host)
		}
		v.Paths = append(v.Paths, path)
	}
	return v
}

// backendPort returns the number of the HTTP port that a backend names, or 0.
func backendPort(svc *mesh.Service, b mesh.Backend) int {
	port, ok := svc.Port(b.Port)
	if b.PortName != "" {
		port, ok = svc.PortNamed(b.PortName)
	}
	if !ok || !port.Protocol.IsHTTP() {
		return 0
	}
	return port.Number
}

func (r *reader) ownResource(c Caller, id ID) View {
	w := r.workload(c.Proxy)
	if w == nil {
		return nil
	}
	switch {
	case id == ID{KindListener, outbound} && w.Type == mesh.Sidecar:
		return OutboundListener{Name: id.Name, Workload: string(c.Proxy), Address: w.Address, Port: w.Outbound}
	case id == ID{KindListener, DoorRoutes} && w.Type == mesh.Ingress:
		return DoorListener{Name: id.Name, Workload: string(c.Proxy), Address: w.Door, Port: w.Outbound}
	}
	for _, s := range w.Serves {
		if id.Name != inboundName(s.Port) {
			continue
		}
		if id.Kind == KindCluster {
			return InboundCluster{Name: id.Name, Serving: s}
		}
		return InboundListener{
			Name: id.Name, Workload: string(c.Proxy), Version: w.Labels["version"], Address: w.Address, Serving: s,
		}
	}
	return nil
}
