package plan

import (
	"slices"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/view"
)

// Route is one thing that may happen to a request: it is answered, or it goes to one of the shares.
type Route struct {
	Name   string        `json:"name"` // of the deciding object, "default/reviews-test-v2", or a word in angle brackets
	Origin mesh.Position `json:"origin,omitzero"`
	Via    string        `json:"via,omitempty"` // of an ingress: the object's path that the route belongs to

	// What the route takes. All conditions must hold.
	Connect bool          `json:"connect,omitempty"` // CONNECT requests and no others, whatever the path
	Path    PathMatch     `json:"path,omitzero"`
	Headers []HeaderMatch `json:"headers,omitempty"`
	Sources []string      `json:"sources,omitempty"` // networks of which one holds the caller's address
	Dialled []string      `json:"dialled,omitempty"` // networks of which one holds the address that the caller dialled

	// What happens: one of these.
	Answer   *Answer        `json:"answer,omitempty"`
	Redirect *mesh.Redirect `json:"redirect,omitempty"`
	Shares   []Share        `json:"shares,omitempty"`
	Cluster  string         `json:"cluster,omitempty"` // the proxy's own, instead of shares

	// Of what goes to shares.
	Tunnel  bool          `json:"tunnel,omitempty"` // CONNECT ends here: what follows it goes on as bytes
	Rewrite *Rewrite      `json:"rewrite,omitempty"`
	Append  []mesh.Header `json:"append,omitempty"`
	Mirror  *mesh.Subset  `json:"mirror,omitempty"`
	CORS    *mesh.CORS    `json:"cors,omitempty"`
	Timeout mesh.Duration `json:"timeout,omitempty"` // of the whole response; 0: none
	Begin   mesh.Duration `json:"begin,omitempty"`   // until the response begins, for each try; 0: none
	Idle    mesh.Duration `json:"idle,omitempty"`    // without a byte in either direction
	Retry   Retry         `json:"retry,omitzero"`
	Fault   *mesh.Fault   `json:"fault,omitempty"` // where one has a Header, its value is taken from there
	// TimeoutHeader and RetriesHeader name the request headers whose values take the place of Timeout, in milliseconds,
	// and of the attempts.
	TimeoutHeader string `json:"timeoutHeader,omitempty"`
	RetriesHeader string `json:"retriesHeader,omitempty"`
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

// Rewrite changes path and authority of a request. What is empty stays; the query stays.
type Rewrite struct {
	Prefix    string `json:"prefix,omitempty"` // takes the place of the path's matched prefix
	Path      string `json:"path,omitempty"`   // takes the place of the whole path
	Authority string `json:"authority,omitempty"`
}

// Retry says which failures are tried again, and how often beyond the first try.
type Retry struct {
	On       string `json:"on,omitempty"` // Envoy's words
	Attempts int    `json:"attempts,omitempty"`
	// Header is one of a response by which the proxy of an endpoint says that no application has seen the request: that is tried again too.
	Header string `json:"header,omitempty"`
}

// UnsentHeader is in the answers of a proxy whose application cannot be reached, and in no other: applications cannot say it.
const UnsentHeader = "x-lateen-unsent"

var (
	anyPath = PathMatch{Kind: PathPrefix, Value: "/"}
	// unsentHere retries what provably never reached who stands behind the cluster.
	unsentHere = Retry{On: "connect-failure,refused-stream,reset-before-request", Attempts: 2}
	// unsentOnly retries what provably never reached an application: also what got to the proxy beside it, and no further.
	unsentOnly = Retry{On: unsentHere.On + ",retriable-headers", Attempts: unsentHere.Attempts, Header: UnsentHeader}
)

// onFailure is what a rule's simpleRetry means: 5xx, and what gRPC says instead of it.
const onFailure = "5xx,connect-failure,refused-stream,unavailable,internal,deadline-exceeded"

// DefaultRoute is the name of the route that is taken when no rule decides.
const DefaultRoute = "<default>"

// router makes routes for one port of one host, as one caller is to have them.
type router struct {
	host     mesh.Host     // where requests go that no rule sends elsewhere
	pattern  mesh.Host     // destination of the egress rule that allows host, which rules may name for it; "": a host of the mesh
	port     int           // of the host; the same of others that rules name
	raw      bool          // bytes, not requests
	original bool          // to host go the requests of captured workloads that were going there
	policies []view.Policy // those of this caller alone

	// Who decides where no rule does: an object that lets requests through, or nobody ("").
	object mesh.Ref
	origin mesh.Position
}

// subset returns what a proxy is to balance over for endpoints of a host.
func (r router) subset(h mesh.Host, labels mesh.Labels) mesh.Subset {
	if h == r.pattern {
		h = r.host
	}
	// Only a service of the mesh that answers for its own name is surely not outside.
	s := mesh.Subset{Host: h, Port: r.port, Labels: labels, Raw: r.raw && (r.pattern != "" || h != r.host)}
	s.Original = r.original && h == r.host
	s.Policies = view.PolicyNames(r.policies, h, labels)
	return s
}

// whole returns the host's endpoints as the only share.
func (r router) whole() []Share { return []Share{{Subset: r.subset(r.host, nil), Weight: 100}} }

// routes returns the routes for requests: those of each rule, then the default.
func (r router) routes(rules []*mesh.RouteRule) []Route {
	var routes []Route
	for _, rule := range rules {
		routes = append(routes, r.rule(rule)...)
		if rule.CatchesAll() {
			return routes
		}
	}
	return append(routes, r.otherwise(Route{
		Path: anyPath, Shares: r.whole(), Begin: beginTimeout, Idle: idleTimeout, Retry: unsentOnly,
	}))
}

// otherwise names a route that is taken when no rule decides.
func (r router) otherwise(p Route) Route {
	if p.Name = DefaultRoute; !r.object.IsZero() {
		p.Name, p.Origin = r.object.Path(), r.origin
	}
	return p
}

// rule returns the routes of a rule: one, or several where a fault depends on the request.
func (r router) rule(rule *mesh.RouteRule) []Route {
	p := Route{Name: rule.Object.Path(), Origin: rule.Origin, Path: rulePath(rule.URI), Headers: rule.Headers}
	if rule.TCP != nil {
		p.Sources, p.Dialled = rule.TCP.Sources, rule.TCP.Destinations
	}
	if rule.Redirect != nil {
		p.Redirect = rule.Redirect
		return []Route{p}
	}
	p.Begin, p.Idle, p.Retry = beginTimeout, idleTimeout, unsentOnly
	p.Shares, p.Append, p.CORS = r.shares(rule), rule.Append, rule.CORS
	if rule.Mirror != nil {
		s := r.subset(rule.Mirror.Host, rule.Mirror.Labels)
		p.Mirror = &s
	}
	p.Rewrite = rewrite(rule.Rewrite, rule.URI != nil && rule.URI.Kind == mesh.MatchPrefix)
	if rule.Timeout != nil {
		p.Timeout, p.Begin, p.TimeoutHeader = *rule.Timeout, 0, rule.TimeoutHeader
	}
	if rule.Retries != nil {
		p.Retry = Retry{On: onFailure, Attempts: rule.Retries.Attempts}
		p.RetriesHeader = rule.Retries.Header
		if rule.Retries.PerTry > 0 {
			p.Begin = rule.Retries.PerTry
		}
	}
	return withFaults(p, rule.Fault)
}

// shares returns where the rule sends what it takes.
func (r router) shares(rule *mesh.RouteRule) []Share {
	var shares []Share
	for _, to := range rule.Routes {
		shares = append(shares, Share{r.subset(to.Host, to.Labels), to.Weight})
	}
	switch len(shares) {
	case 0:
		return r.whole()
	case 1:
		shares[0].Weight = 100
	}
	return shares
}

// rewrite says how a path is changed of which a prefix was matched, or the whole, or nothing.
func rewrite(w *mesh.Rewrite, prefix bool) *Rewrite {
	switch {
	case w == nil:
		return nil
	case prefix:
		return &Rewrite{Prefix: w.URI, Authority: w.Authority}
	default:
		return &Rewrite{Path: w.URI, Authority: w.Authority}
	}
}

// faultCase is a delay or an abort for requests that meet conditions of its own.
type faultCase struct {
	when  []HeaderMatch
	delay *mesh.Delay // nil: none
	abort *mesh.Abort // nil: none
}

// withFaults returns the route with the fault, once for each case that the fault knows, first those with conditions.
func withFaults(p Route, f *mesh.Fault) []Route {
	if f == nil {
		return []Route{p}
	}
	var routes []Route
	for _, d := range delayCases(f.Delay) {
		for _, a := range abortCases(f.Abort) {
			r := p
			r.Headers = slices.Concat(p.Headers, d.when, a.when)
			if d.delay != nil || a.abort != nil || f.Throttle != nil {
				r.Fault = &mesh.Fault{Delay: d.delay, Abort: a.abort, Throttle: f.Throttle}
			}
			routes = append(routes, r)
		}
	}
	return routes
}

// delayCases returns the delays for requests with and without the header that can take the place of the value.
func delayCases(d *mesh.Delay) []faultCase {
	if d == nil {
		return []faultCase{{}}
	}
	var cases []faultCase
	if d.Header != "" {
		cases = append(cases, faultCase{when: present(d.Header), delay: &mesh.Delay{Percent: d.Percent, Header: d.Header}})
	}
	if d.Fixed == 0 {
		return append(cases, faultCase{})
	}
	return append(cases, faultCase{delay: &mesh.Delay{Percent: d.Percent, Fixed: d.Fixed}})
}

// abortCases returns the aborts for requests with and without the header that can take the place of the status. Only
// calls of gRPC understand a status of gRPC: others get what it means in HTTP.
func abortCases(a *mesh.Abort) []faultCase {
	if a == nil {
		return []faultCase{{}}
	}
	var cases []faultCase
	if a.Header != "" {
		cases = append(cases, faultCase{when: present(a.Header), abort: &mesh.Abort{Percent: a.Percent, Header: a.Header}})
	}
	switch {
	case a.GRPC != nil:
		return append(cases,
			faultCase{when: callOfGRPC, abort: &mesh.Abort{Percent: a.Percent, GRPC: a.GRPC}},
			faultCase{abort: &mesh.Abort{Percent: a.Percent, Status: HTTPStatus(*a.GRPC)}})
	case a.Status == 0:
		return append(cases, faultCase{})
	default:
		return append(cases, faultCase{abort: &mesh.Abort{Percent: a.Percent, Status: a.Status}})
	}
}

// callOfGRPC holds for what a proxy answers as a call of gRPC.
var callOfGRPC = []HeaderMatch{{
	Name: "content-type", StringMatch: mesh.StringMatch{Kind: mesh.MatchRegex, Value: `application/grpc(\+.*)?`},
}}

func present(header string) []HeaderMatch {
	return []HeaderMatch{{Name: header, StringMatch: mesh.StringMatch{Kind: mesh.MatchPresent}}}
}

// HTTPStatus returns the status of HTTP that is closest to one of gRPC; for OK it is 200.
func HTTPStatus(grpc int) int {
	statuses := []int{200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401}
	if grpc < 0 || grpc >= len(statuses) {
		return 500
	}
	return statuses[grpc]
}

// pathKinds says how kinds of matches compare a path.
var pathKinds = map[mesh.MatchKind]PathKind{
	mesh.MatchExact: PathExact, mesh.MatchPrefix: PathPrefix, mesh.MatchRegex: PathRegex, mesh.MatchElements: PathElementPrefix,
}

// rulePath spells a rule's match of the URI as a match of the path.
func rulePath(uri *mesh.StringMatch) PathMatch {
	if uri == nil {
		return anyPath
	}
	return PathMatch{Kind: pathKinds[uri.Kind], Value: uri.Value}
}
