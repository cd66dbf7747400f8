package ingress

import (
	"strconv"

	"go.yaml.in/yaml/v3"
)

// spec is the spec of an Ingress of networking.k8s.io/v1.
type spec struct {
	IngressClassName string          `yaml:"ingressClassName"`
	DefaultBackend   *backend        `yaml:"defaultBackend"`
	TLS              []tlsItem       `yaml:"tls"`
	Rules            []rule[backend] `yaml:"rules"`
}

// oldSpec is the spec of the versions before.
type oldSpec struct {
	IngressClassName string             `yaml:"ingressClassName"`
	Backend          *oldBackend        `yaml:"backend"`
	TLS              []tlsItem          `yaml:"tls"`
	Rules            []rule[oldBackend] `yaml:"rules"`
}

type tlsItem struct {
	Hosts      []string `yaml:"hosts"`
	SecretName string   `yaml:"secretName"`
}

// rule is a rule with backends of the form B.
type rule[B any] struct {
	Host string   `yaml:"host"`
	HTTP *http[B] `yaml:"http"`
}

type http[B any] struct {
	Paths []path[B] `yaml:"paths"`
}

type path[B any] struct {
	Path     string `yaml:"path"`
	PathType string `yaml:"pathType"`
	Backend  *B     `yaml:"backend"`
}

type backend struct {
	Service  *service  `yaml:"service"`
	Resource yaml.Node `yaml:"resource" lateen:"never"`
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

type oldBackend struct {
	ServiceName string    `yaml:"serviceName"`
	ServicePort *oldPort  `yaml:"servicePort"`
	Resource    yaml.Node `yaml:"resource" lateen:"never"`
}

// Example shows the form of v1beta1, which is not that of networking.k8s.io/v1.
func (oldBackend) Example() string { return "{serviceName: productpage, servicePort: 9080}" }

// oldPort is a port by number or by name.
type oldPort struct{ port }

// UnmarshalText reads a number as one, anything else as a name.
func (p *oldPort) UnmarshalText(text []byte) error {
	if number, err := strconv.ParseInt(string(text), 10, 32); err == nil {
		p.Number = int32(number)
		return nil
	}
	p.Name = string(text)
	return nil
}

// Example shows both forms.
func (oldPort) Example() string { return "9080 or http" }
