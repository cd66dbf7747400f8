package local

import (
	"go.yaml.in/yaml/v3"

	"github.com/lateen-mesh/lateen/internal/config"
)

// spec is the spec of a Mesh document.
type spec struct {
	Settings yaml.Node              `yaml:"settings" lateen:"later"`
	Ingress  *ingressSpec           `yaml:"ingress"`
	Services map[string]serviceSpec `yaml:"services"`
}

type ingressSpec struct {
	Port      *int32    `yaml:"port"`
	Address   string    `yaml:"address"`
	HTTPSPort yaml.Node `yaml:"httpsPort" lateen:"later"`
}

type serviceSpec struct {
	ServiceAccount string                  `yaml:"serviceAccount"`
	Annotations    yaml.Node               `yaml:"annotations" lateen:"later"`
	Ports          []portSpec              `yaml:"ports"`
	Workloads      map[string]workloadSpec `yaml:"workloads"`
}

type portSpec struct {
	Name string `yaml:"name"`
	Port int32  `yaml:"port"`
}

// Example shows a port.
func (portSpec) Example() string { return "{name: http, port: 9080}" }

type workloadSpec struct {
	Command   []string          `yaml:"command"`
	Dir       string            `yaml:"dir"`
	Replicas  *int32            `yaml:"replicas"`
	Env       map[string]string `yaml:"env"`
	Labels    map[string]string `yaml:"labels"`
	Ready     *readySpec        `yaml:"ready"`
	Address   string            `yaml:"address"`
	DependsOn yaml.Node         `yaml:"dependsOn" lateen:"later"`
	Capture   yaml.Node         `yaml:"capture" lateen:"later"`
}

type readySpec struct {
	HTTP    string           `yaml:"http"`
	TCP     *bool            `yaml:"tcp"`
	Timeout *config.Duration `yaml:"timeout"`
}

// Example shows how readiness is written.
func (readySpec) Example() string { return "{http: /health}" }
