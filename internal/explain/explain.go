// Package explain tells what a plan makes of one request: which route decides, why every other one does not, and
// what may happen to the request with which share.
//
// It walks the same plan that proxies are given, in Envoy's way, and must never differ from what an Envoy does:
// meshtest.TestExplainAgreesWithEnvoy sends the same requests through both. The package is pure.
package explain

import (
	"net/netip"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/plan"
)

// Request is what a client sends. Path carries the query. Names of headers may be in any case.
type Request struct {
	Method    string
	Scheme    string // "" is "http"
	Authority string
	Path      string // of CONNECT: "" (what stands here is not looked at)
	Headers   map[string][]string
	Source    netip.Addr // the caller's own address; zero: not known, which is in no network
	Dialled   netip.Addr // the address that the caller dialled; zero: it called a name
}

// Decision is what becomes of a request.
type Decision struct {
	Route      *plan.Route // nil: none takes the request
	Candidates []Candidate // every route, in the order in which they are tried, the winner included
	Outcomes   []Outcome   // what may happen; the shares sum up to 100
}

// Candidate is a route that stood to be tried.
type Candidate struct {
	Name   string        `json:"name"`
	Origin mesh.Position `json:"origin,omitzero"`
	Via    string        `json:"via,omitempty"` // of an ingress: "Ingress default/gateway /shop", the path it belongs to
	Taken  bool          `json:"taken,omitempty"`
	Why    string        `json:"why,omitempty"` // it was not taken
}

// Outcome is one thing that may happen to a request: after Delay the proxy answers by itself (Status is set), or the
// request goes on to Destination or Cluster.
type Outcome struct {
	Percent float64       `json:"percent"` // of such requests
	Delay   mesh.Duration `json:"delay,omitempty"`

	// An answer of the proxy.
	Status   int    `json:"status,omitempty"`
	GRPC     *int   `json:"grpc,omitempty"` // status of gRPC, which goes with Status 200 to callers that speak gRPC
	Location string `json:"location,omitempty"`
	Body     string `json:"body,omitempty"`

	// What goes on.
	Destination  *mesh.Subset  `json:"destination,omitempty"`
	Cluster      string        `json:"cluster,omitempty"` // the proxy's own, instead of Destination
	Tunnel       bool          `json:"tunnel,omitempty"`  // what follows CONNECT goes on as bytes
	Path         string        `json:"path,omitempty"`
	Authority    string        `json:"authority,omitempty"`
	Append       []mesh.Header `json:"append,omitempty"`
	Mirror       *mesh.Subset  `json:"mirror,omitempty"`
	KiBPerSecond int           `json:"kibPerSecond,omitempty"` // of the response; 0: as fast as it goes

	// How it goes on within the mesh: in mutual TLS, plain text, or both, to each endpoint as it can; "": nothing is known of
	// endpoints. Why says why not in mutual TLS alone, or why the proxy answers, since all endpoints of Destination are left out.
	Transport mesh.Transport `json:"transport,omitempty"`
	Why       string         `json:"why,omitempty"`
}

// Decide tries the routes in order. A CONNECT request meets only routes for CONNECT, others never do.
//
// It is defined for requests that Envoy takes: a known method, an authority that is a host with or without a port, and a
// path of printable ASCII characters that begins with "/", or "*" for OPTIONS. A path with a fragment is answered with
// 400. Before anything is compared the path is normalized as Envoy does it: elements "." and ".." are resolved, "\"
// becomes "/", escaped letters, digits and "-", ".", "_", "~" are written as they are; slashes in a row stay. Of several
// values of one header each is compared by itself, but for the few headers of which Envoy keeps one, joined by commas.
// Of the headers that Envoy writes by itself (x-forwarded-*, x-envoy-*, x-request-id) only x-forwarded-proto is known;
// what a client says there is taken as it is. Retries, timeouts and endpoints are not looked at.
func Decide(routes []plan.Route, r Request) Decision {
	q, ok := canonical(r)
	if !ok {
		return Decision{Candidates: unasked(routes, "the path is malformed"), Outcomes: refused(q, 400)}
	}
	var d Decision
	for i := range routes {
		c := Candidate{Name: routes[i].Name, Origin: routes[i].Origin, Via: routes[i].Via}
		switch {
		case d.Route != nil:
			c.Why = "answered before"
		default:
			if c.Why = q.differs(&routes[i]); c.Why == "" {
				d.Route, c.Taken = &routes[i], true
			}
		}
		d.Candidates = append(d.Candidates, c)
	}
	if d.Route == nil {
		d.Outcomes = refused(q, 404)
		return d
	}
	d.Outcomes = q.outcomes(d.Route)
	return d
}

// Door decides about a request from outside, by the routes for its host. A door takes no CONNECT.
func Door(d plan.Door, r Request) Decision {
	return Decide(d.Host(r.Authority).Routes, r)
}

// unasked lists routes of which none was tried.
func unasked(routes []plan.Route, why string) []Candidate {
	list := make([]Candidate, len(routes))
	for i, r := range routes {
		list[i] = Candidate{Name: r.Name, Origin: r.Origin, Via: r.Via, Why: why}
	}
	return list
}

// Nowhere is the decision about a request for which a proxy has no routes at all.
func Nowhere(r Request) Decision {
	q, _ := canonical(r)
	return Decision{Outcomes: refused(q, 404)}
}

// refused is an answer of the proxy without a route.
func refused(q request, status int) []Outcome {
	return []Outcome{q.answer(Outcome{Percent: 100, Status: status})}
}
