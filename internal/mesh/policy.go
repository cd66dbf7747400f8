package mesh

import "slices"

// DestinationPolicy says how callers send requests to the endpoints of a host, in the words that all dialects share.
type DestinationPolicy struct {
	Object      Ref          `json:"object"`
	Origin      Position     `json:"origin"`
	Destination Host         `json:"destination"`
	Labels      Labels       `json:"labels,omitempty"`   // of the subset that is meant; nil: all subsets
	Source      *SourceMatch `json:"source,omitempty"`   // nil: every caller
	Balancer    Balancer     `json:"balancer,omitempty"` // "": not said
	Breaker     *Breaker     `json:"breaker,omitempty"`  // nil: not said
}

// Balancer says how an endpoint is chosen for a request.
type Balancer string

// The balancers. LeastRequest compares two endpoints drawn at random and takes the one with fewer open requests.
const (
	RoundRobin   Balancer = "ROUND_ROBIN"
	LeastRequest Balancer = "LEAST_CONN"
	Random       Balancer = "RANDOM"
)

// Breaker bounds what one caller asks of a subset, and sets endpoints aside that fail.
type Breaker struct {
	MaxConnections           int     `json:"maxConnections"`
	MaxPendingRequests       int     `json:"maxPendingRequests"`
	MaxRequests              int     `json:"maxRequests"`
	MaxRequestsPerConnection int     `json:"maxRequestsPerConnection,omitempty"` // 0: no bound
	Outlier                  Outlier `json:"outlier"`
}

// Outlier sets an endpoint aside that fails again and again.
type Outlier struct {
	ConsecutiveErrors  int      `json:"consecutiveErrors"` // answers of 5xx and failed connections in a row
	Interval           Duration `json:"interval"`          // between two looks at all endpoints
	Ejection           Duration `json:"ejection"`          // of the first time; the second lasts twice as long, and so on
	MaxEjectionPercent int      `json:"maxEjectionPercent"`
}

// PolicySet holds the policies of one destination, sorted by object: the first of equals counts.
type PolicySet struct {
	Host     Host                 `json:"host"`
	Policies []*DestinationPolicy `json:"policies"`
}

// NewPolicySet orders policies for host.
func NewPolicySet(host Host, policies []*DestinationPolicy) *PolicySet {
	ordered := slices.Clone(policies)
	slices.SortStableFunc(ordered, func(a, b *DestinationPolicy) int { return a.Object.Compare(b.Object) })
	return &PolicySet{Host: host, Policies: ordered}
}
