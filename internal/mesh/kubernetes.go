package mesh

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Names of Lateen's own things on Kubernetes. What is installed, what is injected and what asks for identities agree by them.
const (
	// SystemNamespace is where Lateen runs.
	SystemNamespace = "lateen-system"
	// SystemName is the name of the control plane's ServiceAccount, Deployment, Service and PodDisruptionBudget, and of
	// the ConfigMap with the mesh's settings.
	SystemName = "lateen"
	// IngressName is the name of the ingress' ServiceAccount, Deployment, Service and PodDisruptionBudget. Only a pod of
	// SystemNamespace with this account is the door of the mesh.
	IngressName = "lateen-ingress"
	// IngressPort and IngressTLSPort are where its pods take requests from outside.
	IngressPort    = 8080
	IngressTLSPort = 8443
	// IngressController is the controller that IngressClasses name whose objects are served.
	IngressController = "lateen.dev/ingress-controller"
	// SystemAddress is where agents and proxies find the control plane, as host and port.
	SystemAddress = SystemName + "." + SystemNamespace + ".svc:15012"
	// APIPort is where the control plane's pod serves the reading part of the API, on its loopback address only.
	APIPort = 15013
	// SettingsKey is the key of the settings in the ConfigMap SystemName: MeshConfig in YAML.
	SettingsKey = "mesh"
	// InjectConfigMap is the ConfigMap that says, below InjectKey, which pods get a sidecar, in the form of 2017's istio-inject.
	InjectConfigMap = "lateen-inject"
	InjectKey       = "config"
	// WebhookPort is where the control plane's pod answers the API server; WebhookService is that port of its Service.
	WebhookPort    = 15017
	WebhookService = 443
	// AuthoritySecret is the Secret with the certificate authority's keys and certificates.
	AuthoritySecret = "lateen-ca"
	// AuthorityCertificateKey is the key of the authority's certificate in AuthoritySecret, in PEM as the others.
	AuthorityCertificateKey = "ca-cert.pem"
	// AuthorityPrivateKeyKey is that of its private key.
	AuthorityPrivateKeyKey = "ca-key.pem"
	// AuthorityRootKey is that of the roots of the trust domain.
	AuthorityRootKey = "root-cert.pem"
	// AuthorityChainKey is that of the certificates between the authority's and a root.
	AuthorityChainKey = "cert-chain.pem"
	// RootConfigMap is the ConfigMap, in every namespace, with the roots of the trust domain below RootKey.
	RootConfigMap = "lateen-root"
	// RootKey is the key of the roots in RootConfigMap, in PEM.
	RootKey = "root-cert.pem"
	// TokenAudience is the audience of the ServiceAccount tokens by which agents prove their pods.
	TokenAudience = "lateen"
	// ClusterNamespace is that of the cluster's own components.
	ClusterNamespace = "kube-system"
)

// ProvesRoot tells whether the ConfigMap [RootConfigMap] of a namespace proves that somebody trusts the root in it: only those who
// may command the mesh or the cluster can have put it there.
func ProvesRoot(namespace string) bool {
	return namespace == SystemNamespace || namespace == ClusterNamespace
}

// ProxyIDVariable is the environment variable in which an Envoy has its proxy ID: its access log says who called.
const ProxyIDVariable = "LATEEN_PROXY_ID"

// Names of the sidecar in a pod.
const (
	// ProxyContainer is the container with agent and Envoy. A pod that has one of this name, init container or not, has a
	// proxy; every other pod has none.
	ProxyContainer = "lateen-proxy"
	// CaptureContainer is the init container that redirects the pod's traffic to its proxy.
	CaptureContainer = "lateen-capture"
	// TakeInboundFlag and KeepInboundFlag are flags of the program in it, without dashes: the ports, with commas, of the pod's to which
	// connections come to the proxy, and those of them to which they do not. By these the control plane knows how a port is called.
	TakeInboundFlag = "take-inbound-ports"
	KeepInboundFlag = "keep-inbound-ports"
	// AddressesFlag is a flag of it too: the addresses of the pod, with commas, by whose families it is known what is captured.
	AddressesFlag = "addresses"
	// ConcurrencyFlag and ProxyLogLevelFlag are flags of the agent: how many threads its Envoy has, and from which level on its Envoy's
	// messages are told.
	ConcurrencyFlag   = "concurrency"
	ProxyLogLevelFlag = "proxy-log-level"
	// MaxConcurrency is how many threads an Envoy can be given.
	MaxConcurrency = 128
	// ProxyUser is the user and the group of the proxy. Its traffic is not redirected.
	ProxyUser = 1337
)

// Source addresses, of each family, of what the proxy of a pod hands to the application beside it: by them it is told from what is to be
// captured. That of IPv6 must be given to the loopback interface.
const (
	FromProxyIPv4 = "127.0.0.6"
	FromProxyIPv6 = "::6"
)

// Ports of a pod with a sidecar. Containers must not listen on them.
const (
	// OutboundPort takes what the pod sends.
	OutboundPort = 15001
	// InboundPort takes what is sent to the pod.
	InboundPort = 15006
	// AgentMetricsPort serves the agent's metrics. It is not captured.
	AgentMetricsPort = 15020
	// AgentHealthPort serves the health of the proxy at /healthz/ready. It is not captured.
	AgentHealthPort = 15021
)

// IsAgentPort tells whether a port of a pod with a sidecar is its agent's: connections to it come past the proxy, in plain text, whatever
// a policy says.
func IsAgentPort(port int) bool { return port == AgentMetricsPort || port == AgentHealthPort }

// ProxyLogLevels are the levels of Envoy's messages, as Envoy names them.
func ProxyLogLevels() []string {
	return []string{"trace", "debug", "info", "warning", "error", "critical", "off"}
}

// Inbound says which connections that are made to a captured workload come to its proxy. The others come past it to the application: in
// plain text, whatever a policy says. None of it: all come to the proxy, but for those to its agent.
type Inbound struct {
	Take []uint16 `json:"take,omitzero"`  // ports to which they come; nil: all
	Keep []uint16 `json:"keep,omitempty"` // of these those to which they do not
}

// Past tells whether connections to a port come past the proxy.
func (i *Inbound) Past(port int) bool {
	if IsAgentPort(port) {
		return true
	}
	is := func(p uint16) bool { return int(p) == port }
	return i != nil && (slices.ContainsFunc(i.Keep, is) || (i.Take != nil && !slices.ContainsFunc(i.Take, is)))
}

// ParsePorts reads ports with commas between, and returns them sorted, each once; none, but not nil, of a text without any.
func ParsePorts(text string) ([]uint16, error) {
	all := []uint16{}
	for word := range strings.SplitSeq(text, ",") {
		if word = strings.TrimSpace(word); word == "" {
			continue
		}
		n, err := strconv.ParseUint(word, 10, 16)
		if err != nil || n == 0 {
			return nil, fmt.Errorf("%.60q is no port", word)
		}
		all = append(all, uint16(n))
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// Annotations and labels.
const (
	// InjectAnnotation says of an object whether its pods get a sidecar: y, yes, true and on mean so, everything else not.
	InjectAnnotation = "sidecar.istio.io/inject"
	// InjectLabel says the same of a pod, and of all pods of a namespace; "enabled" means so too.
	InjectLabel = "lateen.dev/inject"
	// InjectionLabel is another name of InjectLabel, which counts where that is not there.
	InjectionLabel = "istio-injection"
	// StatusAnnotation says that a sidecar was injected: StatusPrefix and the version.
	StatusAnnotation = "sidecar.istio.io/status"
	// StatusPrefix is how the value of StatusAnnotation begins.
	StatusPrefix = "injected-version-"
	// PreStopAnnotation is for how many seconds the containers of a pod are kept before they are told to stop, "0" for not at all.
	PreStopAnnotation = "lateen.dev/pre-stop-sleep"
	// NameLabel is on everything that Lateen makes in a cluster; the value is SystemName.
	NameLabel = "app.kubernetes.io/name"
	// PartLabel is there too, with the same value.
	PartLabel = "app.kubernetes.io/part-of"
)
