package mesh

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// EgressRule lets workloads call a host outside the mesh.
type EgressRule struct {
	Object      Ref      `json:"object"`
	Origin      Position `json:"origin"`
	Destination Host     `json:"destination"` // "httpbin.org", "*.example.com", "*" or "192.0.2.0/24"
	Ports       []Port   `json:"ports"`       // sorted by number
	SkipVerify  bool     `json:"skipVerify,omitempty"`
}

// IsPattern tells whether the destination is more than one host: a name with a wildcard, or a network.
func (r *EgressRule) IsPattern() bool {
	return strings.HasPrefix(string(r.Destination), "*") || r.IsNetwork()
}

// IsNetwork tells whether the destination is a network in CIDR notation.
func (r *EgressRule) IsNetwork() bool { return strings.Contains(string(r.Destination), "/") }

// Takes tells whether the host, a name in lower case or an IP address, is one of the destinations. A wildcard stands
// for at least one character and never for an address.
func (r *EgressRule) Takes(h Host) bool {
	address, err := netip.ParseAddr(string(h))
	switch {
	case r.IsNetwork():
		network, bad := netip.ParsePrefix(string(r.Destination))
		return err == nil && bad == nil && network.Contains(address)
	case err == nil:
		return r.Destination == h
	}
	suffix, wild := strings.CutPrefix(string(r.Destination), "*")
	if !wild {
		return r.Destination == h
	}
	return len(h) > len(suffix) && strings.HasSuffix(string(h), suffix)
}

// Port returns the port with this number, or false.
func (r *EgressRule) Port(number int) (Port, bool) {
	i := slices.IndexFunc(r.Ports, func(p Port) bool { return p.Number == number })
	if i < 0 {
		return Port{}, false
	}
	return r.Ports[i], true
}

// EgressPatterns holds the rules whose destination is more than one host, the narrowest first: the first that takes a
// host decides.
type EgressPatterns struct {
	Rules []*EgressRule `json:"rules"`
}

// NewEgressPatterns orders rules: longer destinations before shorter ones, then by object.
func NewEgressPatterns(rules []*EgressRule) *EgressPatterns {
	ordered := slices.Clone(rules)
	slices.SortStableFunc(ordered, func(a, b *EgressRule) int {
		return cmp.Or(cmp.Compare(b.width(), a.width()), a.Object.Compare(b.Object))
	})
	return &EgressPatterns{Rules: ordered}
}

// width is how much of a host the destination fixes: bits of an address, or characters of a name.
func (r *EgressRule) width() int {
	if network, err := netip.ParsePrefix(string(r.Destination)); err == nil {
		return network.Bits()
	}
	return len(r.Destination)
}

// Find returns the rule that decides about the host, or nil.
func (p *EgressPatterns) Find(h Host) *EgressRule {
	if p == nil {
		return nil
	}
	if i := slices.IndexFunc(p.Rules, func(r *EgressRule) bool { return r.Takes(h) }); i >= 0 {
		return p.Rules[i]
	}
	return nil
}

// For returns the rule with the destination itself, or nil.
func (p *EgressPatterns) For(destination Host) *EgressRule {
	if p == nil {
		return nil
	}
	if i := slices.IndexFunc(p.Rules, func(r *EgressRule) bool { return r.Destination == destination }); i >= 0 {
		return p.Rules[i]
	}
	return nil
}
