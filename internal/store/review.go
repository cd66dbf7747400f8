package store

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// maxTold bounds how many problems of one object the review tells.
const maxTold = 100

// review tells what is doubtful about objects in the light of all others and of what the registries know: hosts that no
// source knows, ports that a service does not have, labels that no endpoint has which takes requests, rules that are
// never reached, paths that another object has too. It is a pure function. What it finds are warnings, since the next
// change may make them right.
func review(s *mesh.Snapshot, claims []claim) []mesh.Problem {
	r := &reviewer{
		snapshot: s, holders: make(map[mesh.Ref]*entry, len(claims)), told: map[mesh.Ref]int{},
		matches: matches{map[string]mesh.Pattern{}, mostSteps},
	}
	for _, c := range claims {
		r.holders[c.ref] = c.holder()
		r.mentions(c.holder())
		for _, rule := range c.holder().meaning.Rules {
			r.ports(rule)
		}
	}
	for _, k := range s.Keys(mesh.KindRules) {
		r.rivals(s.Rules(mesh.Host(k.Name)).Rules)
	}
	if door := s.Door(); door != nil {
		r.paths(door.Rules)
		r.certificates(door.TLS)
		r.secrets(door.TLS)
	}
	return r.problems
}

type reviewer struct {
	snapshot *mesh.Snapshot
	holders  map[mesh.Ref]*entry
	matches  matches
	hosts    []mesh.Host // all that there are; filled when first needed
	told     map[mesh.Ref]int
	problems []mesh.Problem
}

// tell reports a problem at p.Field of an object, unless enough of it is told.
func (r *reviewer) tell(ref mesh.Ref, p mesh.Problem) {
	if r.told[ref]++; r.told[ref] > maxTold {
		return
	}
	p.Object, p.Severity = ref, mesh.Warning
	if p.Position == (mesh.Position{}) {
		p.Position = r.holders[ref].object.At(p.Field)
	}
	r.problems = append(r.problems, p)
}

// tellAt reports a problem at a field below the one that stands at a place of an object; where there is none, at that one.
func (r *reviewer) tellAt(ref mesh.Ref, at mesh.Position, below string, p mesh.Problem) {
	if r.told[ref] >= maxTold {
		return // and spares the search for the field
	}
	above := r.holders[ref].object.FieldAt(at)
	p.Field = r.field(ref, above+below, above)
	r.tell(ref, p)
}

// field returns the first of the fields that the object has, else the last.
func (r *reviewer) field(ref mesh.Ref, fields ...string) string {
	for _, f := range fields {
		if r.holders[ref].object.Has(f) {
			return f
		}
	}
	return fields[len(fields)-1]
}

// mentions reviews the hosts that an object names.
func (r *reviewer) mentions(e *entry) {
	lost := map[mesh.Host]bool{} // told once for each object
	for _, m := range e.meaning.Mentions {
		if lost[m.Host] || slices.Contains(mesh.IngressHosts(r.snapshot.Domain()), m.Host) { // the ingress answers for it, whoever knows
			continue
		}
		p, ok := r.look(m)
		if !ok {
			continue
		}
		if p.Code == config.CodeEmptySubset && len(e.meaning.Policies) == 0 {
			p.Message += ": requests sent there are answered with 503"
		}
		lost[m.Host] = p.Code == config.CodeUnknownHost
		p.Field, p.Position = m.Field, m.Position
		r.tell(e.object.Ref, p)
	}
}

// ports tells of hosts to which a rule sends requests of another one, and which do not have its ports.
func (r *reviewer) ports(rule *mesh.RouteRule) {
	from := r.snapshot.Service(rule.Destination)
	if from == nil {
		return
	}
	look := func(h mesh.Host, field string) {
		known, ok := r.portsAt(h)
		if !ok || h == rule.Destination {
			return
		}
		for _, p := range from.Ports {
			if !slices.ContainsFunc(known, func(o mesh.Port) bool { return o.Number == p.Number }) {
				r.tell(rule.Object, mesh.Problem{
					Field: field, Code: config.CodeUnknownPort, Hint: portsOf(known),
					Message: fmt.Sprintf("requests for port %d of %s go to the same port of %s, which it does not have", p.Number, from.Host, h),
				})
			}
		}
	}
	for i, to := range rule.Routes {
		look(to.Host, config.Item("spec.route", i)+".destination")
	}
	if rule.Mirror != nil {
		look(rule.Mirror.Host, "spec.mirror")
	}
}

// portsAt returns the ports of a service, or those that an EgressRule allows at a host outside.
func (r *reviewer) portsAt(h mesh.Host) ([]mesh.Port, bool) {
	if svc := r.snapshot.Service(h); svc != nil {
		return svc.Ports, true
	}
	rule := r.snapshot.Egress(h)
	if rule == nil {
		rule = r.snapshot.EgressPatterns().Find(h)
	}
	if rule == nil {
		return nil, false
	}
	return rule.Ports, true
}

// isAllowed tells whether an egress rule lets workloads call the host. A destination that is more than one host is known
// when there is an egress rule with the same one.
func (r *reviewer) isAllowed(h mesh.Host) bool {
	if r.snapshot.Egress(h) != nil {
		return true
	}
	patterns := r.snapshot.EgressPatterns()
	if patterns == nil {
		return false
	}
	same := mesh.EgressRule{Destination: h}
	return slices.ContainsFunc(patterns.Rules, func(rule *mesh.EgressRule) bool {
		return rule.Destination == h || (!same.IsPattern() && rule.Takes(h))
	})
}

// look returns what is wrong with a mention, if anything is.
func (r *reviewer) look(m config.Mention) (mesh.Problem, bool) {
	service := r.snapshot.Service(m.Host)
	if service == nil && r.isAllowed(m.Host) {
		return mesh.Problem{}, false
	}
	if service == nil {
		return mesh.Problem{
			Code: config.CodeUnknownHost, Message: fmt.Sprintf("no source knows the host %s", m.Host), Hint: r.suggest(m.Host),
		}, true
	}
	port, ok := portIn(service, m)
	if !ok {
		return mesh.Problem{
			Code: config.CodeUnknownPort, Message: fmt.Sprintf("%s has no port %s", m.Host, portOf(m)), Hint: portsOf(service.Ports),
		}, true
	}
	if port.Number != 0 && !port.Protocol.IsHTTP() {
		return mesh.Problem{
			Code: config.CodeUnknownPort, Message: fmt.Sprintf("port %s of %s speaks %s, which is no port for requests", portOf(m), m.Host, port.Protocol),
			Hint: portsOf(service.Ports),
		}, true
	}
	if len(m.Labels) > 0 && !r.selects(m) {
		return mesh.Problem{
			Code: config.CodeEmptySubset, Message: fmt.Sprintf("no endpoint of %s that takes requests has the labels %s", m.Host, m.Labels),
		}, true
	}
	return mesh.Problem{}, false
}

// portIn returns the port of the service that a mention names, a zero one when it names none, or false.
func portIn(s *mesh.Service, m config.Mention) (mesh.Port, bool) {
	switch {
	case m.PortName != "":
		return s.PortNamed(m.PortName)
	case m.Port != 0:
		return s.Port(m.Port)
	default:
		return mesh.Port{}, true
	}
}

func portOf(m config.Mention) string {
	if m.PortName != "" {
		return fmt.Sprintf("%q", m.PortName)
	}
	return fmt.Sprint(m.Port)
}

func portsOf(list []mesh.Port) string {
	if len(list) == 0 {
		return ""
	}
	ports := make([]string, 0, len(list))
	for _, p := range list {
		ports = append(ports, strings.TrimSpace(fmt.Sprintf("%d %s", p.Number, p.Name)))
	}
	return "its ports: " + strings.Join(ports, ", ")
}

func (r *reviewer) selects(m config.Mention) bool {
	set := r.snapshot.Endpoints(m.Host)
	return set != nil && slices.ContainsFunc(set.Endpoints, func(e mesh.Endpoint) bool {
		return e.Health == mesh.Healthy && m.Labels.Select(e.Labels)
	})
}

// suggest returns a hint at the host that was probably meant, and at what makes a host outside the mesh known.
func (r *reviewer) suggest(h mesh.Host) string {
	meant := r.nearest(h)
	if strings.HasSuffix(string(h), ".svc."+r.snapshot.Domain()) {
		return meant
	}
	const outside = "if it is outside the mesh, an EgressRule for it lets workloads call it"
	return strings.TrimSpace(meant + " " + outside)
}

// nearest asks for the host that was probably meant: the same name elsewhere, else a similar one.
func (r *reviewer) nearest(h mesh.Host) string {
	if r.hosts == nil {
		for _, k := range r.snapshot.Keys(mesh.KindService) {
			r.hosts = append(r.hosts, mesh.Host(k.Name))
		}
	}
	name, rest, _ := strings.Cut(string(h), ".")
	var beside []string // names of the services in the same namespace
	for _, known := range r.hosts {
		first, other, _ := strings.Cut(string(known), ".")
		if first == name {
			return fmt.Sprintf("did you mean %q?", known)
		}
		if other == rest {
			beside = append(beside, first)
		}
	}
	if near := config.Nearest(name, beside); near != "" {
		return fmt.Sprintf("did you mean %q?", near+"."+rest)
	}
	return ""
}
