package plan

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/view"
)

// CapturedOutbound takes every connection that a captured workload makes, and tells them apart by where they were going to, waiting for
// nothing that the workload may say. That is enough where services say what they speak, and for pods. What else may carry
// requests goes by way of [Inspected].
type CapturedOutbound struct {
	CapturedWays
	Addresses   []string   `json:"addresses"` // that it listens on
	Port        int        `json:"port"`
	Requests    []int      `json:"requests,omitempty"` // ports of Services: what goes there are requests
	Bytes       []int      `json:"bytes,omitempty"`    // ports of Services: what goes there are bytes
	Apart       []Apart    `json:"apart,omitempty"`    // ports of Services: what goes there are bytes to some addresses, and else requests
	Mesh        []string   `json:"mesh"`               // other networks: all that goes there are bytes
	Named       []NamedWay `json:"named,omitempty"`    // networks outside the mesh: likewise; sorted by port
	Unclear     []int      `json:"unclear,omitempty"`  // ports of Services: what goes there is inspected
	Outside     []int      `json:"outside,omitempty"`  // ports outside the mesh: likewise
	Inspect     string     `json:"inspect,omitempty"`  // cluster for what is inspected; "": nothing is
	Passthrough string     `json:"passthrough"`        // cluster for everything else. "": that is inspected too
}

// Apart are the addresses to which what goes to a port are bytes.
type Apart = mesh.Apart

// Inspected takes connections that the [CapturedOutbound] cannot tell by their addresses, inside the proxy: it waits for what they begin with.
type Inspected struct {
	CapturedWays
	Socket      string       `json:"socket"` // that it listens on, in the proxy's folder
	Outside     []OutsideWay `json:"outside,omitempty"`
	Passthrough string       `json:"passthrough"`      // cluster for everything else
	Others      string       `json:"others,omitempty"` // routes, by what they say in Host, of requests to others, whose bytes are not taken then. "": all of that passes
}

// InspectCluster leads to the [Inspected], which is told from where and to where each connection was going.
type InspectCluster struct {
	Name   string `json:"name"`
	Socket string `json:"socket"`
}

// inspectSocket is a socket since Envoy's own listeners without one lose what was written last when they close a connection.
const inspectSocket = "inspect.sock"

// CapturedWays are those of captured connections to services: of requests by the routes of the scope that their address has, of bytes to a
// cluster for their address, which is asked for.
type CapturedWays struct {
	Name        string        `json:"name"`
	Services    []string      `json:"services"`    // networks
	Dialled     string        `json:"dialled"`     // begins the name of the cluster for an address; the address follows, port included
	WaitTimeout mesh.Duration `json:"waitTimeout"` // for routes or a cluster that must be asked for
	Idle        mesh.Duration `json:"idle"`        // of bytes: without one in either direction
	NoLog       bool          `json:"noLog,omitempty"`
}

// OutsideWay says by which routes requests to a port outside the mesh are steered.
type OutsideWay struct {
	Port   int    `json:"port"`
	Routes string `json:"routes"`
}

// NamedWay says which networks outside the mesh take what comes to a port.
type NamedWay struct {
	Port     int      `json:"port"`
	Networks []string `json:"networks"` // sorted
}

// CapturedInbound takes every connection that is made to a captured workload. Those for Ports go to their listeners. Others are
// taken as the embedded listener says, and go where they were going to.
type CapturedInbound struct {
	InboundListener
	Ports []int `json:"ports,omitempty"`
}

// Scope says by which routes requests to an address are steered.
type Scope struct {
	Name    string `json:"name"` // the address, port included
	Routes  string `json:"routes"`
	Pressed bool   `json:"pressed,omitempty"` // they are asked for at once, not with the first request
}

// OriginalCluster leads to where a captured connection was going to.
type OriginalCluster struct {
	Name           string        `json:"name"`
	Sources        []string      `json:"sources,omitempty"`  // addresses of which the one is bound as source that is of the other side's family
	Requests       bool          `json:"requests,omitempty"` // as the caller speaks them; else bytes
	TLS            bool          `json:"tls,omitempty"`      // with Requests: in TLS, whatever certificate is shown
	ConnectTimeout mesh.Duration `json:"connectTimeout"`
	IdleTimeout    mesh.Duration `json:"idleTimeout,omitempty"` // with Requests: of a connection without any
}

// DialledEndpoints lists the places behind an address that captured workloads dial.
type DialledEndpoints struct {
	Name   string        `json:"name"`
	Rule   string        `json:"rule"` // that decides
	Origin mesh.Position `json:"origin,omitzero"`
	Groups []Group       `json:"groups"`
}

// Group is a part of the endpoints with its part of the connections.
type Group struct {
	Weight    int        `json:"weight"`
	Endpoints []Endpoint `json:"endpoints"`
}

// fromProxy returns the sources of what a proxy hands to the application beside it, by which it is told from what is to be captured: one
// for each family of the workload's addresses.
func fromProxy(families []view.Family) []string {
	return ofFamilies(families, mesh.FromProxyIPv4, mesh.FromProxyIPv6)
}

// anyAddress returns what is listened on to take connections whatever address they were made to: of families that the workload has no
// address of nothing comes, and its host may not know them.
func anyAddress(families []view.Family) []string { return ofFamilies(families, "0.0.0.0", "::") }

// ofFamilies returns what stands for each family.
func ofFamilies(families []view.Family, v4, v6 string) []string {
	var all []string
	for _, f := range families {
		if f == view.IPv4 {
			all = append(all, v4)
		} else {
			all = append(all, v6)
		}
	}
	return all
}

// Needs returns nothing: routes and clusters are asked for.
func (CapturedOutbound) Needs() []mesh.Subset { return nil }

// Needs returns nothing, likewise.
func (Inspected) Needs() []mesh.Subset { return nil }

// Needs returns nothing: it leads to a listener of the same proxy.
func (InspectCluster) Needs() []mesh.Subset { return nil }

// Needs returns nothing: the routes are asked for by name.
func (Scope) Needs() []mesh.Subset { return nil }

// Needs returns nothing: it leads out of the proxy.
func (OriginalCluster) Needs() []mesh.Subset { return nil }

// Needs returns nothing.
func (DialledEndpoints) Needs() []mesh.Subset { return nil }

func capturedOutbound(v view.CapturedOutbound) CapturedOutbound {
	p := CapturedOutbound{
		CapturedWays: capturedWays(v.Name, v.Services, v.NoLog), Addresses: anyAddress(v.Families), Port: mesh.OutboundPort,
		Requests: v.Spoken.Requests, Bytes: v.Spoken.Bytes, Apart: v.Spoken.Apart, Unclear: v.Spoken.Unclear, Passthrough: view.Passthrough,
	}
	if v.Inspects {
		p.Inspect = view.Inspect
	}
	for _, network := range networks(v.Mesh) {
		if !withinNetworks(network, p.Services) {
			p.Mesh = append(p.Mesh, network)
		}
	}
	if v.OnlyKnown {
		p.Passthrough, p.Named = "", namedWays(v.Named, slices.Concat(p.Services, p.Mesh))
	}
	p.Outside = slices.DeleteFunc(slices.Clone(v.Outside), isCapturePort)
	return p
}

func inspected(v view.Inspected) Inspected {
	p := Inspected{CapturedWays: capturedWays(v.Name, v.Services, v.NoLog), Socket: inspectSocket, Passthrough: view.Passthrough}
	if v.OnlyKnown {
		p.Others = view.OutboundRoutes
	}
	for _, port := range v.Outside {
		if !isCapturePort(port) {
			p.Outside = append(p.Outside, OutsideWay{Port: port, Routes: view.OutsideRoutesOf(port).Name})
		}
	}
	return p
}

func capturedWays(name string, services []string, noLog bool) CapturedWays {
	return CapturedWays{
		Name: name, Services: networks(services), Dialled: view.DialledPrefix, WaitTimeout: firstRequestTimeout,
		Idle: idleTimeout, NoLog: noLog,
	}
}

// isCapturePort tells whether a port is the proxy's own, to which nothing goes that is captured.
func isCapturePort(port int) bool { return port == mesh.OutboundPort || port == mesh.InboundPort }

// namedWays orders networks outside the mesh by port. Those that lie in networks of the mesh are left out: what is said of these holds.
func namedWays(named []view.Named, inside []string) []NamedWay {
	at := map[int][]string{}
	for _, n := range named {
		for _, port := range n.Ports {
			if !isCapturePort(port) && !withinNetworks(n.Network, inside) {
				at[port] = append(at[port], n.Network)
			}
		}
	}
	var ways []NamedWay
	for _, port := range slices.Sorted(maps.Keys(at)) {
		ways = append(ways, NamedWay{Port: port, Networks: networks(at[port])})
	}
	return ways
}

// networks returns those that are networks, each once as it is written, sorted: a proxy refuses two that are the same.
func networks(texts []string) []string {
	var list []string
	for _, text := range texts {
		if network, err := netip.ParsePrefix(text); err == nil {
			list = append(list, network.Masked().String())
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// withinNetworks tells whether a network lies in one of others.
func withinNetworks(network string, others []string) bool {
	inner, err := netip.ParsePrefix(network)
	if err != nil {
		return false
	}
	for _, text := range others {
		if outer, err := netip.ParsePrefix(text); err == nil && outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr()) {
			return true
		}
	}
	return false
}

func capturedInbound(v view.CapturedInbound) CapturedInbound {
	listen := anyAddress(v.Families)
	return CapturedInbound{
		InboundListener: InboundListener{
			Name: v.Name, Version: v.Version, Address: listen[0], Further: listen[1:], Port: mesh.InboundPort, Cluster: view.Inbound,
			NoLog: v.NoLog, Accept: v.Accept, TrustDomain: v.TrustDomain, Longest: longest(v.CertTTL), Original: true,
		},
		Ports: v.Ports,
	}
}

func originalCluster(v view.OriginalCluster) OriginalCluster {
	p := OriginalCluster{Name: v.Name, Sources: fromProxy(v.Families), ConnectTimeout: connectTimeout}
	switch v.Name {
	case view.Passthrough:
		p.Sources, p.ConnectTimeout, p.Requests = nil, passTimeout, true
	case view.Probes:
		p.Requests = true
	case view.SecureProbes:
		p.Requests, p.TLS = true, true
	}
	if p.Requests {
		p.IdleTimeout = serverIdleTimeout
	}
	return p
}

// probeRoutes returns what a port that takes only proven callers takes of others, by way of a cluster: the very requests of the
// node's probes, those in TLS by [view.SecureProbes], all others by [view.Probes]. There are none where nothing of that can come.
func probeRoutes(v view.InboundListener, cluster string) []Route {
	if !v.Captured || v.Accept != mesh.TLS {
		return nil
	}
	var routes []Route
	for _, p := range v.Probes {
		if (p.Kind == mesh.ProbeHTTPS) != (cluster == view.SecureProbes) {
			continue
		}
		r := Route{Name: probeRoute, Path: anyPath, Cluster: cluster, Idle: idleTimeout}
		switch p.Kind {
		case mesh.ProbeHTTP, mesh.ProbeHTTPS:
			r.Headers = []HeaderMatch{exactly(":method", "GET"), exactly(":path", p.Path)}
		case mesh.ProbeGRPC:
			r.Headers = append([]HeaderMatch{exactly(":method", "POST"), exactly(":path", "/grpc.health.v1.Health/Check")}, callOfGRPC...)
		default:
			continue // a connection is all that it wants
		}
		routes = append(routes, r)
	}
	if len(routes) == 0 {
		return nil
	}
	return append(routes, Route{Name: NotProven, Path: anyPath, Answer: &Answer{
		Status: 403, Body: "lateen: this port takes mutual TLS only, and the node's own probes.\n",
	}})
}

func exactly(header, value string) HeaderMatch {
	return HeaderMatch{Name: header, StringMatch: mesh.StringMatch{Kind: mesh.MatchExact, Value: value}}
}

// steer returns where connections to the address go: as the first rule says that concerns them.
func steer(d view.Dialled) (shares []Share, rule string, origin mesh.Position) {
	address, _ := netip.ParseAddr(d.Address)
	bytes := steerBytes(view.LocalBytes{Host: d.Host, Port: d.Port, Address: d.Source, Rules: dial(d.Rules, address), Policies: d.Policies})
	return bytes.Shares, bytes.Rule, bytes.Origin
}

func dialledCluster(v view.DialledCluster) Cluster {
	switch {
	case len(v.Ways) == 0:
		host := mesh.Host(strings.TrimPrefix(v.Name, view.DialledPrefix))
		p := Cluster{Name: v.Name, Subset: mesh.Subset{Host: host, Port: v.Port}, Find: FindOriginal, ConnectTimeout: passTimeout}
		if v.Closed { // it has no endpoints
			p.Find = FindAsk
		}
		return p
	case v.Host == "":
		p := cluster(v.Ways[0])
		p.Name = v.Name
		return p
	}
	ways := map[string]view.Cluster{}
	for _, way := range v.Ways {
		ways[way.Subset.String()] = way
	}
	var p Cluster
	shares, _, _ := steer(v.Dialled)
	for i, s := range shares {
		way := cluster(ways[s.Subset.String()])
		if i == 0 {
			p = way
			p.Name, p.Split = v.Name, len(shares) > 1
			continue
		}
		p.Mutual = either(p.Mutual, way.Mutual)
	}
	if p.Split {
		p.Find, p.TLS = FindAsk, nil
	}
	return p
}

// either is mutual TLS with whom one or the other is for.
func either(a, b *MutualTLS) *MutualTLS {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	return &MutualTLS{Identities: union(a.Identities, b.Identities), Age: min(a.Age, b.Age)}
}

func dialledEndpoints(v view.DialledEndpoints) DialledEndpoints {
	p := DialledEndpoints{Name: v.Name, Rule: DefaultRoute}
	if v.Host == "" {
		for _, way := range v.Ways {
			p.Groups = append(p.Groups, Group{Weight: 100, Endpoints: way.Endpoints})
		}
		return p
	}
	ways := map[string][]Endpoint{}
	for _, way := range v.Ways {
		ways[way.Subset.String()] = way.Endpoints
	}
	var shares []Share
	shares, p.Rule, p.Origin = steer(v.Dialled)
	for _, s := range shares {
		p.Groups = append(p.Groups, Group{Weight: s.Weight, Endpoints: ways[s.Subset.String()]})
	}
	return p
}

// union returns the names of two sorted lists, sorted.
func union(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}
