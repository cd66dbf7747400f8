package meshconfig

import (
	"cmp"
	"strings"

	"github.com/lateen-mesh/lateen/internal/config"
)

// spec is MeshConfig, with Lateen's own fields behind.
type spec struct {
	EgressProxyAddress    *string          `yaml:"egressProxyAddress"`
	MixerAddress          *string          `yaml:"mixerAddress"`
	DisablePolicyChecks   *bool            `yaml:"disablePolicyChecks"`
	ProxyListenPort       *int32           `yaml:"proxyListenPort"`
	ProxyHTTPPort         *int32           `yaml:"proxyHttpPort"`
	ConnectTimeout        *config.Duration `yaml:"connectTimeout"`
	IngressClass          *string          `yaml:"ingressClass"`
	IngressService        *string          `yaml:"ingressService"`
	IngressControllerMode *word            `yaml:"ingressControllerMode"`
	AuthPolicy            *word            `yaml:"authPolicy"`
	RDSRefreshDelay       *config.Duration `yaml:"rdsRefreshDelay"`
	EnableTracing         *bool            `yaml:"enableTracing"`
	AccessLogFile         *string          `yaml:"accessLogFile"`
	DefaultConfig         *proxySpec       `yaml:"defaultConfig"`
	MTLSExcludedServices  []string         `yaml:"mtlsExcludedServices"`

	DNSResolvers  []string `yaml:"dnsResolvers"`
	CABundle      *string  `yaml:"caBundle"`
	ServiceRanges []string `yaml:"serviceRanges"`

	OutboundTrafficPolicy *outboundSpec `yaml:"outboundTrafficPolicy"`
	IngressProxyProtocol  bool          `yaml:"ingressProxyProtocol"`
}

// outboundSpec is what later versions of Istio have of that name.
type outboundSpec struct {
	Mode *word `yaml:"mode"`
}

// Example shows how it is written.
func (outboundSpec) Example() string { return "{mode: REGISTRY_ONLY}" }

// proxySpec is ProxyConfig.
type proxySpec struct {
	ConfigPath             *string          `yaml:"configPath"`
	BinaryPath             *string          `yaml:"binaryPath"`
	ServiceCluster         *string          `yaml:"serviceCluster"`
	DrainDuration          *config.Duration `yaml:"drainDuration"`
	ParentShutdownDuration *config.Duration `yaml:"parentShutdownDuration"`
	DiscoveryAddress       *string          `yaml:"discoveryAddress"`
	DiscoveryRefreshDelay  *config.Duration `yaml:"discoveryRefreshDelay"`
	ZipkinAddress          *string          `yaml:"zipkinAddress"`
	ConnectTimeout         *config.Duration `yaml:"connectTimeout"`
	StatsdUDPAddress       *string          `yaml:"statsdUdpAddress"`
	ProxyAdminPort         *int32           `yaml:"proxyAdminPort"`
	AvailabilityZone       *string          `yaml:"availabilityZone"`
	ControlPlaneAuthPolicy *word            `yaml:"controlPlaneAuthPolicy"`
	CustomConfigFile       *string          `yaml:"customConfigFile"`
	StatNameLength         *int32           `yaml:"statNameLength"`
}

// Example shows how it is written.
func (proxySpec) Example() string { return "{discoveryAddress: lateen.lateen-system:15012}" }

// word is one of a few words, or its number, as proto3 JSON has them.
type word string

// UnmarshalText takes any word: which ones there are is known by who asks for it.
func (w *word) UnmarshalText(text []byte) error {
	*w = word(strings.TrimSpace(string(text)))
	return nil
}

// of returns the word that is meant, where a number means one.
func (w *word) of(numbers map[string]string) string { return cmp.Or(numbers[string(*w)], string(*w)) }
