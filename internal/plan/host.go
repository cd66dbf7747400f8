package plan

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/view"
)

// VirtualHost holds the routes for one spelling of a host, tried in order.
type VirtualHost struct {
	Name   string    `json:"name"`
	Domain string    `json:"domain"`
	Host   mesh.Host `json:"host,omitempty"`
	Routes []Route   `json:"routes"`
}

// LocalRoutes holds the routes behind a local address, for every host, tried in order.
type LocalRoutes struct {
	Name   string    `json:"name"`
	Host   mesh.Host `json:"host"`
	Routes []Route   `json:"routes"`
	// Captured tells that they are for a captured workload, whose requests wait for them.
	Captured bool `json:"captured,omitempty"`
}

// Words in angle brackets stand where no object decides.
const (
	tunnelRoute    = "<tunnel>"     // CONNECT: what is sent through it is steered by itself
	probeRoute     = "<probe>"      // a question of the node
	noServiceRoute = "<no-service>" // no service of this name and port
	noEgressRoute  = "<no-egress>"  // a host outside the mesh that no EgressRule allows
)

// Words for connections that a served port turns away before anything is read from them.
const (
	NotProven      = "<not-proven>"      // it proves no identity, where nothing else is taken
	NotTrusted     = "<not-trusted>"     // what it proves is not trusted here, or no longer
	AnotherAddress = "<another-address>" // its certificate was given to a workload with another address
)

// Needs returns the subsets that the routes lead to.
func (v VirtualHost) Needs() []mesh.Subset { return needs(v.Routes) }

// Needs returns the subsets that the routes lead to.
func (l LocalRoutes) Needs() []mesh.Subset { return needs(l.Routes) }

func virtualHost(v view.VirtualHost) VirtualHost {
	p := VirtualHost{Name: v.Name, Domain: v.Domain, Host: v.Host}
	if v.Protocol == "" {
		name, answer := refusal(v)
		p.Routes = everyRequest(Route{Name: name, Answer: answer})
		return p
	}
	r := routerFor(v)
	dialled, _ := netip.ParseAddr(string(v.Host))
	rules := dial(v.Rules, dialled)
	switch {
	case v.Protocol.IsHTTP():
		p.Routes = append([]Route{intoTunnel()}, r.routes(rules)...)
	case v.Egress != nil && v.Protocol == mesh.HTTPS:
		// Requests get TLS from the proxy; what comes by CONNECT brings its own.
		p.Routes = append(r.tunnels(rules), r.routes(rules)...)
	default:
		p.Routes = append(r.tunnels(rules), Route{Name: noServiceRoute, Path: anyPath, Answer: notHTTP(v)})
	}
	return p
}

func routerFor(v view.VirtualHost) router {
	r := router{host: v.Host, port: v.Port, policies: v.Policies}
	if v.Egress != nil {
		r.pattern, r.object, r.origin = v.Egress.Destination, v.Egress.Object, v.Egress.Origin
	}
	return r
}

// everyRequest makes a route take every request, CONNECT too.
func everyRequest(r Route) []Route {
	tunnel := r
	tunnel.Connect, r.Path = true, anyPath
	return []Route{tunnel, r}
}

// intoTunnel ends CONNECT and takes what follows as requests.
func intoTunnel() Route {
	return Route{Name: tunnelRoute, Connect: true, Tunnel: true, Cluster: view.Inner, Idle: idleTimeout}
}

// tunnels returns the routes for CONNECT to something whose bytes are not requests: rules with conditions on requests
// do not concern them.
func (r router) tunnels(rules []*mesh.RouteRule) []Route {
	r.raw = true
	var routes []Route
	for _, rule := range rules {
		if !aboutBytes(rule) {
			continue
		}
		p := Route{
			Name: rule.Object.Path(), Origin: rule.Origin, Connect: true, Tunnel: true, Shares: r.shares(rule), Idle: idleTimeout,
			Retry: unsentHere,
		}
		if rule.TCP != nil {
			p.Sources, p.Dialled = rule.TCP.Sources, rule.TCP.Destinations
		}
		routes = append(routes, p)
		if rule.CatchesAll() {
			return routes
		}
	}
	return append(routes, r.otherwise(Route{
		Connect: true, Tunnel: true, Shares: r.whole(), Idle: idleTimeout, Retry: unsentHere,
	}))
}

// aboutBytes tells whether a rule can concern connections whose bytes are not requests.
func aboutBytes(rule *mesh.RouteRule) bool {
	return len(rule.Headers) == 0 && rule.URI == nil && rule.Redirect == nil
}

// dial returns the rules that can concern who dialled the address (zero: a name, which is no address), without their
// conditions on it.
func dial(rules []*mesh.RouteRule, address netip.Addr) []*mesh.RouteRule {
	kept := make([]*mesh.RouteRule, 0, len(rules))
	for _, rule := range rules {
		switch {
		case rule.TCP == nil || len(rule.TCP.Destinations) == 0:
			kept = append(kept, rule)
		case within(address, rule.TCP.Destinations):
			c := *rule
			if c.TCP = nil; len(rule.TCP.Sources) > 0 {
				c.TCP = &mesh.TCPMatch{Sources: rule.TCP.Sources}
			}
			kept = append(kept, &c)
		}
	}
	return kept
}

// within tells whether one of the networks holds the address.
func within(address netip.Addr, networks []string) bool {
	return slices.ContainsFunc(networks, func(text string) bool {
		network, err := netip.ParsePrefix(text)
		return err == nil && address.IsValid() && network.Contains(address)
	})
}

func localRoutes(v view.LocalRoutes) LocalRoutes {
	r := router{host: v.Host, port: v.Port, policies: v.Policies}
	p := LocalRoutes{Name: v.Name, Host: v.Host, Captured: isCaptured(v.Name)}
	if p.Routes = r.routes(v.Rules); v.Bytes {
		p.Routes = r.asBytes(v.Rules)
	}
	return p
}

func isCaptured(name string) bool {
	_, _, captured := view.CapturedHost(view.ID{Kind: view.KindRoutes, Name: name})
	return captured
}

// asBytes returns the routes for requests to a port whose bytes are not known to be requests: they go where its bytes do, and
// nothing bounds them.
func (r router) asBytes(rules []*mesh.RouteRule) []Route {
	routes := r.tunnels(rules)
	for i := range routes {
		routes[i].Connect, routes[i].Tunnel, routes[i].Path = false, false, anyPath
	}
	return routes
}

// TooManyHosts answers a name beyond the limit of names that one proxy may hold.
func TooManyHosts(name string, limit int) VirtualHost {
	return answering(name, "<too-many-hosts>", fmt.Sprintf("lateen: this workload has asked for more than %d different hosts.\n", limit))
}

// CannotMake answers a name whose routes cannot be made, which is a mistake of Lateen's own.
func CannotMake(name string) VirtualHost {
	return answering(name, "<cannot-make>", "lateen: the routes for this host cannot be made; the log of the control plane says why.\n")
}

// answering answers every request for a name with 503.
func answering(name, route, body string) VirtualHost {
	_, domain, _ := strings.Cut(name, "/")
	return VirtualHost{Name: name, Domain: domain, Routes: everyRequest(Route{Name: route, Answer: &Answer{Status: 503, Body: body}})}
}
