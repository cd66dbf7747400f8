package plan

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/view"
)

// Target says to a client without a proxy where it finds the routes to a host as it spells it. Without routes it leads
// nowhere, and calls fail at once.
type Target struct {
	Name   string `json:"name"`
	Routes string `json:"routes,omitempty"`
}

// CallRoutes holds the routes of a client without a proxy to one port of a host, tried in order. It holds what gRPC can do
// by itself: choose by headers and path, share out, bound the whole call, retry by gRPC's status, delay and abort.
type CallRoutes struct {
	Name   string    `json:"name"`
	Host   mesh.Host `json:"host"`
	Routes []Route   `json:"routes"`
	// Coming are subsets that no call goes to yet: those of a version that is about to come.
	Coming []mesh.Subset `json:"coming,omitempty"`
}

// Announcing returns the routes with further subsets that are coming.
func (c CallRoutes) Announcing(coming []mesh.Subset) CallRoutes {
	c.Coming = needs([]Route{sharedBy(c.Coming), sharedBy(coming)})
	return c
}

func sharedBy(subsets []mesh.Subset) Route {
	var r Route
	for _, s := range subsets {
		r.Shares = append(r.Shares, Share{Subset: s, Weight: 1})
	}
	return r
}

// Listing lists resources that there are for a client.
type Listing struct {
	IDs []view.ID `json:"ids"` // sorted
}

// Needs returns nothing: its routes are asked for by name.
func (Target) Needs() []mesh.Subset { return nil }

// Needs returns the subsets that the routes lead to, now or soon.
func (c CallRoutes) Needs() []mesh.Subset {
	return needs(append(slices.Clone(c.Routes), sharedBy(c.Coming)))
}

// Needs returns nothing: it is no resource.
func (Listing) Needs() []mesh.Subset { return nil }

func target(v view.Target) Target {
	p := Target{Name: v.Name}
	if v.Host != "" {
		p.Routes = view.CallRoutesOf(v.Host, v.Port).Name
	}
	return p
}

func callRoutes(v view.CallRoutes) CallRoutes {
	p := CallRoutes{Name: v.Name, Host: v.Host}
	r := router{host: v.Host, port: v.Port, policies: v.Policies}
	address, _ := netip.ParseAddr(v.Address)
	var rules []*mesh.RouteRule
	for _, rule := range dial(v.Rules, netip.Addr{}) { // it dials no address but a name
		switch {
		case rule.TCP == nil:
			rules = append(rules, rule)
		case within(address, rule.TCP.Sources):
			c := *rule
			c.TCP = nil
			rules = append(rules, &c)
		}
	}
	for _, route := range r.routes(rules) {
		call, ok := asCall(route)
		if ok && !slices.ContainsFunc(p.Routes, call.takesTheSame) { // else it is never reached
			p.Routes = append(p.Routes, call)
		}
	}
	return p
}

// asCall returns a route as a gRPC client can follow it, or false if no call can take it. What the client cannot do it does
// not do: a bound on when the response begins, copies, other headers, paths or names for a request, and bounds that
// headers set.
func asCall(p Route) (Route, bool) {
	var headers []HeaderMatch
	for _, h := range p.Headers {
		if known, always := ofCalls(h); !known {
			headers = append(headers, h)
		} else if !always {
			return p, false
		}
	}
	if f := p.Fault; f != nil && ((f.Delay != nil && f.Delay.Header != "") || (f.Abort != nil && f.Abort.Header != "")) {
		return p, false // the next route is the same for calls without that header
	}
	call := Route{
		Name: p.Name, Origin: p.Origin, Path: p.Path, Headers: headers, Redirect: p.Redirect, Shares: p.Shares, Timeout: p.Timeout,
	}
	if p.Fault != nil && (p.Fault.Delay != nil || p.Fault.Abort != nil) {
		call.Fault = &mesh.Fault{Delay: p.Fault.Delay, Abort: p.Fault.Abort}
	}
	on := slices.DeleteFunc(strings.Split(p.Retry.On, ","), func(word string) bool { return !slices.Contains(callStatuses, word) })
	if len(on) > 0 && p.Retry.Attempts > 0 {
		call.Retry = Retry{On: strings.Join(on, ","), Attempts: p.Retry.Attempts}
	}
	return call, true
}

// takesTheSame tells whether two routes take the same calls.
func (r Route) takesTheSame(o Route) bool {
	return r.Path == o.Path && slices.Equal(r.Headers, o.Headers)
}

// callStatuses are the failures that a gRPC client can try again, in Envoy's words. What never reached an application it
// tries again by itself.
var callStatuses = []string{"cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"}

// ofCalls tells of a match of a header whether it is known without the call, and what comes of it: gRPC matches none of those
// that it makes itself. The authority is not known here, so nothing matches it.
func ofCalls(h HeaderMatch) (known, always bool) {
	value := map[string]string{":method": "POST", ":scheme": "http", "content-type": "application/grpc"}[h.Name]
	known = value != "" || strings.HasPrefix(h.Name, ":")
	return known, h.Kind == mesh.MatchPresent || (value != "" && h.Takes(value))
}

func listing(v view.Listing) Listing {
	var p Listing
	for _, c := range v.Routes {
		if v.Kind == view.KindListener {
			p.IDs = append(p.IDs, view.TargetOf(c.Spelling()))
			continue
		}
		for _, subset := range reach(c) {
			p.IDs = append(p.IDs, view.ClusterOf(subset))
		}
	}
	slices.SortFunc(p.IDs, func(a, b view.ID) int { return strings.Compare(a.Name, b.Name) })
	p.IDs = slices.Compact(p.IDs)
	return p
}

// reach returns the subsets that routes may lead to, whatever the caller's address.
func reach(v view.CallRoutes) []mesh.Subset {
	r := router{host: v.Host, port: v.Port, policies: v.Policies}
	routes := []Route{{Shares: r.whole()}}
	for _, rule := range v.Rules {
		route := Route{Shares: r.shares(rule)}
		if rule.Mirror != nil {
			copies := r.subset(rule.Mirror.Host, rule.Mirror.Labels)
			route.Mirror = &copies
		}
		routes = append(routes, route)
	}
	return needs(routes)
}

// Unreachable is a cluster for a client that cannot look its endpoints up: it has none.
func Unreachable(s mesh.Subset) Cluster {
	return Cluster{Subset: s, Find: FindAsk, Speak: SpeakHTTP2, ConnectTimeout: connectTimeout, Balancer: mesh.RoundRobin}
}
