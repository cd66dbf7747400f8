package view

import (
	"net/netip"
	"slices"
	"strconv"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Target is what a client without a proxy must know of a host as it spells it: where it finds the routes. Host is "" when
// the spelling leads to no port that speaks HTTP.
type Target struct {
	Name string    `json:"name"` // of the resource: the spelling
	Host mesh.Host `json:"host,omitempty"`
	Port int       `json:"port,omitempty"`
}

// CallRoutes is what the routes of a client without a proxy to one port of a host depend on.
type CallRoutes struct {
	Name     string            `json:"name"`
	Host     mesh.Host         `json:"host"`
	Port     int               `json:"port"`
	Address  string            `json:"address,omitempty"` // of the caller, where rules ask for it
	Rules    []*mesh.RouteRule `json:"rules,omitempty"`
	Policies []Policy          `json:"policies,omitempty"`
}

// Listing is what a caller may call, of which its listeners or its clusters are to be listed: all ports of the mesh that speak
// HTTP. Of listeners the routes are bare.
type Listing struct {
	Kind   Kind         `json:"kind"`
	Routes []CallRoutes `json:"routes,omitempty"` // sorted by host and port
}

func (Target) view()     {}
func (CallRoutes) view() {}
func (Listing) view()    {}

// listed tells whether there are lists of the kind.
func listed(k Kind) bool { return k == KindListener || k == KindCluster }

func (r *reader) target(c Caller, name string) View {
	v := Target{Name: name}
	host, port, ok := splitAuthority(name)
	if !ok {
		return v
	}
	for _, candidate := range mesh.Candidates(host, c.Namespace, r.snapshot.Domain()) {
		svc := r.service(candidate)
		if svc == nil {
			continue
		}
		if found, ok := svc.Port(port); ok && found.Protocol.IsHTTP() {
			v.Host, v.Port = candidate, port
		}
		break
	}
	return v
}

func (r *reader) callRoutes(c Caller, name string) View {
	host, port, ok := parsePlace(name, callPrefix)
	if !ok {
		return nil
	}
	v := r.call(c, host, port)
	if slices.ContainsFunc(v.Rules, func(rule *mesh.RouteRule) bool { return rule.TCP != nil && len(rule.TCP.Sources) > 0 }) {
		v.Address = c.Address
	}
	return v
}

func (r *reader) call(c Caller, h mesh.Host, port int) CallRoutes {
	v := CallRoutes{Name: CallRoutesOf(h, port).Name, Host: h, Port: port, Rules: r.rules(c, h)}
	v.Policies = r.policies(c, h, v.Rules)
	return v
}

// listing cuts what the caller may call. To whom listeners are nothing to call by, none are listed.
func (r *reader) listing(c Caller, kind Kind) View {
	v := Listing{Kind: kind}
	if kind == KindListener && c.Type != mesh.Proxyless {
		return v
	}
	r.note(mesh.KindServices, "")
	for _, h := range r.snapshot.Services() {
		svc := r.service(h)
		for _, port := range svc.Ports {
			if !port.Protocol.IsHTTP() {
				continue
			}
			if kind == KindListener {
				v.Routes = append(v.Routes, CallRoutes{Host: h, Port: port.Number})
			} else {
				v.Routes = append(v.Routes, r.call(c, h, port.Number))
			}
		}
	}
	return v
}

// Spelling returns a host and port as a client spells them (RFC 3986, 3.2.2).
func (c CallRoutes) Spelling() string {
	host := string(c.Host)
	if a, err := netip.ParseAddr(host); err == nil && a.Is6() {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(c.Port)
}
