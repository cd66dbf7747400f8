package mesh

import (
	"fmt"
	"slices"

	"github.com/lateen-mesh/lateen/internal/identity"
)

// AuthPolicy says how callers of a port prove who they are.
type AuthPolicy string

// The policies. Where nothing is said it is permissive.
const (
	AuthNone       AuthPolicy = "NONE"       // plain text, whoever calls
	AuthPermissive AuthPolicy = "PERMISSIVE" // mutual TLS where both sides can, plain text from others
	AuthMutualTLS  AuthPolicy = "MUTUAL_TLS" // nothing else
)

// AuthPolicies lists the policies.
func AuthPolicies() []AuthPolicy { return []AuthPolicy{AuthNone, AuthPermissive, AuthMutualTLS} }

// Transport is what a port takes, or what its callers speak.
type Transport string

// What there is. Callers speak plain or TLS.
const (
	Plain Transport = "plain"
	TLS   Transport = "mtls"
	Both  Transport = "both"
)

// Stance is how the ports of a host are secured at this moment. What is wanted is reached in steps, of which each waits until
// all proxies have confirmed the one before, so that callers and servers understand each other all the time.
type Stance struct {
	Host  Host         `json:"host"`
	Ports []PortStance `json:"ports"` // sorted by number
	// Identities are the SPIFFE IDs that callers accept, sorted.
	Identities []string `json:"identities,omitempty"`
	// Admitted are those of them that every caller is known to accept, sorted: an endpoint with another one is not called yet.
	Admitted []string `json:"admitted,omitempty"`
}

// PortStance is how one port is secured at this moment.
type PortStance struct {
	Port   int        `json:"port"`
	Policy AuthPolicy `json:"policy"` // that is wanted
	Accept Transport  `json:"accept"` // what servers take
	Speak  Transport  `json:"speak"`  // what callers with an identity speak to endpoints with one
}

// Port returns the stance of a port. A port without one is spoken to in plain text, since nobody has decided anything about it,
// and takes both: whoever decides may put mutual TLS in force at once, for callers that hear of it before servers do.
func (s *Stance) Port(number int) PortStance {
	if s != nil {
		for _, p := range s.Ports {
			if p.Port == number {
				return p
			}
		}
	}
	return PortStance{Port: number, Policy: AuthNone, Accept: Both, Speak: Plain}
}

// Admits tells whether endpoints with an identity, a SPIFFE ID, are called. One without ("") always is.
func (s *Stance) Admits(id string) bool {
	return id == "" || s == nil || slices.Contains(s.Admitted, id)
}

// Settled returns the port's stance when nothing is left to do.
func (p PortStance) Settled(excluded bool) PortStance {
	switch {
	case p.Policy == AuthNone:
		p.Accept, p.Speak = Plain, Plain
	case excluded:
		p.Accept, p.Speak = Both, Plain
	case p.Policy == AuthMutualTLS:
		p.Accept, p.Speak = TLS, TLS
	default:
		p.Accept, p.Speak = Both, TLS
	}
	return p
}

// Policy returns what holds for a port of a service: what the service says of it, else what the mesh says.
func (s *Settings) Policy(p Port) AuthPolicy {
	switch {
	case p.AuthPolicy != "":
		return p.AuthPolicy
	case s.AuthPolicy != "":
		return s.AuthPolicy
	default:
		return AuthPermissive
	}
}

// Excludes tells whether a host is called without mutual TLS whatever the policies say.
func (s *Settings) Excludes(h Host) bool { return slices.Contains(s.MTLSExcluded, h) }

// IdentityOf returns the SPIFFE ID of an account in a namespace, "" for no account.
func (r Realm) IdentityOf(namespace, account string) string {
	if account == "" {
		return ""
	}
	return identity.ID{TrustDomain: r.TrustDomain, Namespace: namespace, Account: account}.String()
}

// Realm is what holds for everything in a mesh as long as the control plane runs.
type Realm struct {
	Domain      string   // DNS suffix of services, "cluster.local"
	TrustDomain string   // of the identities
	CertTTL     Duration // how long a workload's certificate holds
}

// String returns the domain, and the trust domain where it is another one.
func (r Realm) String() string {
	if r.Domain == r.TrustDomain {
		return r.Domain
	}
	return fmt.Sprintf("%s (trust domain %s)", r.Domain, r.TrustDomain)
}
