package mesh

import "strings"

// Protocol is what a port speaks, as far as a proxy must know.
type Protocol string

// The protocols that are told apart. Everything else is TCP.
const (
	HTTP  Protocol = "HTTP"
	HTTP2 Protocol = "HTTP2"
	GRPC  Protocol = "GRPC"
	HTTPS Protocol = "HTTPS"
	TCP   Protocol = "TCP"
)

// IsHTTP tells whether requests of this protocol can be read and steered one by one.
func (p Protocol) IsHTTP() bool { return p == HTTP || p == HTTP2 || p == GRPC }

// IsHTTP2 tells whether the protocol needs HTTP/2 on every hop.
func (p Protocol) IsHTTP2() bool { return p == HTTP2 || p == GRPC }

// ProtocolOf reads the protocol from a port's name: the part before the first "-", in any case, as Istio and
// Kubernetes users name their ports ("http", "grpc-api", "mysql"). Unknown words and the empty name mean TCP.
func ProtocolOf(portName string) Protocol {
	word, _, _ := strings.Cut(portName, "-")
	switch p := Protocol(strings.ToUpper(word)); p {
	case HTTP, HTTP2, GRPC, HTTPS:
		return p
	default:
		return TCP
	}
}

// Port is one port of a service, as callers know it.
type Port struct {
	Name     string   `json:"name"`
	Number   int      `json:"number"`
	Protocol Protocol `json:"protocol"`
	// AuthPolicy says how callers of this port prove who they are; "": as the settings of the mesh say.
	AuthPolicy AuthPolicy `json:"authPolicy,omitempty"`
}

// Service is a host with its ports. Its endpoints stand in an [EndpointSet] of their own, since they change more often.
type Service struct {
	Host      Host   `json:"host"`
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	Ports     []Port `json:"ports"` // sorted by number
	// Addresses are the service's own: IP addresses behind which its endpoints stand (ClusterIPs), the primary one first.
	Addresses []string `json:"addresses,omitempty"`
	// Headless tells that it has no address of its own on purpose: callers look up those of its endpoints.
	Headless bool `json:"headless,omitempty"`
	// External is the name outside that it stands for (ExternalName); "": none.
	External string `json:"external,omitempty"`
	// Identities are SPIFFE IDs that callers accept beside those of the endpoints, sorted.
	Identities []string `json:"identities,omitempty"`
}

// Port returns the port with this number, or false.
func (s *Service) Port(number int) (Port, bool) {
	for _, p := range s.Ports {
		if p.Number == number {
			return p, true
		}
	}
	return Port{}, false
}

// PortNamed returns the port with this name, or false.
func (s *Service) PortNamed(name string) (Port, bool) {
	for _, p := range s.Ports {
		if p.Name == name {
			return p, true
		}
	}
	return Port{}, false
}

// Health tells whether an endpoint takes requests.
type Health string

// An endpoint that is neither is not listed at all.
const (
	Healthy  Health = "healthy"
	Draining Health = "draining" // finishes what it has, and gets nothing new as long as there are others
)

// Endpoint is one address of one workload instance.
type Endpoint struct {
	Address  string         `json:"address"`           // IP address
	Further  []string       `json:"further,omitempty"` // other addresses of the same, as a pod's of the other family: where Address is not reached, these may be
	Ports    map[string]int `json:"ports"`             // by the service's port name: the port to dial
	Labels   Labels         `json:"labels,omitempty"`
	Workload string         `json:"workload,omitempty"` // name of the instance, "" when not known
	Account  string         `json:"account,omitempty"`  // service account, "" when it has no identity: it is called in plain text
	Inbound  *Inbound       `json:"inbound,omitempty"`  // with Account: which connections its proxy does not take
	Health   Health         `json:"health"`
	Zone     string         `json:"zone,omitempty"` // where it is, "REGION/ZONE"; "" when not known
}

// EndpointSet holds the endpoints of one host, sorted by address and workload.
type EndpointSet struct {
	Host      Host       `json:"host"`
	Endpoints []Endpoint `json:"endpoints"`
}
