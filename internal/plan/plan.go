// Package plan says, in Lateen's own words, what a proxy must do: which routes are tried in which order, where they
// lead, how long they may take, and which object asked for it.
//
// A plan is made from a [view.View] by [Of] and from nothing else. It is data and prints itself as JSON: that text is
// what golden files hold and what `lateen explain --stage plan` shows. The next stage, package envoy, spells a plan
// as Envoy's messages and decides nothing.
package plan

import (
	"net/netip"
	"slices"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/view"
)

// Plan is one of the types of this package: [Cluster], [Endpoints], [VirtualHost], [LocalRoutes], [LocalBytes],
// [Target], [CallRoutes], [Listing],
// [OnDemandRoutes], [Door], [InboundCluster], [InnerCluster], one of captured workloads ([Scope], [OriginalCluster],
// [InspectCluster], [DialledEndpoints], [OutsideRoutes]) or one of the listeners.
type Plan interface {
	// Needs lists the subsets that must be ready at a proxy before it may be told this plan, sorted, without repetition.
	Needs() []mesh.Subset
}

// Of returns the plan for a view.
func Of(v view.View) Plan {
	switch v := v.(type) {
	case view.Cluster:
		return cluster(v)
	case view.Endpoints:
		return Endpoints(v)
	case view.VirtualHost:
		return virtualHost(v)
	case view.LocalRoutes:
		return localRoutes(v)
	case view.LocalBytes:
		return localBytes(v)
	case view.CapturedOutbound, view.Inspected, view.InspectCluster, view.CapturedInbound, view.OriginalCluster, view.Scope,
		view.DialledCluster, view.DialledEndpoints, view.OutsideRoutes:
		return captured(v)
	case view.Target:
		return target(v)
	case view.CallRoutes:
		return callRoutes(v)
	case view.Listing:
		return listing(v)
	case view.OnDemandRoutes:
		return OnDemandRoutes{Name: v.Name}
	case view.Door:
		return door(v)
	case view.InboundCluster:
		return inboundCluster(v)
	case view.InboundListener:
		return inboundListener(v)
	case view.OutboundListener:
		return OutboundListener{
			Name: v.Name, Address: v.Address, Port: v.Port,
			Routes: view.OutboundRoutes, WaitTimeout: firstRequestTimeout, NoLog: v.NoLog,
		}
	case view.InnerListener:
		return InnerListener{
			Name: v.Name, Address: v.Address, Routes: view.OutboundRoutes, WaitTimeout: firstRequestTimeout,
			NoLog: v.NoLog,
		}
	case view.InnerCluster:
		return InnerCluster{Name: v.Name, Listener: view.Inner}
	case view.LocalListener:
		return LocalListener{
			Name: v.Name, Address: v.Address, Port: v.Listen, Host: v.Host, HTTP: v.Protocol.IsHTTP(), NoLog: v.NoLog,
		}
	case view.DoorListener:
		return doorListener(v)
	case view.Secret:
		return Secret(v)
	default:
		return nil
	}
}

// captured returns the plan for what only captured workloads have.
func captured(v view.View) Plan {
	switch v := v.(type) {
	case view.CapturedOutbound:
		return capturedOutbound(v)
	case view.Inspected:
		return inspected(v)
	case view.InspectCluster:
		return InspectCluster{Name: v.Name, Socket: inspectSocket}
	case view.CapturedInbound:
		return capturedInbound(v)
	case view.OriginalCluster:
		return originalCluster(v)
	case view.Scope:
		return Scope{Name: v.Name, Routes: v.Routes, Pressed: v.Pressed}
	case view.DialledCluster:
		return dialledCluster(v)
	case view.DialledEndpoints:
		return dialledEndpoints(v)
	case view.OutsideRoutes:
		return outsideRoutes(v)
	default:
		return nil
	}
}

const (
	// connectTimeout bounds how long a connection to an application beside the proxy may take to come about.
	connectTimeout = mesh.Duration(time.Second)
	// passTimeout is the same for a connection that is passed on as it is to somebody of whom nothing is known.
	passTimeout = mesh.Duration(10 * time.Second)
	// firstRequestTimeout bounds how long a request waits for the control plane to name its host.
	firstRequestTimeout = mesh.Duration(10 * time.Second)
	// beginTimeout bounds the time until a response begins, where no rule says otherwise: what the documentation of
	// v1alpha2 promised. It does not bound the response itself, so that streams live.
	beginTimeout = mesh.Duration(15 * time.Second)
	// idleTimeout ends a stream on which nothing moved, in either direction, for so long.
	idleTimeout = mesh.Duration(time.Hour)
	// serverIdleTimeout is shorter than what common servers keep an idle connection open for (Node.js: 5 s), so
	// that a request never meets a connection that its server is just closing.
	serverIdleTimeout = mesh.Duration(2 * time.Second)
)

// Endpoints lists the addresses of a subset.
type Endpoints view.Endpoints

// Endpoint is one address of a subset.
type Endpoint = view.Endpoint

// InboundCluster is the application behind a served port.
type InboundCluster struct {
	Name           string        `json:"name"`
	Targets        []string      `json:"targets,omitempty"` // places of the same application, to be tried in turn; none: each connection says it, see [InboundListener]
	HTTP2          bool          `json:"http2,omitempty"`
	ConnectTimeout mesh.Duration `json:"connectTimeout"`
	IdleTimeout    mesh.Duration `json:"idleTimeout"`
	Sources        []string      `json:"sources,omitempty"` // addresses of which the one is bound as source that is of the other side's family
}

// OnDemandRoutes is a set of virtual hosts of which a proxy asks for those that it needs.
type OnDemandRoutes struct {
	Name string `json:"name"`
}

// OutboundListener takes a workload's own requests, as an HTTP proxy.
type OutboundListener struct {
	Name        string        `json:"name"`
	Address     string        `json:"address"`
	Port        int           `json:"port"`
	Routes      string        `json:"routes"`
	WaitTimeout mesh.Duration `json:"waitTimeout"` // for a host that must be asked for
	NoLog       bool          `json:"noLog,omitempty"`
}

// InnerListener takes the requests that come through CONNECT, inside the proxy. It shares its routes with the
// [OutboundListener].
type InnerListener struct {
	Name        string        `json:"name"`
	Address     string        `json:"address"` // of the workload
	Routes      string        `json:"routes"`
	WaitTimeout mesh.Duration `json:"waitTimeout"`
	NoLog       bool          `json:"noLog,omitempty"`
}

// InnerCluster leads to the [InnerListener].
type InnerCluster struct {
	Name     string `json:"name"`
	Listener string `json:"listener"`
}

// LocalListener is a local address of a workload. What happens to its requests or bytes comes under its name:
// [LocalRoutes] or [LocalBytes].
type LocalListener struct {
	Name    string    `json:"name"`
	Address string    `json:"address"`
	Port    int       `json:"port"`
	Host    mesh.Host `json:"host"`
	HTTP    bool      `json:"http"` // else bytes
	NoLog   bool      `json:"noLog,omitempty"`
}

// InboundListener takes requests for a served port.
type InboundListener struct {
	Name    string    `json:"name"`
	Host    mesh.Host `json:"host"`
	Version string    `json:"version,omitempty"`
	Address string    `json:"address"`
	Further []string  `json:"further,omitempty"` // other addresses that it takes them at
	Port    int       `json:"port"`
	Cluster string    `json:"cluster"`
	HTTP    bool      `json:"http"` // else bytes
	Route   Route     `json:"route,omitzero"`
	// Target is where the application takes bytes. Each connection is told it when it is known who calls: the server may be the
	// one that speaks first, so nobody else may get that far.
	Target string `json:"target,omitempty"`
	NoLog  bool   `json:"noLog,omitempty"`
	// Accept is what callers may speak. Those who prove who they are must be of the trust domain, and what they do on one
	// connection ends after the longest time: requests and streams each, or the connection where the port speaks bytes.
	Accept      mesh.Transport `json:"accept"`
	TrustDomain string         `json:"trustDomain,omitempty"`
	Longest     mesh.Duration  `json:"longest,omitempty"`
	// Captured tells that it has no socket of its own: connections come from the [CapturedInbound]. Of callers that prove nothing,
	// where that is needed, the routes are taken that let probes through: of those who speak TLS the secure ones.
	Captured     bool    `json:"captured,omitempty"`
	Probes       []Route `json:"probes,omitempty"`
	SecureProbes []Route `json:"secureProbes,omitempty"`
	// Original tells that bytes go where they were going to, instead of to Target.
	Original bool `json:"original,omitempty"`
}

func inboundListener(v view.InboundListener) InboundListener {
	l := InboundListener{
		Name: v.Name, Host: v.Serving.Host, Version: v.Version,
		Address: v.Address, Further: v.Further, Port: v.Serving.Listen, Cluster: v.Name, HTTP: v.Serving.Protocol.IsHTTP(),
		NoLog: v.NoLog, Accept: v.Accept, TrustDomain: v.TrustDomain, Longest: longest(v.CertTTL),
		Captured: v.Captured, Probes: probeRoutes(v, view.Probes), SecureProbes: probeRoutes(v, view.SecureProbes),
	}
	switch {
	case l.HTTP:
		// The caller's side decides how long a request may take; this side only passes it on.
		l.Route = Route{Name: "inbound", Path: anyPath, Cluster: v.Name, Idle: idleTimeout, Retry: unsentHere}
	case v.Captured:
		l.Original = true
	default:
		l.Target = v.Serving.Target
	}
	return l
}

func inboundCluster(v view.InboundCluster) InboundCluster {
	c := InboundCluster{
		Name: v.Name, HTTP2: v.Serving.Protocol.IsHTTP2(), ConnectTimeout: connectTimeout, IdleTimeout: serverIdleTimeout,
	}
	if v.Captured {
		c.Sources = fromProxy(v.Families)
	}
	if !v.Serving.Protocol.IsHTTP() {
		return c
	}
	for _, a := range v.Addresses {
		if ip, err := netip.ParseAddr(a); err == nil {
			c.Targets = append(c.Targets, netip.AddrPortFrom(ip.Unmap(), uint16(v.Serving.Listen)).String()) //nolint:gosec // a port
		}
	}
	if !v.Captured {
		c.Targets = []string{v.Serving.Target}
	}
	return c
}

// Needs returns nothing.
func (Endpoints) Needs() []mesh.Subset { return nil }

// Needs returns nothing.
func (InboundCluster) Needs() []mesh.Subset { return nil }

// Needs returns nothing: the virtual hosts come one by one.
func (OnDemandRoutes) Needs() []mesh.Subset { return nil }

// Needs returns nothing: its routes are asked for by name.
func (OutboundListener) Needs() []mesh.Subset { return nil }

// Needs returns nothing: its routes are asked for by name.
func (InnerListener) Needs() []mesh.Subset { return nil }

// Needs returns nothing: it stays inside the proxy.
func (InnerCluster) Needs() []mesh.Subset { return nil }

// Needs returns nothing: what stands behind it is asked for by name.
func (LocalListener) Needs() []mesh.Subset { return nil }

// Needs returns nothing: its cluster is the proxy's own and needs no endpoints.
func (InboundListener) Needs() []mesh.Subset { return nil }

// needs returns the subsets that routes lead to.
func needs(routes []Route) []mesh.Subset {
	byName := map[string]mesh.Subset{}
	for _, r := range routes {
		for _, s := range r.Shares {
			byName[s.Subset.String()] = s.Subset
		}
		if r.Mirror != nil {
			byName[r.Mirror.String()] = *r.Mirror
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
