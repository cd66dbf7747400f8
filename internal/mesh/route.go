package mesh

import (
	"cmp"
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
	Headers     []HeaderMatch   `json:"headers,omitempty"`    // all must match; sorted by name
	URI         *StringMatch    `json:"uri,omitempty"`        // nil: every path
	Routes      []WeightedRoute `json:"routes,omitempty"`     // none: all endpoints of the destination
	Timeout     *Duration       `json:"timeout,omitempty"`    // of the whole response; nil: the default, 0: none
	Retries     *Retries        `json:"retries,omitempty"`    // nil: the default
	Fault       *Fault          `json:"fault,omitempty"`
}

// CatchesAll tells whether the rule takes every request of the callers that it is for, so that later rules are never reached.
func (r *RouteRule) CatchesAll() bool {
	return len(r.Headers) == 0 && (r.URI == nil || (r.URI.Kind == MatchPrefix && r.URI.Value == "/"))
}

// SourceMatch selects callers by what is known of their own workload, never by what a request claims.
type SourceMatch struct {
	Host   Host   `json:"host,omitempty"` // the caller serves this host; "": any
	Labels Labels `json:"labels,omitempty"`
}

// MatchKind says how a value is compared.
type MatchKind string

// A regular expression is RE2 and must match the whole value.
const (
	MatchExact  MatchKind = "exact"
	MatchPrefix MatchKind = "prefix"
	MatchRegex  MatchKind = "regex"
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

// Retries says how often a request is tried again when the answer is a 5xx, the connection fails or the stream is refused.
type Retries struct {
	Attempts int      `json:"attempts"`         // beyond the first
	PerTry   Duration `json:"perTry,omitempty"` // 0: no bound of its own
}

// Fault is what a rule does to requests on purpose; the delay comes first.
type Fault struct {
	Delay *Delay `json:"delay,omitempty"`
	Abort *Abort `json:"abort,omitempty"`
}

// Delay holds a share of the requests for a fixed time.
type Delay struct {
	Percent float64  `json:"percent"` // 0 to 100, four decimals count
	Fixed   Duration `json:"fixed"`
}

// Abort answers a share of the requests at once with an HTTP status.
type Abort struct {
	Percent float64 `json:"percent"` // 0 to 100, four decimals count
	Status  int     `json:"status"`
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
