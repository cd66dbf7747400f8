package mesh

import (
	"fmt"
	"strconv"
	"strings"
)

// Subset names the endpoints of one port of a host that have given labels, together with what makes two ways to them
// different for a proxy. It is what a proxy balances over.
type Subset struct {
	Host   Host   `json:"host"`
	Port   int    `json:"port"`
	Labels Labels `json:"labels,omitempty"` // nil: all endpoints
	// Policies names the source-specific DestinationPolicies that apply, "default/a,default/b": callers with other
	// policies balance over a cluster of their own.
	Policies string `json:"policies,omitempty"`
	// Raw means bytes as they are, for CONNECT: no TLS is added for a host outside the mesh.
	Raw bool `json:"raw,omitempty"`
	// Original means where each captured connection was going to, instead of what a name outside the mesh is looked up as. The host
	// may be a wildcard.
	Original bool `json:"original,omitempty"`
}

const (
	subsetPrefix   = "outbound"
	rawPrefix      = "tunnel"
	originalPrefix = "original"
)

// String returns the name under which proxies know the subset: "outbound|9080|version=v1|reviews.default.svc.cluster.local",
// with "|default/a" behind it for source-specific policies, and with "tunnel" for raw bytes, or "original".
func (s Subset) String() string {
	name := subsetPrefix
	switch {
	case s.Raw:
		name = rawPrefix
	case s.Original:
		name = originalPrefix
	}
	name += "|" + strconv.Itoa(s.Port) + "|" + s.Labels.String() + "|" + string(s.Host)
	if s.Policies != "" {
		name += "|" + s.Policies
	}
	return name
}

// ParseSubset reads what [Subset.String] wrote.
func ParseSubset(name string) (Subset, error) {
	parts := strings.Split(name, "|")
	known := parts[0] == subsetPrefix || parts[0] == rawPrefix || parts[0] == originalPrefix
	if len(parts) < 4 || len(parts) > 5 || !known || parts[3] == "" || parts[len(parts)-1] == "" {
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
	s := Subset{Host: Host(parts[3]), Port: port, Labels: labels, Raw: parts[0] == rawPrefix, Original: parts[0] == originalPrefix}
	if len(parts) == 5 {
		s.Policies = parts[4]
	}
	return s, nil
}
