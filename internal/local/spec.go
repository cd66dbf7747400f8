package local

import (
	"go.yaml.in/yaml/v3"

	"github.com/lateen-mesh/lateen/internal/config"
)

// spec is the spec of a Mesh document.
type spec struct {
	Settings *settingsSpec          `yaml:"settings"`
	Ingress  *ingressSpec           `yaml:"ingress"`
	Services map[string]serviceSpec `yaml:"services"`
}

// settingsSpec holds the fields of MeshConfig, controlPlaneAuthPolicy of its defaultConfig, and dnsResolvers and caBundle
// beside them.
type settingsSpec struct {
	ConnectTimeout *config.Duration `yaml:"connectTimeout"`
	DNSResolvers   []string         `yaml:"dnsResolvers"`
	CABundle       string           `yaml:"caBundle"`
	AccessLogFile  *string          `yaml:"accessLogFile"`
	AuthPolicy     *string          `yaml:"authPolicy"`

	MTLSExcludedServices   []string `yaml:"mtlsExcludedServices"`
	ControlPlaneAuthPolicy *string  `yaml:"controlPlaneAuthPolicy"`

	MixerAddress          yaml.Node `yaml:"mixerAddress" lateen:"later"`
	DisablePolicyChecks   yaml.Node `yaml:"disablePolicyChecks" lateen:"later"`
	EnableTracing         yaml.Node `yaml:"enableTracing" lateen:"later"`
	DefaultConfig         yaml.Node `yaml:"defaultConfig" lateen:"later"`
	IngressClass          yaml.Node `yaml:"ingressClass" lateen:"later"`
	IngressService        yaml.Node `yaml:"ingressService" lateen:"later"`
	IngressControllerMode yaml.Node `yaml:"ingressControllerMode" lateen:"later"`

	RDSRefreshDelay    yaml.Node `yaml:"rdsRefreshDelay" lateen:"never"`
	ProxyListenPort    yaml.Node `yaml:"proxyListenPort" lateen:"never"`
	EgressProxyAddress yaml.Node `yaml:"egressProxyAddress" lateen:"never"`
	ProxyHTTPPort      yaml.Node `yaml:"proxyHttpPort" lateen:"never"`
}

type ingressSpec struct {
	Port         *int32                     `yaml:"port"`
	Address      string                     `yaml:"address"`
	HTTPSPort    *int32                     `yaml:"httpsPort"`
	Certificates map[string]certificateSpec `yaml:"certificates"`
}

type certificateSpec struct {
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// Example shows how a certificate is written.
func (certificateSpec) Example() string { return "{cert: shop.crt, key: shop.key}" }

type serviceSpec struct {
	ServiceAccount string                  `yaml:"serviceAccount"`
	Annotations    map[string]string       `yaml:"annotations"`
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
	DependsOn []string          `yaml:"dependsOn"`
	Uses      *usesSpec         `yaml:"uses"`
	Proxyless bool              `yaml:"proxyless"`
	Capture   yaml.Node         `yaml:"capture" lateen:"later"`
}

type usesSpec struct {
	Pin    []string `yaml:"pin"`
	Forbid []string `yaml:"forbid"`
}

// Example shows how hosts are pinned.
func (usesSpec) Example() string { return "{pin: [reviews:9080]}" }

type readySpec struct {
	HTTP    string           `yaml:"http"`
	TCP     *bool            `yaml:"tcp"`
	Timeout *config.Duration `yaml:"timeout"`
}

// Example shows how readiness is written.
func (readySpec) Example() string { return "{http: /health}" }
