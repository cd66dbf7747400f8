package view

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// OutsideRoutes is what the routes depend on by which requests of captured workloads to one port outside the mesh are steered.
type OutsideRoutes struct {
	Name  string        `json:"name"`
	Port  int           `json:"port"`
	Hosts []OutsideHost `json:"hosts"` // sorted by destination
}

// OutsideHost is a name outside the mesh, or a wildcard, as an egress rule allows it.
type OutsideHost struct {
	Egress   *mesh.EgressRule  `json:"egress"`
	Protocol mesh.Protocol     `json:"protocol"`
	Rules    []*mesh.RouteRule `json:"rules,omitempty"`    // those that this caller meets, in order
	Policies []Policy          `json:"policies,omitempty"` // those that are for this caller, sorted by name
}

func (OutsideRoutes) view() {}

const outsidePrefix = "outside|" // routes of captured workloads to a port outside the mesh

// OutsideRoutesOf names the routes of captured workloads to a port outside the mesh.
func OutsideRoutesOf(port int) ID { return ID{KindRoutes, outsidePrefix + strconv.Itoa(port)} }

// OutsideCalled tells whether an authority that a captured workload in a namespace calls is not the mesh's, and names the resource that
// a request to it meets; none where it is not read as a request.
func OutsideCalled(s *mesh.Snapshot, namespace, authority string) (id ID, outside bool) {
	host, port, ok := splitAuthority(authority)
	switch {
	case !ok || isInside(s, namespace, host):
		return ID{}, false
	case s.Settings().OnlyKnown:
		return VirtualHostOf(authority), true
	case s.Outside(port) != nil:
		return OutsideRoutesOf(port), true
	}
	return ID{}, true
}

// isInside tells whether a name, as a workload in a namespace spells it, or an address is the mesh's.
func isInside(s *mesh.Snapshot, namespace, host string) bool {
	address, err := netip.ParseAddr(host)
	if err != nil {
		return slices.ContainsFunc(mesh.Candidates(host, namespace, s.Domain()), func(h mesh.Host) bool { return s.Service(h) != nil })
	}
	inside := s.Settings().ServiceRanges
	if ranges := s.Ranges(); ranges != nil {
		inside = slices.Concat(inside, ranges.Networks)
	}
	return slices.ContainsFunc(inside, func(text string) bool {
		network, err := netip.ParsePrefix(text)
		return err == nil && network.Contains(address)
	})
}

// Called returns the host and port that an authority names.
func Called(authority string) (mesh.Host, int) {
	host, port, _ := splitAuthority(authority)
	return mesh.Host(host), port
}

// parseOutside returns the port for which such routes are.
func parseOutside(name string) (int, bool) {
	rest, ok := strings.CutPrefix(name, outsidePrefix)
	port, err := strconv.Atoi(rest)
	return port, ok && err == nil && port > 0 && port < 65536 && strconv.Itoa(port) == rest
}

// outsidePorts returns the ports for which egress rules let requests through.
func (r *reader) outsidePorts() []int {
	r.note(mesh.KindOutside, "")
	return r.snapshot.OutsidePorts()
}

// outside returns the egress rules for requests to a port.
func (r *reader) outside(port int) []*mesh.EgressRule {
	r.note(mesh.KindOutside, strconv.Itoa(port))
	if o := r.snapshot.Outside(port); o != nil {
		return o.Rules
	}
	return nil
}

// outsideRoutes cuts the routes to a port. They are there without rules as well, since a proxy may ask for them until its listener has heard that the last one is
// gone.
func (r *reader) outsideRoutes(c Caller, name string) View {
	port, ok := parseOutside(name)
	if !ok {
		return nil
	}
	v := OutsideRoutes{Name: name, Port: port, Hosts: []OutsideHost{}}
	for _, rule := range r.outside(port) {
		p, _ := rule.Port(port)
		h := OutsideHost{Egress: rule, Protocol: p.Protocol, Rules: r.rules(c, rule.Destination)}
		h.Policies = r.policies(c, rule.Destination, h.Rules)
		v.Hosts = append(v.Hosts, h)
	}
	return v
}
