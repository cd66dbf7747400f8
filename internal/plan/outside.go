package plan

import (
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/view"
)

// OutsideRoutes steers requests of captured workloads to one port outside the mesh, by the host that they name. The last host takes those
// of which no rule says anything.
type OutsideRoutes struct {
	Name  string        `json:"name"`
	Port  int           `json:"port"`
	Hosts []VirtualHost `json:"hosts"`
}

// passedRoute is taken by requests that go on as they are: nobody has said anything of the host.
const passedRoute = "<passed-on>"

// anyHost is the domain of requests whose host nothing else names.
const anyHost = "*"

// Needs returns the subsets that the routes lead to.
func (o OutsideRoutes) Needs() []mesh.Subset {
	var all []Route
	for _, h := range o.Hosts {
		all = append(all, h.Routes...)
	}
	return needs(all)
}

// Host returns the virtual host that a request to a name meets, or to an address: the exact one, else that of the longest wildcard, of
// which an address meets only the one for everything.
func (o OutsideRoutes) Host(name mesh.Host) VirtualHost {
	var found VirtualHost
	for _, h := range o.Hosts {
		rule := mesh.EgressRule{Destination: mesh.Host(h.Domain)}
		exact := mesh.Host(h.Domain) == name
		if exact || ((rule.Takes(name) || h.Domain == anyHost) && len(h.Domain) > len(found.Domain)) {
			found = h
		}
		if exact {
			break
		}
	}
	return found
}

func outsideRoutes(v view.OutsideRoutes) OutsideRoutes {
	p := OutsideRoutes{Name: v.Name, Port: v.Port, Hosts: []VirtualHost{}}
	rest := true
	for _, h := range v.Hosts {
		rest = rest && h.Egress.Destination != anyHost
		r := router{
			host: h.Egress.Destination, pattern: h.Egress.Destination, port: v.Port, policies: h.Policies, original: true,
			object: h.Egress.Object, origin: h.Egress.Origin,
		}
		p.Hosts = append(p.Hosts, VirtualHost{
			Name: string(h.Egress.Destination), Domain: string(h.Egress.Destination), Host: h.Egress.Destination,
			Routes: r.routes(h.Rules),
		})
	}
	if rest {
		p.Hosts = append(p.Hosts, VirtualHost{Name: anyHost, Domain: anyHost, Routes: everyRequest(Route{
			Name: passedRoute, Path: anyPath, Cluster: view.Passthrough, Idle: idleTimeout, Retry: unsentHere,
		})})
	}
	return p
}
