package store

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// review tells what objects expect of a snapshot in vain: hosts that no source knows, ports that a service does not
// have, labels that no endpoint has which takes requests. It is a pure function. What it finds are warnings, since the
// next change of a registry may make them right.
func review(s *mesh.Snapshot, claims []claim) []mesh.Problem {
	r := reviewer{snapshot: s}
	for _, c := range claims {
		lost := map[mesh.Host]bool{} // told once for each object
		for _, m := range c.holder().meaning.Mentions {
			if lost[m.Host] {
				continue
			}
			p, ok := r.look(m)
			if !ok {
				continue
			}
			lost[m.Host] = p.Code == config.CodeUnknownHost
			p.Object, p.Field, p.Position, p.Severity = c.ref, m.Field, m.Position, mesh.Warning
			r.problems = append(r.problems, p)
		}
	}
	return r.problems
}

type reviewer struct {
	snapshot *mesh.Snapshot
	hosts    []mesh.Host // all that there are; filled when first needed
	problems []mesh.Problem
}

// look returns what is wrong with a mention, if anything is.
func (r *reviewer) look(m config.Mention) (mesh.Problem, bool) {
	service := r.snapshot.Service(m.Host)
	if service == nil {
		return mesh.Problem{
			Code: config.CodeUnknownHost, Message: fmt.Sprintf("no source knows the host %s", m.Host), Hint: r.suggest(m.Host),
		}, true
	}
	if !hasPort(service, m) {
		return mesh.Problem{
			Code: config.CodeUnknownPort, Message: fmt.Sprintf("%s has no port %s", m.Host, portOf(m)), Hint: portsOf(service),
		}, true
	}
	if len(m.Labels) > 0 && !r.selects(m) {
		return mesh.Problem{
			Code: config.CodeEmptySubset,
			Message: fmt.Sprintf("no endpoint of %s that takes requests has the labels %s: requests sent there are answered with 503",
				m.Host, m.Labels),
		}, true
	}
	return mesh.Problem{}, false
}

func hasPort(s *mesh.Service, m config.Mention) bool {
	ok := true
	if m.PortName != "" {
		_, ok = s.PortNamed(m.PortName)
	} else if m.Port != 0 {
		_, ok = s.Port(m.Port)
	}
	return ok
}

func portOf(m config.Mention) string {
	if m.PortName != "" {
		return fmt.Sprintf("%q", m.PortName)
	}
	return fmt.Sprint(m.Port)
}

func portsOf(s *mesh.Service) string {
	if len(s.Ports) == 0 {
		return ""
	}
	ports := make([]string, 0, len(s.Ports))
	for _, p := range s.Ports {
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

// suggest returns a hint at the host that was probably meant: the same name elsewhere, else a similar one.
func (r *reviewer) suggest(h mesh.Host) string {
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
