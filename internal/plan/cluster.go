package plan

import (
	"cmp"
	"net/netip"
	"strings"
	"time"

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
	// FindOriginal is where each connection was going to before it was captured.
	FindOriginal Finding = "original"
)

// Speech says what is spoken to the endpoints of a cluster.
type Speech string

// What is spoken. Negotiated is HTTP/1.1 or HTTP/2, as TLS finds out (ALPN, RFC 7301).
const (
	SpeakHTTP1      Speech = "http1"
	SpeakHTTP2      Speech = "http2"
	SpeakNegotiated Speech = "negotiated"
	// SpeakSame is what the caller speaks: to a port of which nobody has said that it speaks HTTP.
	SpeakSame Speech = "same"
)

// Cluster is the endpoints of a subset as something to send requests to.
type Cluster struct {
	Name           string        `json:"name,omitempty"` // of one for an address that is dialled; "": that of the subset
	Subset         mesh.Subset   `json:"subset"`
	Find           Finding       `json:"find"`
	Resolvers      []string      `json:"resolvers,omitempty"` // "IP:PORT"; none: those of the system
	Speak          Speech        `json:"speak"`
	TLS            *TLS          `json:"tls,omitempty"` // nil: none
	ConnectTimeout mesh.Duration `json:"connectTimeout"`
	Balancer       mesh.Balancer `json:"balancer"`
	Breaker        *mesh.Breaker `json:"breaker,omitempty"` // nil: the proxy's own bounds
	Mutual         *MutualTLS    `json:"mutual,omitempty"`  // nil: plain text to endpoints of the mesh
	Split          bool          `json:"split,omitempty"`   // the endpoints are in groups with weights
}

// MutualTLS is how the proxy speaks to endpoints that prove who they are. To others it speaks plain text.
type MutualTLS struct {
	Identities []string `json:"identities"` // SPIFFE IDs of which an endpoint must prove one
	// Age bounds how old a connection for requests gets, so that old identities end: it takes no further requests then, and
	// ends when those on it have.
	Age mesh.Duration `json:"age"`
}

// oldestConnection bounds the age of a connection between proxies where certificates hold for long.
const oldestConnection = mesh.Duration(time.Hour)

// mutualTLS plans how callers prove who they are.
func mutualTLS(v *view.Mutual) *MutualTLS {
	if v == nil {
		return nil
	}
	return &MutualTLS{Identities: v.Identities, Age: min(oldestConnection, v.CertTTL/4)}
}

// longest bounds what is done under one proof of identity: certificates are renewed at half their life, so that what
// began with one that was renewed in time ends before it does.
func longest(certTTL mesh.Duration) mesh.Duration { return certTTL / 2 }

// TLS is what a proxy adds on the way to a host outside the mesh.
type TLS struct {
	ServerName string `json:"serverName"`         // asked for (RFC 6066); "": the host of the request
	Verify     string `json:"verify,omitempty"`   // the name that the certificate must bear, or a wildcard: the request's host; "": not verified
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
		Breaker: v.Breaker, Mutual: mutualTLS(v.Mutual),
	}
	switch {
	case v.Protocol.IsHTTP2():
		p.Speak = SpeakHTTP2
	case v.Outside == nil && (v.Subset.Original || !v.Protocol.IsHTTP()):
		p.Speak = SpeakSame
	}
	if v.Balancer != "" {
		p.Balancer = v.Balancer
	}
	if v.Subset.Original { // also when the rule has gone: routes lead here until the proxy has confirmed others
		p.Find = FindOriginal
	}
	if v.Outside == nil {
		return p
	}
	host := string(v.Subset.Host)
	switch _, err := netip.ParseAddr(host); {
	case v.Subset.Original:
	case err == nil:
		p.Find = FindAddress
	default:
		p.Find, p.Resolvers = FindDNS, v.Outside.Resolvers
	}
	if v.Protocol == mesh.HTTPS && !v.Subset.Raw {
		p.Speak, p.TLS = SpeakNegotiated, &TLS{ServerName: host}
		if strings.HasPrefix(host, "*") {
			p.TLS.ServerName = ""
		}
		if !v.Outside.SkipVerify {
			p.TLS.Verify, p.TLS.CABundle = host, cmp.Or(v.Outside.CABundle, usualCABundle)
		}
	}
	return p
}
