package mesh

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// ProxyType says what a proxy is for.
type ProxyType string

// Sidecar stands beside a workload, Ingress at the door of the mesh. Proxyless is a workload without a proxy: its own gRPC
// library is told what a sidecar would be.
const (
	Sidecar   ProxyType = "sidecar"
	Ingress   ProxyType = "ingress"
	Proxyless ProxyType = "proxyless"
)

// ProxyID names a proxy: the name of its workload instance and its namespace, "reviews-v2-0.default".
type ProxyID string

// NewProxyID returns the ID of the proxy beside the instance name in namespace.
func NewProxyID(name, namespace string) ProxyID { return ProxyID(name + "." + namespace) }

// Split returns the two parts of the ID; no namespace where there is none in it.
func (id ProxyID) Split() (name, namespace string) {
	if dot := strings.LastIndexByte(string(id), '.'); dot >= 0 {
		return string(id[:dot]), string(id[dot+1:])
	}
	return string(id), ""
}

// Node is what a proxy says of itself when it connects.
type Node struct {
	Type      ProxyType
	Address   string
	Name      string
	Namespace string
	Domain    string
}

// ID returns the proxy's ID.
func (n Node) ID() ProxyID { return NewProxyID(n.Name, n.Namespace) }

// String returns the xDS node id, TYPE~IP~NAME.NAMESPACE~NAMESPACE.svc.DOMAIN.
func (n Node) String() string {
	return fmt.Sprintf("%s~%s~%s.%s~%s.svc.%s", n.Type, n.Address, n.Name, n.Namespace, n.Namespace, n.Domain)
}

// ParseNode reads an xDS node id as [Node.String] writes it.
func ParseNode(id string) (Node, error) {
	bad := func(what string) (Node, error) {
		return Node{}, fmt.Errorf("node id %q: %s; want TYPE~IP~NAME.NAMESPACE~NAMESPACE.svc.DOMAIN", id, what)
	}
	if len(id) > 1024 {
		return Node{}, fmt.Errorf("node id of %d bytes: at most 1024", len(id))
	}
	parts := strings.Split(id, "~")
	if len(parts) != 4 {
		return bad("it has not four parts")
	}
	n := Node{Type: ProxyType(parts[0]), Address: parts[1]}
	if n.Type != Sidecar && n.Type != Ingress && n.Type != Proxyless {
		return bad("unknown type")
	}
	dot := strings.LastIndexByte(parts[2], '.')
	if dot <= 0 || dot == len(parts[2])-1 {
		return bad("the name has no namespace")
	}
	n.Name, n.Namespace = parts[2][:dot], parts[2][dot+1:]
	domain, ok := strings.CutPrefix(parts[3], n.Namespace+".svc.")
	if !ok || domain == "" {
		return bad("the domain does not belong to the namespace")
	}
	n.Domain = domain
	return n, nil
}

// Workload is one instance of what runs (a process, a pod, a machine) together with what its proxy must know.
type Workload struct {
	Name      string     `json:"name"` // "reviews-v2-0"
	Namespace string     `json:"namespace"`
	Type      ProxyType  `json:"type"`
	Account   string     `json:"account"` // service account
	Labels    Labels     `json:"labels,omitempty"`
	Address   string     `json:"address"`           // IP address of its own, listened on and bound as source
	Further   []string   `json:"further,omitempty"` // with Capture: its other addresses, as a pod's of the other family
	Outbound  int        `json:"outbound"`          // port on Address where its proxy takes the workload's own requests; of an ingress, port of the door
	Door      string     `json:"door,omitempty"`    // of an ingress: IP address where requests from outside come in
	DoorTLS   int        `json:"doorTLS,omitempty"` // of an ingress: port of the door for TLS; 0: none
	Serves    []Serving  `json:"serves,omitempty"`
	Upstreams []Upstream `json:"upstreams,omitempty"`
	// Uses says which hosts its proxy is given before it asks.
	Uses Uses `json:"uses,omitzero"`
	// Capture tells that its connections are captured: its proxy takes those that it makes on [OutboundPort] and those that
	// it is made on [InboundPort], whatever they are for. Outbound, Door and Upstreams mean nothing then.
	Capture bool `json:"capture,omitempty"`
	// Inbound says, with Capture, which of the latter its proxy does not take.
	Inbound *Inbound `json:"inbound,omitempty"`
	// Probes are the requests by which the node asks the workload how it is, and tells it of its beginning and its end, sorted. They
	// come from somebody without an identity, and get through whatever the policies say.
	Probes []Probe `json:"probes,omitempty"`
	// Running tells that its proxy takes requests, so that it has a configuration and will come back when its
	// stream with the control plane is cut. Of one without a proxy nobody knows when its library connects.
	Running bool `json:"running,omitempty"`
}

// ID returns the ID of the workload's proxy.
func (w *Workload) ID() ProxyID { return NewProxyID(w.Name, w.Namespace) }

// HasAddress tells whether an address is the workload's, however that is spelled.
func (w *Workload) HasAddress(a netip.Addr) bool {
	return slices.ContainsFunc(w.Addresses(), func(text string) bool {
		own, err := netip.ParseAddr(text)
		return err == nil && own.Unmap() == a.Unmap()
	})
}

// Addresses returns all addresses of the workload, the first one first.
func (w *Workload) Addresses() []string { return append([]string{w.Address}, w.Further...) }

// AddressLike returns the first of some addresses that is of the family of another one, from where that one is called; without one the
// first of all.
func AddressLike(other netip.Addr, addresses ...string) string {
	for _, text := range addresses {
		if a, err := netip.ParseAddr(text); err == nil && a.Unmap().Is4() == other.Unmap().Is4() {
			return text
		}
	}
	return addresses[0]
}

// ProbeKind says how a node asks a workload how it is.
type ProbeKind string

// The probes that reach a port.
const (
	ProbeHTTP  ProbeKind = "http"
	ProbeHTTPS ProbeKind = "https" // the node takes whatever certificate is shown
	ProbeGRPC  ProbeKind = "grpc"
	ProbeTCP   ProbeKind = "tcp"
)

// Probe is one question of a node to a workload.
type Probe struct {
	Port    int       `json:"port"` // of the application
	Kind    ProbeKind `json:"kind"`
	Path    string    `json:"path,omitempty"`    // of an HTTP or HTTPS probe, "/healthz?full"
	Service string    `json:"service,omitempty"` // that a gRPC probe asks for
}

// Compare orders probes by port, kind, path and service.
func (p Probe) Compare(o Probe) int {
	return cmp.Or(cmp.Compare(p.Port, o.Port), cmp.Compare(p.Kind, o.Kind), cmp.Compare(p.Path, o.Path), cmp.Compare(p.Service, o.Service))
}

// Serving is one port on which a workload answers for a service.
type Serving struct {
	Host     Host     `json:"host"`
	Port     int      `json:"port"` // of the service
	Protocol Protocol `json:"protocol"`
	// Listen is the port on the workload's address where the proxy listens; with capture that of the application.
	Listen int `json:"listen"`
	// Target is the address and port of the application, "127.0.0.1:43121". With capture it is "": where the caller went to.
	Target string `json:"target"`
}

// Uses says what is done with the experience of which hosts a workload calls. Hosts are written as it spells them, with
// their ports: "reviews:9080".
type Uses struct {
	Pin    []string `json:"pin,omitempty"`    // every new proxy is given these at once
	Forbid []string `json:"forbid,omitempty"` // these are not learned; "*": none is
}

// Forbids tells whether a host, as it is spelled, is not to be learned.
func (u Uses) Forbids(spelling string) bool {
	return slices.Contains(u.Forbid, "*") || slices.Contains(u.Forbid, spelling)
}

// Upstream is a local address that leads a workload to one port of a service: for TCP, and for programs that know no
// proxies.
type Upstream struct {
	Host   Host `json:"host"`
	Port   int  `json:"port"`   // of the service
	Listen int  `json:"listen"` // port on the workload's address where its proxy listens
}
