// Package plan says, in Lateen's own words, what a proxy must do: which routes are tried in which order, where they
// lead, how long they may take, and which object asked for it.
//
// A plan is made from a [view.View] by [Of] and from nothing else. It is data and prints itself as JSON: that text is
// what golden files hold and what `lateen explain --stage plan` shows. The next stage, package envoy, spells a plan
// as Envoy's messages and decides nothing.
package plan

import (
	"slices"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/view"
)

// Plan is one of the types of this package: [Cluster], [Endpoints], [VirtualHost], [OnDemandRoutes], [Door],
// [InboundCluster], [InboundListener], [OutboundListener] or [DoorListener].
type Plan interface {
	// Needs lists the subsets that must be ready at a proxy before it may be told this plan, sorted, without repetition.
	Needs() []mesh.Subset
}

// Of returns the plan for a view.
func Of(v view.View) Plan {
	switch v := v.(type) {
	case view.Cluster:
		return Cluster{Subset: v.Subset, HTTP2: v.Protocol.IsHTTP2(), ConnectTimeout: connectTimeout}
	case view.Endpoints:
		return Endpoints(v)
	case view.VirtualHost:
		return virtualHost(v)
	case view.OnDemandRoutes:
		return OnDemandRoutes{Name: v.Name}
	case view.Door:
		return door(v)
	case view.InboundCluster:
		return InboundCluster{
			Name: v.Name, Target: v.Serving.Target, HTTP2: v.Serving.Protocol.IsHTTP2(),
			ConnectTimeout: connectTimeout, IdleTimeout: applicationIdleTimeout,
		}
	case view.InboundListener:
		return inboundListener(v)
	case view.OutboundListener:
		return OutboundListener{
			Name: v.Name, Workload: v.Workload, Address: v.Address, Port: v.Port,
			Routes: view.OutboundRoutes, WaitTimeout: firstRequestTimeout,
		}
	case view.DoorListener:
		return DoorListener{Name: v.Name, Workload: v.Workload, Address: v.Address, Port: v.Port, Routes: view.DoorRoutes}
	default:
		return nil
	}
}

const (
	// connectTimeout bounds how long a connection to an endpoint may take to come about.
	connectTimeout = mesh.Duration(time.Second)
	// firstRequestTimeout bounds how long a request waits for the control plane to name its host.
	firstRequestTimeout = mesh.Duration(10 * time.Second)
	// beginTimeout bounds the time until a response begins, where no rule says otherwise: what the documentation of
	// v1alpha2 promised. It does not bound the response itself, so that streams live.
	beginTimeout = mesh.Duration(15 * time.Second)
	// idleTimeout ends a stream on which nothing moved, in either direction, for so long.
	idleTimeout = mesh.Duration(time.Hour)
	// applicationIdleTimeout is shorter than what common servers keep an idle connection open for (Node.js: 5 s), so
	// that a request never meets a connection that its application is just closing.
	applicationIdleTimeout = mesh.Duration(2 * time.Second)
)

// Cluster is the endpoints of a subset as something to send requests to.
type Cluster struct {
	Subset         mesh.Subset   `json:"subset"`
	HTTP2          bool          `json:"http2,omitempty"`
	ConnectTimeout mesh.Duration `json:"connectTimeout"`
}

// Endpoints lists the addresses of a subset.
type Endpoints view.Endpoints

// InboundCluster is the application behind a served port.
type InboundCluster struct {
	Name           string        `json:"name"`
	Target         string        `json:"target"`
	HTTP2          bool          `json:"http2,omitempty"`
	ConnectTimeout mesh.Duration `json:"connectTimeout"`
	IdleTimeout    mesh.Duration `json:"idleTimeout"`
}

// OnDemandRoutes is a set of virtual hosts of which a proxy asks for those that it needs.
type OnDemandRoutes struct {
	Name string `json:"name"`
}

// OutboundListener takes a workload's own requests, as an HTTP proxy.
type OutboundListener struct {
	Name        string        `json:"name"`
	Workload    string        `json:"workload"`
	Address     string        `json:"address"`
	Port        int           `json:"port"`
	Routes      string        `json:"routes"`
	WaitTimeout mesh.Duration `json:"waitTimeout"` // for a host that must be asked for
}

// InboundListener takes requests for a served port.
type InboundListener struct {
	Name     string    `json:"name"`
	Workload string    `json:"workload"`
	Host     mesh.Host `json:"host"`
	Version  string    `json:"version,omitempty"`
	Address  string    `json:"address"`
	Port     int       `json:"port"`
	Cluster  string    `json:"cluster"`
	HTTP     bool      `json:"http"` // else bytes
	Route    Route     `json:"route,omitzero"`
}

// DoorListener takes requests from outside.
type DoorListener struct {
	Name     string `json:"name"`
	Workload string `json:"workload"`
	Address  string `json:"address"`
	Port     int    `json:"port"`
	Routes   string `json:"routes"`
}

func inboundListener(v view.InboundListener) InboundListener {
	l := InboundListener{
		Name: v.Name, Workload: v.Workload, Host: v.Serving.Host, Version: v.Version,
		Address: v.Address, Port: v.Serving.Listen, Cluster: v.Name, HTTP: v.Serving.Protocol.IsHTTP(),
	}
	if l.HTTP {
		// The caller's side decides how long a request may take; this side only passes it on.
		l.Route = Route{Name: "inbound", Path: anyPath, Cluster: v.Name, Idle: idleTimeout, Retry: unsentOnly}
	}
	return l
}

// Needs returns nothing: a cluster leads to the rest, not the other way round.
func (Cluster) Needs() []mesh.Subset { return nil }

// Needs returns nothing.
func (Endpoints) Needs() []mesh.Subset { return nil }

// Needs returns nothing.
func (InboundCluster) Needs() []mesh.Subset { return nil }

// Needs returns nothing: the virtual hosts come one by one.
func (OnDemandRoutes) Needs() []mesh.Subset { return nil }

// Needs returns nothing: its routes are asked for by name.
func (OutboundListener) Needs() []mesh.Subset { return nil }

// Needs returns nothing: its cluster is the proxy's own and needs no endpoints.
func (InboundListener) Needs() []mesh.Subset { return nil }

// Needs returns nothing: its routes are asked for by name.
func (DoorListener) Needs() []mesh.Subset { return nil }

// needs returns the subsets that routes lead to.
func needs(routes []Route) []mesh.Subset {
	byName := map[string]mesh.Subset{}
	for _, r := range routes {
		for _, s := range r.Shares {
			byName[s.Subset.String()] = s.Subset
		}
	}
	names := make([]string, 0, len(byName))
	for name := range byName {
		names = append(names, name)
	}
	slices.Sort(names)
	subsets := make([]mesh.Subset, len(names))
	for i, name := range names {
		subsets[i] = byName[name]
	}
	return subsets
}
