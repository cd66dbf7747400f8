// Package meshconfig is the dialect of the mesh's settings: MeshConfig and ProxyConfig, as Istio's users know them.
//
// In comes the text of a document, which on Kubernetes is the value of a key of a ConfigMap; out come [mesh.Settings] and
// what is wrong, with line and column ([Read]). Every field is accepted that there was, and checked as it was. What has no
// meaning today is accepted without a word; [Fields] says of each field what it does or what replaced it, and
// docs/reference/meshconfig.md is made from that. Beside them stand Lateen's own fields.
//
// A document with an error is not to be used at all: what was good last stays in force. That is the matter of who reads
// it. The checks that the settings of Mesh files share stand here too.
package meshconfig

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Document is a text with settings.
type Document struct {
	Name   string   // stands in positions: the path of a file, or "ConfigMap lateen-system/lateen, mesh"
	Object mesh.Ref // that holds it; zero: a file does
	Text   []byte
}

// Read returns the settings of a document, for a mesh whose services live under domain ("cluster.local"), and what is
// wrong with it. With an error among the problems the settings are those of a mesh that says nothing.
func Read(d Document, domain string) (mesh.Settings, []mesh.Problem) {
	o, problems := config.ParseBare(d.Name, d.Text, d.Object)
	if mesh.HasErrors(problems) {
		return mesh.DefaultSettings, problems
	}
	r := &reader{Check: config.Check{Object: o}, domain: domain}
	var s spec
	r.Decode("", &s)
	set := r.settings(&s)
	mesh.SortProblems(r.Problems)
	if mesh.HasErrors(r.Problems) {
		set = mesh.DefaultSettings
	}
	return set, r.Problems
}

// settings checks what has a meaning and what has none.
func (r *reader) settings(s *spec) mesh.Settings {
	set := mesh.DefaultSettings
	if s.ConnectTimeout != nil {
		set.ConnectTimeout = ConnectTimeout(&r.Check, "connectTimeout", s.ConnectTimeout)
	}
	if s.AuthPolicy != nil {
		set.AuthPolicy = AuthPolicy(&r.Check, "authPolicy", s.AuthPolicy.of(map[string]string{"0": string(mesh.AuthNone), "1": string(mesh.AuthMutualTLS)}))
	}
	set.NoAccessLog = s.AccessLogFile != nil && *s.AccessLogFile == ""
	set.MTLSExcluded = r.hosts("mtlsExcludedServices", s.MTLSExcludedServices)
	set.DNSResolvers = Resolvers(&r.Check, "dnsResolvers", s.DNSResolvers)
	set.ServiceRanges = r.ranges("serviceRanges", s.ServiceRanges)
	if s.OutboundTrafficPolicy != nil {
		words := map[string]string{"0": registryOnly, "1": allowAny}
		mode := s.OutboundTrafficPolicy.Mode
		r.oneOf("outboundTrafficPolicy.mode", mode, words)
		set.OnlyKnown = mode != nil && mode.of(words) == registryOnly
	}
	if s.CABundle != nil && *s.CABundle != "" {
		if !filepath.IsAbs(*s.CABundle) {
			invalid(&r.Check, "caBundle", "it is the path of a file beside each proxy", "write the whole path, such as /etc/ssl/certs/ca-certificates.crt")
		}
		set.CABundle = *s.CABundle
	}
	set.Ingress = r.ingress(s)
	r.silent(s)
	return set
}

// oldIngressService is how Istio's own settings called the Service of its ingress: here that of Lateen's is meant.
const oldIngressService = "istio-ingress"

// ingress reads which Ingress objects are for the door.
func (r *reader) ingress(s *spec) mesh.IngressSettings {
	set := mesh.IngressSettings{ProxyProtocol: s.IngressProxyProtocol}
	modes := map[string]string{"0": string(mesh.IngressOff), "1": string(mesh.IngressDefault), "2": string(mesh.IngressStrict)}
	r.oneOf("ingressControllerMode", s.IngressControllerMode, modes)
	if s.IngressControllerMode != nil {
		set.Mode = mesh.IngressMode(s.IngressControllerMode.of(modes))
	}
	if s.IngressClass != nil {
		set.Class = *s.IngressClass
	}
	if s.IngressService != nil && *s.IngressService != oldIngressService {
		set.Service = *s.IngressService
		if set.Service != "" && !config.IsDomain(set.Service) {
			invalid(&r.Check, "ingressService", fmt.Sprintf("%.80q is no name of a Service", set.Service), "it is one of the namespace "+mesh.SystemNamespace)
		}
	}
	return set
}

// silent checks what has no meaning today as it was checked when it had one.
func (r *reader) silent(s *spec) {
	r.address("egressProxyAddress", s.EgressProxyAddress, true)
	r.address("mixerAddress", s.MixerAddress, true)
	r.port("proxyListenPort", s.ProxyListenPort, 0)
	r.port("proxyHttpPort", s.ProxyHTTPPort, 0)
	r.delay("rdsRefreshDelay", s.RDSRefreshDelay)
	if s.DefaultConfig != nil {
		r.proxy(s.DefaultConfig)
	}
}

// What becomes of what captured workloads send to whom the mesh does not know.
const (
	registryOnly = "REGISTRY_ONLY"
	allowAny     = "ALLOW_ANY"
)

// Times that were given to an Envoy that ends, where nothing was said.
const (
	usualDrain    = 2 * time.Second
	usualShutdown = 3 * time.Second
)

func (r *reader) proxy(p *proxySpec) {
	const in = "defaultConfig."
	r.text(in+"configPath", p.ConfigPath)
	r.text(in+"binaryPath", p.BinaryPath)
	r.text(in+"serviceCluster", p.ServiceCluster)
	r.address(in+"discoveryAddress", p.DiscoveryAddress, false)
	r.address(in+"zipkinAddress", p.ZipkinAddress, true)
	r.address(in+"statsdUdpAddress", p.StatsdUDPAddress, true)
	r.port(in+"proxyAdminPort", p.ProxyAdminPort, 1)
	r.delay(in+"discoveryRefreshDelay", p.DiscoveryRefreshDelay)
	if p.ConnectTimeout != nil {
		ConnectTimeout(&r.Check, in+"connectTimeout", p.ConnectTimeout)
	}
	drain := r.drain(in+"drainDuration", p.DrainDuration, usualDrain)
	shutdown := r.drain(in+"parentShutdownDuration", p.ParentShutdownDuration, usualShutdown)
	if shutdown <= drain {
		field := in + "parentShutdownDuration"
		if p.ParentShutdownDuration == nil {
			field = in + "drainDuration"
		}
		r.Tell(mesh.Problem{
			Field: field, Code: config.CodeOutOfRange,
			Message: "parentShutdownDuration (" + shutdown.String() + ") must be longer than drainDuration (" + drain.String() + ")",
		})
	}
	r.oneOf(in+"controlPlaneAuthPolicy", p.ControlPlaneAuthPolicy, map[string]string{"0": "NONE", "1": "MUTUAL_TLS", "1000": "INHERIT"})
	if p.StatNameLength != nil && *p.StatNameLength < 0 {
		r.Tell(mesh.Problem{Field: in + "statNameLength", Code: config.CodeOutOfRange, Message: "a length is not negative"})
	}
}
