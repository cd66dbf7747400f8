package view

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Kind is a kind of resource.
type Kind string

// The kinds of resources, in the order in which a proxy is given them.
const (
	KindCluster     Kind = "cluster"
	KindEndpoints   Kind = "endpoints"
	KindListener    Kind = "listener"
	KindRoutes      Kind = "routes"
	KindVirtualHost Kind = "virtual-host"
	KindSecret      Kind = "secret" // a certificate with its key
	KindFilter      Kind = "filter" // what a listener for bytes does with them
	KindScope       Kind = "scope"  // which routes hold for an address of a service, for captured workloads
)

// ID names one resource as proxies know it.
type ID struct {
	Kind Kind   `json:"kind"`
	Name string `json:"name"`
}

// String returns "cluster outbound|9080||reviews.default.svc.cluster.local".
func (id ID) String() string { return string(id.Kind) + " " + id.Name }

// Names of resources that proxies ask for by themselves.
const (
	OutboundRoutes  = "out"     // routes of a sidecar's own requests; its virtual hosts come on demand
	DoorRoutes      = "ingress" // routes of an ingress, and its listener for plain text
	doorTLS         = "ingress-tls"
	Inner           = "inner" // listener and cluster for what comes through CONNECT
	outbound        = "outbound"
	localPrefix     = "local|"
	inboundPrefix   = "inbound|"
	callPrefix      = "call|"
	capturedPrefix  = "captured|"   // routes of captured workloads
	DialledPrefix   = "dialled|"    // begins the name of the cluster for an address that a captured workload dials, and of its endpoints
	Passthrough     = "passthrough" // cluster: where a captured connection was going to
	Inspect         = "inspect"     // listener and cluster for what a captured workload sends of which nobody has said what it is
	Inbound         = "inbound"     // listener for what is made to a captured workload, and the cluster for what it passes on
	Probes          = "probes"      // cluster for the probes that a captured workload lets through
	SecureProbes    = "probes-tls"  // cluster for those of them that speak TLS
	everything      = "*"
	virtualHostRoot = OutboundRoutes + "/"
	initName        = "_init"
)

// InitHost is a virtual host that answers nobody. An Envoy with on-demand virtual hosts takes no requests before it
// was given one.
func InitHost() ID { return ID{KindVirtualHost, virtualHostRoot + initName} }

// VirtualHostOf names the virtual host for a host as a client spells it, port included: "reviews:9080".
func VirtualHostOf(spelling string) ID { return ID{KindVirtualHost, virtualHostRoot + spelling} }

// HostOf returns the spelling that a virtual host is named for, or false for any other resource.
func HostOf(id ID) (spelling string, ok bool) {
	spelling, ok = strings.CutPrefix(id.Name, virtualHostRoot)
	return spelling, ok && id.Kind == KindVirtualHost
}

// maxSpelling bounds a host as a client spells it: a DNS name of 253 bytes and a port.
const maxSpelling = 259

// Nameable tells whether a virtual host may carry the name as its domain. It may not if it is no host and port at
// all; above all it must not hold a "*", which would take the requests for every other host.
func (id ID) Nameable() bool {
	spelling, ok := strings.CutPrefix(id.Name, virtualHostRoot)
	return ok && len(spelling) <= maxSpelling && spelling != "" && !strings.ContainsFunc(spelling, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._:[]", r)
	})
}

// ClusterOf names the cluster of a subset.
func ClusterOf(s mesh.Subset) ID { return ID{KindCluster, s.String()} }

// inboundName names the listener and the cluster for one port that a workload serves.
func inboundName(port int) string { return inboundPrefix + strconv.Itoa(port) }

// localName names the listener for a local address, and what stands behind it.
func localName(u mesh.Upstream) string {
	return localPrefix + strconv.Itoa(u.Port) + "|" + string(u.Host)
}

// LocalRoutesOf names the routes behind a local address whose port speaks HTTP.
func LocalRoutesOf(u mesh.Upstream) ID { return ID{KindRoutes, localName(u)} }

// CallRoutesOf names the routes of a client without a proxy to a port of a host.
func CallRoutesOf(h mesh.Host, port int) ID {
	return ID{KindRoutes, callPrefix + strconv.Itoa(port) + "|" + string(h)}
}

// CapturedRoutesOf names the routes of captured workloads to a port of a host.
func CapturedRoutesOf(h mesh.Host, port int) ID {
	return ID{KindRoutes, capturedPrefix + strconv.Itoa(port) + "|" + string(h)}
}

// CapturedHost returns the host and port for which the routes of captured workloads are, or false for any other resource.
func CapturedHost(id ID) (h mesh.Host, port int, ok bool) {
	h, port, ok = parsePlace(id.Name, capturedPrefix)
	return h, port, ok && id.Kind == KindRoutes
}

// IsDialled tells whether a cluster, or its endpoints, is for an address that captured workloads dial.
func (id ID) IsDialled() bool {
	return (id.Kind == KindCluster || id.Kind == KindEndpoints) && strings.HasPrefix(id.Name, DialledPrefix)
}

// parseDialled returns the address for which a dialled cluster is.
func parseDialled(name string) (netip.AddrPort, bool) {
	rest, ok := strings.CutPrefix(name, DialledPrefix)
	at, err := netip.ParseAddrPort(rest)
	return at, ok && err == nil && at.Port() != 0 && at.String() == rest
}

// TargetOf names the listener by which a client without a proxy finds a host as it spells it, port included.
func TargetOf(spelling string) ID { return ID{KindListener, spelling} }

// Everything names the list of all resources of a kind, of listeners or clusters, that there are for a proxy beside its own.
func Everything(k Kind) ID { return ID{k, everything} }

// isList tells whether it names a list.
func (id ID) isList() bool { return id.Name == everything && listed(id.Kind) }

// parsePlace reads the port and the host in a name with this prefix.
func parsePlace(name, prefix string) (h mesh.Host, port int, ok bool) {
	rest, found := strings.CutPrefix(name, prefix)
	number, host, whole := strings.Cut(rest, "|")
	port, err := strconv.Atoi(number)
	return mesh.Host(host), port, found && whole && err == nil && host != "" && port > 0 && port < 65536
}

// ownClusters are those of a proxy alone, or of captured ones in common, beside those of its ports.
var ownClusters = []string{Inner, Inspect, Inbound, Probes, SecureProbes, Passthrough}

// common tells whether the resource is one of those that captured workloads have, in which nothing of a workload is read but of which families
// its addresses are.
func (c Caller) common(id ID) bool {
	switch id {
	case ID{KindListener, outbound}, ID{KindListener, Inspect},
		ID{KindCluster, Inspect}, ID{KindCluster, Inbound}, ID{KindCluster, Probes}, ID{KindCluster, SecureProbes}, ID{KindCluster, Passthrough}:
		return c.Captured != ""
	}
	return false
}

// own tells whether the resource belongs to the caller's proxy alone. A client without a proxy has none of its own.
func (c Caller) own(id ID) bool {
	if c.Type == mesh.Proxyless || id.isList() || c.common(id) {
		return false
	}
	return id.Kind == KindListener || (id.Kind == KindCluster && (slices.Contains(ownClusters, id.Name) || strings.HasPrefix(id.Name, inboundPrefix)))
}

// Own lists the resources that each proxy like that of a workload has, whatever it calls: what it listens on and the application behind. What
// captured ones have in common is among them.
func Own(w *mesh.Workload) []ID {
	var ids []ID
	switch {
	case w.Type == mesh.Proxyless:
		return nil
	case w.Type == mesh.Sidecar && w.Capture:
		for _, port := range takenPorts(w) {
			ids = append(ids, ID{KindCluster, inboundName(port)}, ID{KindListener, inboundName(port)})
		}
		if slices.ContainsFunc(w.Probes, func(p mesh.Probe) bool { return p.Kind == mesh.ProbeHTTPS }) {
			ids = append(ids, ID{KindCluster, SecureProbes})
		}
		return append(ids, ID{KindCluster, Inbound}, ID{KindCluster, Probes}, ID{KindCluster, Passthrough}, ID{KindCluster, Inspect},
			ID{KindListener, Inbound}, ID{KindListener, Inspect}, ID{KindListener, outbound})
	}
	for _, s := range w.Serves {
		ids = append(ids, ID{KindCluster, inboundName(s.Port)}, ID{KindListener, inboundName(s.Port)})
	}
	if w.Type == mesh.Ingress {
		ids = append(ids, ID{KindListener, DoorRoutes})
		if w.DoorTLS != 0 {
			ids = append(ids, ID{KindListener, doorTLS})
		}
		return ids
	}
	for _, u := range w.Upstreams {
		ids = append(ids, ID{KindListener, localName(u)})
	}
	return append(ids, ID{KindCluster, Inner}, ID{KindListener, Inner}, ID{KindListener, outbound})
}
