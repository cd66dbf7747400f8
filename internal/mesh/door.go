package mesh

// DoorRule is one path of an Ingress object: which requests from outside go to which service.
type DoorRule struct {
	Object Ref      `json:"object"`
	Origin Position `json:"origin"`
	Host   string   `json:"host,omitempty"` // lower case; "": every host; "*.example.com": the hosts below
	// AnyDepth lets the wildcard of Host stand for several labels ("a.b.example.com"), as it did before
	// networking.k8s.io/v1, where it stands for one.
	AnyDepth bool        `json:"anyDepth,omitempty"`
	Path     StringMatch `json:"path"`              // of kind elements, "/" takes everything
	Default  bool        `json:"default,omitempty"` // default backend: tried after every other rule, whatever the host
	TLSOnly  bool        `json:"tlsOnly,omitempty"` // not to be reached without TLS
	Backend  Backend     `json:"backend"`
}

// Backend is the service port that an Ingress object names, by number or by name.
type Backend struct {
	Host     Host   `json:"host"`
	Port     int    `json:"port,omitempty"`
	PortName string `json:"portName,omitempty"`
}

// DoorTLS says which certificate the door shows to clients that ask for one of the hosts.
type DoorTLS struct {
	Object Ref      `json:"object"`
	Origin Position `json:"origin"`
	Hosts  []string `json:"hosts,omitempty"` // lower case, "*.example.com" possible; none: every host that no other names
	Secret string   `json:"secret"`          // "default/shop-tls"
}

// Door holds everything that Ingress objects say. Rules are in the order in which they are tried for one host: exact
// paths, regular expressions by length, longer prefixes before shorter ones, then default backends; equal ones by
// object, of which the first counts. TLS is sorted by object.
type Door struct {
	Rules []*DoorRule `json:"rules"`
	TLS   []*DoorTLS  `json:"tls,omitempty"`
}

// IngressHosts are the services that an ingress counts as where rules say for whom they are: by the name that it has on Kubernetes,
// and by the one that it had in Istio, whatever it is called here. No source needs to know them.
func IngressHosts(domain string) []Host {
	return []Host{ServiceHost("istio-ingress", "istio-system", domain), ServiceHost(IngressName, SystemNamespace, domain)}
}
