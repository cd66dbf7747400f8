package plan

import (
	"fmt"
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

// Door holds the routes of an ingress, for every host, tried in order.
type Door struct {
	Name   string  `json:"name"`
	Routes []Route `json:"routes"`
}

// Route is one thing that may happen to a request: it is answered, or it goes to one of the shares.
type Route struct {
	Name    string        `json:"name"` // of the deciding object, "default/reviews-test-v2", or a word in angle brackets
	Origin  mesh.Position `json:"origin,omitzero"`
	Path    PathMatch     `json:"path"`
	Headers []HeaderMatch `json:"headers,omitempty"`

	Answer  *Answer `json:"answer,omitempty"`
	Shares  []Share `json:"shares,omitempty"`
	Cluster string  `json:"cluster,omitempty"` // the proxy's own, instead of shares

	Timeout mesh.Duration `json:"timeout,omitempty"` // of the whole response; 0: none
	Begin   mesh.Duration `json:"begin,omitempty"`   // until the response begins, for each try; 0: none
	Idle    mesh.Duration `json:"idle,omitempty"`    // without a byte in either direction
	Retry   Retry         `json:"retry,omitzero"`
	Fault   *mesh.Fault   `json:"fault,omitempty"`
}

// PathKind says how a path is compared. An element prefix takes whole path elements: /api takes /api/x, not /apis.
type PathKind string

// The kinds of path matches.
const (
	PathExact         PathKind = "exact"
	PathPrefix        PathKind = "prefix"
	PathElementPrefix PathKind = "element-prefix"
	PathRegex         PathKind = "regex"
)

// PathMatch compares the path without the query.
type PathMatch struct {
	Kind  PathKind `json:"kind"`
	Value string   `json:"value"`
}

// HeaderMatch compares a header; ":path" is the path with the query.
type HeaderMatch = mesh.HeaderMatch

// Answer is given by the proxy itself.
type Answer struct {
	Status int    `json:"status"`
	Body   string `json:"body"`
}

// Share is a destination with its part of the requests.
type Share struct {
	Subset mesh.Subset `json:"subset"`
	Weight int         `json:"weight"`
}

// Retry says which failures are tried again, and how often beyond the first try.
type Retry struct {
	On       string `json:"on,omitempty"` // Envoy's words
	Attempts int    `json:"attempts,omitempty"`
}

var (
	anyPath = PathMatch{Kind: PathPrefix, Value: "/"}
	// unsentOnly retries what provably never reached an application.
	unsentOnly = Retry{On: "connect-failure,refused-stream,reset-before-request", Attempts: 2}
)

// onFailure is what a rule's simpleRetry means.
const onFailure = "5xx,connect-failure,refused-stream"

// maxNamedPorts bounds the ports that an answer names: Envoy takes answers of 4096 bytes at most.
const maxNamedPorts = 20

// DefaultRoute is the name of the route that is taken when no rule decides.
const DefaultRoute = "<default>"

// Needs returns the subsets that the routes lead to.
func (v VirtualHost) Needs() []mesh.Subset { return needs(v.Routes) }

// Needs returns the subsets that the routes lead to.
func (d Door) Needs() []mesh.Subset { return needs(d.Routes) }

func virtualHost(v view.VirtualHost) VirtualHost {
	p := VirtualHost{Name: v.Name, Domain: v.Domain, Host: v.Host}
	if v.Port == 0 {
		p.Routes = []Route{{Name: "<no-service>", Path: anyPath, Answer: noService(v)}}
		return p
	}
	p.Routes = ruleRoutes(v.Host, v.Port, v.Rules)
	return p
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
	return VirtualHost{Name: name, Domain: domain, Routes: []Route{{
		Name: route, Path: anyPath, Answer: &Answer{Status: 503, Body: body},
	}}}
}

// noService explains why a spelling leads nowhere.
func noService(v view.VirtualHost) *Answer {
	if v.Service == nil {
		return &Answer{Status: 502, Body: fmt.Sprintf(
			"lateen: no service %q is known in this mesh. Check the name, or the namespace: NAME.NAMESPACE.\n", v.Domain)}
	}
	var ports []string
	for _, p := range v.Service.Ports {
		if p.Protocol.IsHTTP() {
			ports = append(ports, fmt.Sprint(p.Number))
		}
	}
	if more := len(ports) - maxNamedPorts; more > 0 {
		ports = append(ports[:maxNamedPorts], fmt.Sprintf("and %d more", more))
	}
	if len(ports) == 0 {
		return &Answer{Status: 502, Body: fmt.Sprintf(
			"lateen: service %s has no HTTP port. A port's name tells its protocol: \"http\", \"http2-…\", \"grpc-…\".\n", v.Host)}
	}
	return &Answer{Status: 502, Body: fmt.Sprintf(
		"lateen: %q names no HTTP port of service %s. It has: %s.\n", v.Domain, v.Host, strings.Join(ports, ", "))}
}

// ruleRoutes returns the routes for a host and port: one for each rule, then the default.
func ruleRoutes(host mesh.Host, port int, rules []*mesh.RouteRule) []Route {
	var routes []Route
	for _, rule := range rules {
		routes = append(routes, ruleRoute(rule, port))
		if rule.CatchesAll() {
			return routes
		}
	}
	return append(routes, Route{
		Name: DefaultRoute, Path: anyPath, Shares: []Share{{Subset: mesh.Subset{Host: host, Port: port}, Weight: 100}},
		Begin: beginTimeout, Idle: idleTimeout, Retry: unsentOnly,
	})
}

func ruleRoute(rule *mesh.RouteRule, port int) Route {
	r := Route{
		Name: rule.Object.Path(), Origin: rule.Origin, Path: rulePath(rule.URI), Headers: rule.Headers,
		Begin: beginTimeout, Idle: idleTimeout, Retry: unsentOnly, Fault: rule.Fault,
	}
	for _, to := range rule.Routes {
		r.Shares = append(r.Shares, Share{mesh.Subset{Host: to.Host, Port: port, Labels: to.Labels}, to.Weight})
	}
	if len(r.Shares) == 0 {
		r.Shares = []Share{{mesh.Subset{Host: rule.Destination, Port: port}, 100}}
	}
	if len(r.Shares) == 1 {
		r.Shares[0].Weight = 100
	}
	if rule.Timeout != nil {
		r.Timeout, r.Begin = *rule.Timeout, 0
	}
	if rule.Retries != nil {
		r.Retry = Retry{On: onFailure, Attempts: rule.Retries.Attempts}
		if rule.Retries.PerTry > 0 {
			r.Begin = rule.Retries.PerTry
		}
	}
	return r
}

// rulePath spells a rule's match of the URI as a match of the path.
func rulePath(uri *mesh.StringMatch) PathMatch {
	if uri == nil {
		return anyPath
	}
	kinds := map[mesh.MatchKind]PathKind{
		mesh.MatchExact: PathExact, mesh.MatchPrefix: PathPrefix, mesh.MatchRegex: PathRegex,
	}
	return PathMatch{Kind: kinds[uri.Kind], Value: uri.Value}
}
