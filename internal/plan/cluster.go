package plan

import (
	"cmp"
	"net/netip"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/view"
)

// Finding says how a proxy finds the endpoints of a cluster.
type Finding string

// Endpoints come from Lateen, are looked up in the DNS, or the host is an address itself.
const (
	FindAsk     Finding = "ask"
	FindDNS     Finding = "dns"
	FindAddress Finding = "address"
)

// Speech says what is spoken to the endpoints of a cluster.
type Speech string

// What is spoken. Negotiated is HTTP/1.1 or HTTP/2, as TLS finds out (ALPN, RFC 7301).
const (
	SpeakHTTP1      Speech = "http1"
	SpeakHTTP2      Speech = "http2"
	SpeakNegotiated Speech = "negotiated"
)

// Cluster is the endpoints of a subset as something to send requests to.
type Cluster struct {
	Subset         mesh.Subset   `json:"subset"`
	Find           Finding       `json:"find"`
	Resolvers      []string      `json:"resolvers,omitempty"` // "IP:PORT"; none: those of the system
	Speak          Speech        `json:"speak"`
	TLS            *TLS          `json:"tls,omitempty"` // nil: none
	ConnectTimeout mesh.Duration `json:"connectTimeout"`
	Balancer       mesh.Balancer `json:"balancer"`
	Breaker        *mesh.Breaker `json:"breaker,omitempty"` // nil: the proxy's own bounds
}

// TLS is what a proxy adds on the way to a host outside the mesh.
type TLS struct {
	ServerName string `json:"serverName"`         // asked for (RFC 6066)
	Verify     string `json:"verify,omitempty"`   // the name that the certificate must bear; "": not verified
	CABundle   string `json:"caBundle,omitempty"` // path of the authorities' PEM file
}

// usualCABundle is where most systems have the authorities' certificates. A proxy refuses a cluster whose file is not
// there; it never goes on unverified.
const usualCABundle = "/etc/ssl/certs/ca-certificates.crt"

// Needs returns nothing: a cluster leads to the rest, not the other way round.
func (Cluster) Needs() []mesh.Subset { return nil }

func cluster(v view.Cluster) Cluster {
	p := Cluster{
		Subset: v.Subset, Find: FindAsk, Speak: SpeakHTTP1, ConnectTimeout: v.ConnectTimeout, Balancer: mesh.RoundRobin,
		Breaker: v.Breaker,
	}
	if v.Protocol.IsHTTP2() {
		p.Speak = SpeakHTTP2
	}
	if v.Balancer != "" {
		p.Balancer = v.Balancer
	}
	if v.Outside == nil {
		return p
	}
	host := string(v.Subset.Host)
	if _, err := netip.ParseAddr(host); err == nil {
		p.Find = FindAddress
	} else {
		p.Find, p.Resolvers = FindDNS, v.Outside.Resolvers
	}
	if v.Protocol == mesh.HTTPS && !v.Subset.Raw {
		p.Speak, p.TLS = SpeakNegotiated, &TLS{ServerName: host}
		if !v.Outside.SkipVerify {
			p.TLS.Verify, p.TLS.CABundle = host, cmp.Or(v.Outside.CABundle, usualCABundle)
		}
	}
	return p
}
