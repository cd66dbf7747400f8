package mesh

// DoorRule is one path of an Ingress object: which requests from outside go to which service.
type DoorRule struct {
	Object  Ref      `json:"object"`
	Origin  Position `json:"origin"`
	Path    string   `json:"path"`              // "/" with Prefix takes everything
	Exact   bool     `json:"exact"`             // else Path and what lies below it, by path element
	Default bool     `json:"default,omitempty"` // default backend: tried after every other rule
	Backend Backend  `json:"backend"`
}

// Backend is the service port that an Ingress object names, by number or by name.
type Backend struct {
	Host     Host   `json:"host"`
	Port     int    `json:"port,omitempty"`
	PortName string `json:"portName,omitempty"`
}

// Door holds everything that Ingress objects say, in the order in which it is tried: exact paths, then longer
// prefixes before shorter ones, then default backends; equal ones by object.
type Door struct {
	Rules []*DoorRule `json:"rules"`
}
