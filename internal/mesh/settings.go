package mesh

import "time"

// Settings hold for the whole mesh.
type Settings struct {
	ConnectTimeout Duration `json:"connectTimeout"`         // bounds how long a connection to an endpoint may take to come about
	DNSResolvers   []string `json:"dnsResolvers,omitempty"` // "IP:PORT", asked for hosts outside the mesh; none: those of the system
	CABundle       string   `json:"caBundle,omitempty"`     // path of a PEM file with the authorities that hosts outside the mesh are checked against
	NoAccessLog    bool     `json:"noAccessLog,omitempty"`
	// AuthPolicy says how callers prove who they are, for ports that say nothing; "": PERMISSIVE.
	AuthPolicy AuthPolicy `json:"authPolicy,omitempty"`
	// MTLSExcluded are hosts that are called without mutual TLS, sorted. Their servers take both, but where they are NONE.
	MTLSExcluded []Host `json:"mtlsExcludedServices,omitempty"`
	// ServiceRanges are the networks that the addresses of services are taken from, in CIDR notation, sorted. None: there may be
	// services there of which the mesh knows nothing, so that only the addresses of those that it knows are services'.
	ServiceRanges []string `json:"serviceRanges,omitempty"`
	// OnlyKnown tells that captured workloads reach nobody but services, pods and whom EgressRules name. Else what is for others passes.
	OnlyKnown bool            `json:"onlyKnown,omitempty"`
	Ingress   IngressSettings `json:"ingress,omitzero"`
}

// DefaultSettings are those of a mesh that says nothing.
var DefaultSettings = Settings{ConnectTimeout: Duration(time.Second)}
