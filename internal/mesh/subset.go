package mesh

import (
	"fmt"
	"strconv"
	"strings"
)

// Subset names the endpoints of one port of a host that have given labels. It is what a proxy balances over.
type Subset struct {
	Host   Host   `json:"host"`
	Port   int    `json:"port"`
	Labels Labels `json:"labels,omitempty"` // nil: all endpoints
}

const subsetPrefix = "outbound"

// String returns the name under which proxies know the subset: "outbound|9080|version=v1|reviews.default.svc.cluster.local".
func (s Subset) String() string {
	return subsetPrefix + "|" + strconv.Itoa(s.Port) + "|" + s.Labels.String() + "|" + string(s.Host)
}

// ParseSubset reads what [Subset.String] wrote.
func ParseSubset(name string) (Subset, error) {
	parts := strings.Split(name, "|")
	if len(parts) != 4 || parts[0] != subsetPrefix || parts[3] == "" {
		return Subset{}, fmt.Errorf("%q is not the name of a subset", name)
	}
	port, err := strconv.Atoi(parts[1])
	if err != nil || port < 1 || port > 65535 {
		return Subset{}, fmt.Errorf("%q is not the name of a subset: bad port", name)
	}
	labels, err := ParseLabels(parts[2])
	if err != nil {
		return Subset{}, fmt.Errorf("%q is not the name of a subset: %w", name, err)
	}
	return Subset{Host: Host(parts[3]), Port: port, Labels: labels}, nil
}
