package dump

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"path"
	"strconv"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/internal/envoy"
	"github.com/lateen-mesh/lateen/internal/view"
)

// Columns are the headers over what [Row.Lines] tells of a kind.
var Columns = map[view.Kind][]string{
	view.KindListener:    {"ADDRESS", "SPEAKS"},
	view.KindFilter:      {"LEADS TO"},
	view.KindScope:       {"ROUTES"},
	view.KindRoutes:      {"VIRTUAL HOSTS"},
	view.KindVirtualHost: {"DOMAINS", "ROUTES"},
	view.KindCluster:     {"TYPE", "TLS"},
	view.KindEndpoints:   {"ADDRESS", "WEIGHT", "HEALTH"},
	view.KindSecret:      {"SUBJECT", "EXPIRES"},
}

// Lines tells what matters about a resource, as the proxy has it or else as it was sent: one line of as many cells as its
// kind has columns, of endpoints one line each.
func (r *Row) Lines() [][]string {
	m := r.has
	if m == nil {
		m = r.sent
	}
	switch m := m.(type) {
	case *listenerv3.Listener:
		return [][]string{{listens(m), speaks(m)}}
	case *corev3.TypedExtensionConfig:
		return [][]string{{leadsTo(m)}}
	case *routev3.ScopedRouteConfiguration:
		return [][]string{{m.GetRouteConfigurationName()}}
	case *routev3.RouteConfiguration:
		if m.GetVhds() != nil {
			return [][]string{{"on demand"}}
		}
		return [][]string{{strconv.Itoa(len(m.GetVirtualHosts()))}}
	case *routev3.VirtualHost:
		return [][]string{{strings.Join(m.GetDomains(), " "), routeNames(m)}}
	case *clusterv3.Cluster:
		return [][]string{{clusterType(m), tlsWord(m)}}
	case *endpointv3.ClusterLoadAssignment:
		return endpointLines(m, r.sent)
	case *tlsv3.Secret:
		return [][]string{certificate(m)}
	default:
		return [][]string{none(r.Kind)}
	}
}

func none(kind view.Kind) []string {
	cells := make([]string, len(Columns[kind]))
	for i := range cells {
		cells[i] = "-"
	}
	return cells
}

// addressOf returns an address as people write it.
func addressOf(a *corev3.Address) string {
	switch {
	case a.GetSocketAddress() != nil:
		return net.JoinHostPort(a.GetSocketAddress().GetAddress(), strconv.Itoa(int(a.GetSocketAddress().GetPortValue())))
	case a.GetPipe() != nil:
		return "socket " + path.Base(a.GetPipe().GetPath())
	case a.GetEnvoyInternalAddress() != nil:
		return "listener " + a.GetEnvoyInternalAddress().GetServerListenerName()
	default:
		return "-"
	}
}

func listens(l *listenerv3.Listener) string {
	if l.GetInternalListener() != nil {
		return "inside the proxy"
	}
	return addressOf(l.GetAddress())
}

// speaks tells what a listener takes connections for.
func speaks(l *listenerv3.Listener) string {
	word, tls, plain := "TCP", "", false
	for _, chain := range l.GetFilterChains() {
		for _, f := range chain.GetFilters() {
			if strings.HasSuffix(f.GetTypedConfig().GetTypeUrl(), ".HttpConnectionManager") {
				word = "HTTP"
			}
		}
		var takes tlsv3.DownstreamTlsContext
		switch socket := chain.GetTransportSocket().GetTypedConfig(); {
		case socket.UnmarshalTo(&takes) == nil && takes.GetRequireClientCertificate().GetValue():
			tls = " over mutual TLS"
		case chain.GetTransportSocket() != nil:
			tls = " over TLS"
		default:
			plain = true
		}
	}
	if tls != "" && plain {
		tls += " or plain"
	}
	return word + tls
}

// leadsTo tells where a filter for bytes sends them.
func leadsTo(c *corev3.TypedExtensionConfig) string {
	message, err := c.GetTypedConfig().UnmarshalNew()
	if err != nil {
		return "-"
	}
	var clusters []string
	switch p, ok := message.(*tcpproxyv3.TcpProxy); {
	case !ok:
		return string(proto.MessageName(message).Name())
	case p.GetCluster() != "":
		return p.GetCluster()
	default:
		for _, c := range p.GetWeightedClusters().GetClusters() {
			clusters = append(clusters, fmt.Sprintf("%d %s", c.GetWeight(), c.GetName()))
		}
	}
	return strings.Join(clusters, " ")
}

// maxNames bounds the names in one cell.
const maxNames = 3

func routeNames(h *routev3.VirtualHost) string {
	var names []string
	for _, r := range h.GetRoutes() {
		if n := len(names); n == 0 || names[n-1] != r.GetName() {
			names = append(names, r.GetName())
		}
	}
	if more := len(names) - maxNames; more > 0 {
		names = append(names[:maxNames], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(names, ", ")
}

func clusterType(c *clusterv3.Cluster) string {
	if c.GetClusterType() != nil {
		return strings.TrimPrefix(c.GetClusterType().GetName(), "envoy.clusters.")
	}
	return c.GetType().String()
}

// tlsWord tells whether a cluster speaks TLS, and whether it proves who the proxy is.
func tlsWord(c *clusterv3.Cluster) string {
	sockets := []*corev3.TransportSocket{c.GetTransportSocket()}
	for _, m := range c.GetTransportSocketMatches() {
		sockets = append(sockets, m.GetTransportSocket())
	}
	word := "-"
	for _, socket := range sockets {
		var speaks tlsv3.UpstreamTlsContext
		if socket.GetTypedConfig().UnmarshalTo(&speaks) != nil {
			continue
		}
		word = "yes"
		for _, secret := range speaks.GetCommonTlsContext().GetTlsCertificateSdsSecretConfigs() {
			if secret.GetName() == envoy.IdentitySecret {
				return "mutual"
			}
		}
	}
	return word
}

// endpointLines tells of each endpoint. Envoy says of all those that it does not use that they are unhealthy: what was sent
// tells why.
func endpointLines(a *endpointv3.ClusterLoadAssignment, sent proto.Message) [][]string {
	told := map[string]corev3.HealthStatus{}
	if b, ok := sent.(*endpointv3.ClusterLoadAssignment); ok {
		told = healthsOf(b)
	}
	var lines [][]string
	for _, group := range a.GetEndpoints() {
		for _, e := range group.GetLbEndpoints() {
			weight := uint32(1)
			if e.GetLoadBalancingWeight() != nil {
				weight = e.GetLoadBalancingWeight().GetValue()
			}
			address := addressOf(e.GetEndpoint().GetAddress())
			word := healthWord(e.GetHealthStatus())
			if health, known := told[address]; known && word == healthWord(corev3.HealthStatus_UNHEALTHY) {
				if word = healthWord(health); coarse(health) == corev3.HealthStatus_HEALTHY {
					word = "set aside"
				}
			}
			lines = append(lines, []string{address, strconv.Itoa(int(weight)), word})
		}
	}
	if len(lines) == 0 {
		return [][]string{{"none", "-", "-"}}
	}
	return lines
}

func healthWord(h corev3.HealthStatus) string {
	if coarse(h) == corev3.HealthStatus_HEALTHY {
		return "healthy"
	}
	return strings.ToLower(h.String())
}

// certificate tells whose certificate it is, and until when it holds; of roots that of the first one.
func certificate(s *tlsv3.Secret) []string {
	chain := s.GetTlsCertificate().GetCertificateChain()
	if s.GetValidationContext() != nil {
		chain = s.GetValidationContext().GetTrustedCa()
	}
	text := []byte(chain.GetInlineString())
	if len(text) == 0 {
		text = chain.GetInlineBytes()
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return none(view.KindSecret)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return none(view.KindSecret)
	}
	subject := c.Subject.String()
	if len(c.DNSNames) > 0 {
		subject = strings.Join(c.DNSNames[:min(len(c.DNSNames), maxNames)], " ")
	}
	return []string{subject, c.NotAfter.UTC().Format(time.DateOnly)}
}
