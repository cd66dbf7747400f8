package view

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Cluster is what a cluster for a subset depends on.
type Cluster struct {
	Subset         mesh.Subset   `json:"subset"`
	Protocol       mesh.Protocol `json:"protocol"`
	ConnectTimeout mesh.Duration `json:"connectTimeout"`
	Balancer       mesh.Balancer `json:"balancer,omitempty"` // "": the default
	Breaker        *mesh.Breaker `json:"breaker,omitempty"`  // nil: the default
	// Policies are those that say Balancer and Breaker.
	Policies []*mesh.DestinationPolicy `json:"policies,omitempty"`
	Outside  *Outside                  `json:"outside,omitempty"` // nil: the endpoints come by themselves
	Mutual   *Mutual                   `json:"mutual,omitempty"`  // nil: plain text
}

// Mutual is how a caller proves who it is to endpoints with an identity, and whom it takes them for.
type Mutual struct {
	Identities []string      `json:"identities"` // SPIFFE IDs of which an endpoint must prove one, sorted
	CertTTL    mesh.Duration `json:"certTTL"`    // how long the caller's certificate holds
}

// Outside is how a host outside the mesh is found, as an EgressRule allows it.
type Outside struct {
	Rule       *mesh.EgressRule `json:"rule"`
	SkipVerify bool             `json:"skipVerify,omitempty"`
	Resolvers  []string         `json:"resolvers,omitempty"`
	CABundle   string           `json:"caBundle,omitempty"`
}

// Endpoints is what the endpoints of a subset depend on.
type Endpoints struct {
	Subset    mesh.Subset `json:"subset"`
	Endpoints []Endpoint  `json:"endpoints"`      // sorted by address
	Gone      bool        `json:"gone,omitempty"` // there is no such service or port
}

// Endpoint is one address of the subset.
type Endpoint struct {
	Address  string      `json:"address"`
	Further  []string    `json:"further,omitempty"` // other addresses of the same
	Port     int         `json:"port"`
	Workload string      `json:"workload,omitempty"`
	Version  string      `json:"version,omitempty"` // label "version"
	Health   mesh.Health `json:"health"`
	Proves   bool        `json:"proves,omitempty"` // it has an identity, and takes mutual TLS
	Past     bool        `json:"past,omitempty"`   // it has one, but connections to this port come past its proxy
}

func (Cluster) view()   {}
func (Endpoints) view() {}

func (r *reader) cluster(c Caller, name string) View {
	subset, err := mesh.ParseSubset(name)
	if err != nil {
		return nil
	}
	settings := r.settings()
	v := Cluster{Subset: subset, Protocol: mesh.HTTP, ConnectTimeout: settings.ConnectTimeout}
	if svc := r.service(subset.Host); svc != nil && !subset.Original {
		if port, ok := svc.Port(subset.Port); ok {
			v.Protocol = port.Protocol
		}
		if !c.Plain {
			v.Mutual = r.mutual(subset)
		}
	} else if rule := r.allows(subset); rule != nil {
		if port, ok := rule.Port(subset.Port); ok {
			v.Protocol = port.Protocol
			v.Outside = &Outside{Rule: rule}
			if !subset.Original {
				v.Outside.Resolvers = settings.DNSResolvers
			}
			if port.Protocol == mesh.HTTPS && !subset.Raw {
				v.Outside.SkipVerify, v.Outside.CABundle = rule.SkipVerify, settings.CABundle
			}
		}
	}
	v.decide(r.policiesFor(subset.Host))
	return v
}

// allows returns the rule that allows calls to a subset outside the mesh, or nil.
func (r *reader) allows(s mesh.Subset) *mesh.EgressRule {
	if s.Original {
		return r.egressFor(s.Host)
	}
	return r.egress(s.Host)
}

// mutual returns how callers with an identity speak to a subset. Where no identity is accepted there is nobody to speak to.
func (r *reader) mutual(s mesh.Subset) *Mutual {
	stance := r.stance(s.Host)
	if stance.Port(s.Port).Speak != mesh.TLS || len(stance.Identities) == 0 {
		return nil
	}
	return &Mutual{Identities: stance.Identities, CertTTL: r.snapshot.Realm().CertTTL}
}

func (r *reader) settings() *mesh.Settings {
	r.note(mesh.KindSettings, "")
	return r.snapshot.Settings()
}

// decide takes what the policies of a host say of the subset: each part from the most specific policy that says something
// about it. A policy with the subset's very labels goes before one without labels, of those one for the caller before one
// for everybody, of those the first one.
func (v *Cluster) decide(policies []*mesh.DestinationPolicy) {
	own := strings.Split(v.Subset.Policies, ",")
	var applying []*mesh.DestinationPolicy
	for _, p := range policies {
		mine := p.Source == nil || slices.Contains(own, p.Object.Path())
		if mine && (len(p.Labels) == 0 || p.Labels.String() == v.Subset.Labels.String()) {
			applying = append(applying, p)
		}
	}
	rank := func(p *mesh.DestinationPolicy) int {
		rank := 0
		if len(p.Labels) == 0 && len(v.Subset.Labels) > 0 {
			rank += 2
		}
		if p.Source == nil {
			rank++
		}
		return rank
	}
	slices.SortStableFunc(applying, func(a, b *mesh.DestinationPolicy) int { return cmp.Compare(rank(a), rank(b)) })
	for _, p := range applying {
		balancer, breaker := cmp.Or(v.Balancer, p.Balancer), cmp.Or(v.Breaker, p.Breaker)
		if balancer != v.Balancer || breaker != v.Breaker {
			v.Balancer, v.Breaker = balancer, breaker
			v.Policies = append(v.Policies, p)
		}
	}
}

func (r *reader) subsetEndpoints(name string) View {
	subset, err := mesh.ParseSubset(name)
	if err != nil {
		return nil
	}
	v := Endpoints{Subset: subset}
	svc := r.service(subset.Host)
	all := r.endpoints(subset.Host)
	if svc == nil {
		v.Gone = true
		return v
	}
	port, ok := svc.Port(subset.Port)
	if !ok {
		v.Gone = true
		return v
	}
	stance := r.stance(subset.Host)
	onlyProven := stance.Port(subset.Port).Accept == mesh.TLS
	for _, e := range all {
		id := r.snapshot.Realm().IdentityOf(svc.Namespace, e.Account)
		if (onlyProven && id == "") || !stance.Admits(id) {
			continue
		}
		if number := e.Ports[port.Name]; dialable(e.Address, number) && subset.Labels.Select(e.Labels) {
			past := id != "" && r.pastProxy(svc, e, number)
			v.Endpoints = append(v.Endpoints, Endpoint{
				Address: e.Address, Further: e.Further, Port: number, Workload: e.Workload, Version: e.Labels["version"], Health: e.Health,
				Proves: id != "" && !past, Past: past,
			})
		}
	}
	slices.SortStableFunc(v.Endpoints, func(a, b Endpoint) int {
		return cmp.Or(cmp.Compare(a.Address, b.Address), cmp.Compare(a.Port, b.Port), cmp.Compare(b.Health, a.Health)) // healthy first
	})
	v.Endpoints = slices.CompactFunc(v.Endpoints, func(a, b Endpoint) bool { // clients refuse a place that comes twice
		return a.Address == b.Address && a.Port == b.Port
	})
	revive(v.Endpoints)
	return v
}

// pastProxy tells whether connections to a port of an endpoint come past its proxy. Of the workload only that is read which the
// endpoint does not say, and only for the ports that it concerns: else a change of any workload would concern all who call it.
func (r *reader) pastProxy(svc *mesh.Service, e mesh.Endpoint, port int) bool {
	if e.Inbound != nil {
		return e.Inbound.Past(port)
	}
	if !mesh.IsAgentPort(port) || e.Workload == "" {
		return false
	}
	w := r.workload(mesh.NewProxyID(e.Workload, svc.Namespace))
	return w != nil && w.Capture
}

// revive has endpoints that drain take requests as long as callers know no others in their subset: they still answer, and nobody else
// would.
func revive(all []Endpoint) {
	if slices.ContainsFunc(all, func(e Endpoint) bool { return e.Health != mesh.Draining }) {
		return
	}
	for i := range all {
		all[i].Health = mesh.Healthy
	}
}

// dialable tells whether a source gave an address and port that a proxy can be told. One that is not is left out, so
// that it harms no other.
func dialable(address string, port int) bool {
	_, err := netip.ParseAddr(address)
	return err == nil && port > 0 && port < 65536
}
