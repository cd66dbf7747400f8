package ingress

import "go.yaml.in/yaml/v3"

// spec is the spec of an Ingress.
type spec struct {
	IngressClassName string    `yaml:"ingressClassName"`
	DefaultBackend   *backend  `yaml:"defaultBackend"`
	TLS              yaml.Node `yaml:"tls" lateen:"later"`
	Rules            []rule    `yaml:"rules"`
}

type rule struct {
	Host yaml.Node `yaml:"host" lateen:"later"`
	HTTP *http     `yaml:"http"`
}

type http struct {
	Paths []path `yaml:"paths"`
}

type path struct {
	Path     string   `yaml:"path"`
	PathType string   `yaml:"pathType"`
	Backend  *backend `yaml:"backend"`
}

type backend struct {
	Service  *service  `yaml:"service"`
	Resource yaml.Node `yaml:"resource" lateen:"later"`
}

// Example shows the form of networking.k8s.io/v1, which is not that of v1beta1.
func (backend) Example() string { return "{service: {name: productpage, port: {number: 9080}}}" }

type service struct {
	Name string `yaml:"name"`
	Port port   `yaml:"port"`
}

type port struct {
	Name   string `yaml:"name"`
	Number int32  `yaml:"number"`
}

// Example shows both forms.
func (port) Example() string { return "{number: 9080} or {name: http}" }
