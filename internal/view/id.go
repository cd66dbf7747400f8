package view

import (
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

// parseLocal reads what localName wrote.
func parseLocal(name string) (h mesh.Host, port int, ok bool) {
	number, host, found := strings.Cut(strings.TrimPrefix(name, localPrefix), "|")
	port, err := strconv.Atoi(number)
	return mesh.Host(host), port, found && err == nil && host != "" && port > 0 && port < 65536
}

// own tells whether the resource belongs to one proxy alone.
func (id ID) own() bool {
	return id.Kind == KindListener || (id.Kind == KindCluster && (id.Name == Inner || strings.HasPrefix(id.Name, inboundPrefix)))
}

// Own lists the resources that belong to the proxy of a workload alone: what it listens on and the application behind.
func Own(w *mesh.Workload) []ID {
	var ids []ID
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
