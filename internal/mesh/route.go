package mesh

import (
	"cmp"
	"maps"
	"slices"
)

// RouteRule says where requests to one host go, for callers and requests that match, in the words that all
// dialects share.
type RouteRule struct {
	Object      Ref             `json:"object"`
	Origin      Position        `json:"origin"`
	Destination Host            `json:"destination"`
	Precedence  int             `json:"precedence,omitempty"` // higher first
	Source      *SourceMatch    `json:"source,omitempty"`     // nil: every caller
	TCP         *TCPMatch       `json:"tcp,omitempty"`        // nil: every connection
	Headers     []HeaderMatch   `json:"headers,omitempty"`    // all must match; sorted by name
	URI         *StringMatch    `json:"uri,omitempty"`        // nil: every path
	Redirect    *Redirect       `json:"redirect,omitempty"`   // the answer, instead of routes
	Routes      []WeightedRoute `json:"routes,omitempty"`     // none: all endpoints of the destination
	Rewrite     *Rewrite        `json:"rewrite,omitempty"`
	Timeout     *Duration       `json:"timeout,omitempty"` // of the whole response; nil: the default, 0: none
	// TimeoutHeader names the request header whose value, in milliseconds, takes the place of Timeout; "": none.
	TimeoutHeader string   `json:"timeoutHeader,omitempty"`
	Retries       *Retries `json:"retries,omitempty"` // nil: the default
	Fault         *Fault   `json:"fault,omitempty"`
	Mirror        *Target  `json:"mirror,omitempty"` // gets a copy of each request; its answers are dropped
	CORS          *CORS    `json:"cors,omitempty"`
	Append        []Header `json:"append,omitempty"` // added to the request; sorted by name
}

// CatchesAll tells whether the rule takes every request of the callers that it is for, so that later rules are never reached.
func (r *RouteRule) CatchesAll() bool {
	return r.TCP == nil && len(r.Headers) == 0 && (r.URI == nil || (r.URI.Kind == MatchPrefix && r.URI.Value == "/"))
}

// AddHosts adds the hosts to which the rule sends requests or copies of them.
func (r *RouteRule) AddHosts(hosts map[Host]bool) {
	for _, to := range r.Routes {
		hosts[to.Host] = true
	}
	if r.Mirror != nil {
		hosts[r.Mirror.Host] = true
	}
}

// SourceMatch selects callers by what is known of their own workload, never by what a request claims.
type SourceMatch struct {
	Host   Host   `json:"host,omitempty"` // the caller serves this host; "": any
	Labels Labels `json:"labels,omitempty"`
}

// Equal tells whether two select the same callers.
func (s *SourceMatch) Equal(o SourceMatch) bool {
	return s.Host == o.Host && maps.Equal(s.Labels, o.Labels)
}

// CatchesBytes tells whether the rule takes every connection too whose bytes are not requests: it then speaks of nothing
// that only requests have.
func (r *RouteRule) CatchesBytes() bool { return r.CatchesAll() && r.URI == nil && r.Redirect == nil }

// TCPMatch selects connections by the addresses of their two ends. Networks are in CIDR notation; no network means
// every address.
type TCPMatch struct {
	Sources      []string `json:"sources,omitempty"`      // the caller's own address
	Destinations []string `json:"destinations,omitempty"` // the address that the caller dialled; a name has none
}

// MatchKind says how a value is compared.
type MatchKind string

// A regular expression is RE2 and must match the whole value. Elements are the leading elements of a path: "/a" takes
// "/a" and "/a/b", not "/ab". Present takes every value, the empty one too.
const (
	MatchExact    MatchKind = "exact"
	MatchPrefix   MatchKind = "prefix"
	MatchRegex    MatchKind = "regex"
	MatchElements MatchKind = "elements"
	MatchPresent  MatchKind = "present"
)

// StringMatch compares one value.
type StringMatch struct {
	Kind  MatchKind `json:"kind"`
	Value string    `json:"value"`
}

// HeaderMatch compares the header Name (lower case; ":method", ":authority" and ":scheme" are the request's own).
type HeaderMatch struct {
	Name string `json:"name"`
	StringMatch
}

// WeightedRoute is one destination with its share of the requests, in percent.
type WeightedRoute struct {
	Host   Host   `json:"host"`
	Labels Labels `json:"labels,omitempty"`
	Weight int    `json:"weight"`
}

// Target names endpoints of a host; the port is that of the request.
type Target struct {
	Host   Host   `json:"host"`
	Labels Labels `json:"labels,omitempty"`
}

// Header is the name (lower case) and value of a header.
type Header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Redirect answers with 302 (Found) and another place. What is empty stays as it was asked for.
type Redirect struct {
	URI       string `json:"uri,omitempty"` // takes the place of the whole path; the query stays
	Authority string `json:"authority,omitempty"`
}

// Rewrite changes a request before it is sent on. What is empty stays.
type Rewrite struct {
	URI       string `json:"uri,omitempty"` // takes the place of the prefix that was matched, else of the whole path
	Authority string `json:"authority,omitempty"`
}

// CORS tells browsers which scripts of other origins may read answers (the Fetch standard, "CORS protocol").
type CORS struct {
	Origins       []string  `json:"origins,omitempty"` // "*" is every origin
	Methods       []string  `json:"methods,omitempty"`
	Headers       []string  `json:"headers,omitempty"`
	ExposeHeaders []string  `json:"exposeHeaders,omitempty"`
	MaxAge        *Duration `json:"maxAge,omitempty"` // nil: not said
	Credentials   bool      `json:"credentials,omitempty"`
}

// Retries says how often a request is tried again when the answer is a 5xx, the connection fails or the stream is refused.
type Retries struct {
	Attempts int      `json:"attempts"`         // beyond the first
	PerTry   Duration `json:"perTry,omitempty"` // 0: no bound of its own
	Header   string   `json:"header,omitempty"` // request header whose value takes the place of Attempts; "": none
}

// Fault is what a rule does to requests on purpose; the delay comes first.
type Fault struct {
	Delay     *Delay     `json:"delay,omitempty"`
	Abort     *Abort     `json:"abort,omitempty"`
	Throttle  *Throttle  `json:"throttle,omitempty"`  // of HTTP responses
	Terminate *Terminate `json:"terminate,omitempty"` // of TCP connections
}

// Delay holds a share of the requests for a fixed time.
type Delay struct {
	Percent float64  `json:"percent"` // 0 to 100, four decimals count
	Fixed   Duration `json:"fixed"`
	Header  string   `json:"header,omitempty"` // request header whose value, in milliseconds, takes the place of Fixed
}

// Abort answers a share of the requests at once, with an HTTP status or a gRPC status.
type Abort struct {
	Percent float64 `json:"percent"` // 0 to 100, four decimals count
	Status  int     `json:"status,omitempty"`
	GRPC    *int    `json:"grpc,omitempty"`   // status code of gRPC, instead of Status
	Header  string  `json:"header,omitempty"` // request header whose value takes the place of the status
}

// Throttle slows a share of the responses down.
type Throttle struct {
	Percent      float64 `json:"percent"` // 0 to 100, four decimals count
	KiBPerSecond int     `json:"kibPerSecond"`
}

// Terminate ends a connection after a time.
type Terminate struct {
	After Duration `json:"after"`
}

// RuleSet holds the rules of one destination in the order in which they are tried: precedence, then name.
type RuleSet struct {
	Host  Host         `json:"host"`
	Rules []*RouteRule `json:"rules"`
}

// NewRuleSet orders rules for host. Rules of one object with the same precedence keep their order.
func NewRuleSet(host Host, rules []*RouteRule) *RuleSet {
	ordered := slices.Clone(rules)
	slices.SortStableFunc(ordered, func(a, b *RouteRule) int {
		return cmp.Or(cmp.Compare(b.Precedence, a.Precedence), a.Object.Compare(b.Object))
	})
	return &RuleSet{Host: host, Rules: ordered}
}
