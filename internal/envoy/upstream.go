package envoy

import (
	"net/netip"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	dnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/common/dns/v3"
	caresv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/network/dns_resolver/cares/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/plan"
)

const (
	// dnsTimeout, in seconds, and dnsTries bound how long a question to the DNS takes, 3 s for each family of addresses:
	// while one is open a proxy does not confirm other clusters, and a first request waits for 10 s at most.
	dnsTimeout = 1
	dnsTries   = 2
)

// preferIPv4 asks for IPv6 addresses only of names without others.
const preferIPv4 = dnsv3.DnsLookupFamily_V4_PREFERRED

// dns says who is asked for the addresses of names. Without resolvers it is those of the system.
func dns(resolvers []string) (*corev3.TypedExtensionConfig, error) {
	config := &caresv3.CaresDnsResolverConfig{
		QueryTimeoutSeconds: wrapperspb.UInt64(dnsTimeout), QueryTries: wrapperspb.UInt32(dnsTries),
	}
	for _, text := range resolvers {
		resolver, err := netip.ParseAddrPort(text)
		if err != nil {
			return nil, err
		}
		config.Resolvers = append(config.Resolvers, address(resolver.Addr().String(), int(resolver.Port())))
	}
	packed, err := pack(config)
	return &corev3.TypedExtensionConfig{Name: "envoy.network.dns_resolver.cares", TypedConfig: packed}, err
}

// anySource lets the system choose the source of connections to hosts outside the mesh: the workload's own address may
// lead nowhere.
func anySource() *corev3.BindConfig {
	return from([]string{"0.0.0.0", "::"})
}

// upstreamTLS adds TLS on the way to a server, whose certificate must bear the name that is verified.
func upstreamTLS(p *plan.TLS) (*corev3.TransportSocket, error) {
	common := &tlsv3.CommonTlsContext{TlsParams: newestTLS()}
	if p.Verify != "" {
		validation := &tlsv3.CertificateValidationContext{
			TrustedCa: &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: p.CABundle}},
		}
		if p.ServerName != "" {
			validation.MatchTypedSubjectAltNames = []*tlsv3.SubjectAltNameMatcher{{
				SanType: tlsv3.SubjectAltNameMatcher_DNS,
				Matcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: p.Verify}},
			}}
		}
		common.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: validation}
	}
	return socket(tlsSocket, &tlsv3.UpstreamTlsContext{CommonTlsContext: common, Sni: p.ServerName})
}

// namedByRequests has the server's name taken from requests where TLS goes to whom they name. It is nil where one name is asked for.
func namedByRequests(p *plan.TLS) *corev3.UpstreamHttpProtocolOptions {
	if p == nil || p.ServerName != "" {
		return nil
	}
	return &corev3.UpstreamHttpProtocolOptions{AutoSni: true, AutoSanValidation: p.Verify != ""}
}

// newestTLS allows TLS 1.3 too, which Envoy as a client does not by itself.
func newestTLS() *tlsv3.TlsParameters {
	return &tlsv3.TlsParameters{TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3}
}

// many is more than there is ever of anything.
const many = 1 << 20

// unbounded lifts Envoy's own bounds of 1024 where the other side, the listener's or the caller's, has one already.
func unbounded() *clusterv3.CircuitBreakers {
	return &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
		MaxConnections: wrapperspb.UInt32(many), MaxPendingRequests: wrapperspb.UInt32(many), MaxRequests: wrapperspb.UInt32(many),
		MaxRetries: wrapperspb.UInt32(many),
	}}}
}

// manyRetries lifts Envoy's own bound of three at a time: each request has a bound of its own, and when an endpoint has gone all that wait for
// it are tried again at once.
func manyRetries() *clusterv3.CircuitBreakers {
	return &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{MaxRetries: wrapperspb.UInt32(many)}}}
}

// breaker sets the bounds of a cluster, and what sets endpoints aside.
func breaker(c *clusterv3.Cluster, b *mesh.Breaker) {
	number := func(n int) *wrapperspb.UInt32Value { return wrapperspb.UInt32(uint32(n)) } //nolint:gosec // checked where it enters the mesh
	bounds := c.GetCircuitBreakers().GetThresholds()[0]
	bounds.MaxConnections, bounds.MaxPendingRequests, bounds.MaxRequests = number(b.MaxConnections), number(b.MaxPendingRequests), number(b.MaxRequests)
	c.OutlierDetection = &clusterv3.OutlierDetection{
		Consecutive_5Xx:    number(b.Outlier.ConsecutiveErrors),
		Interval:           duration(b.Outlier.Interval),
		BaseEjectionTime:   duration(b.Outlier.Ejection),
		MaxEjectionPercent: number(b.Outlier.MaxEjectionPercent),
		// As in 2017: of few endpoints one can always be set aside, whatever the percentage.
		AlwaysEjectOneHost: wrapperspb.Bool(true),
		// Nothing else sets an endpoint aside than what the policy says.
		EnforcingSuccessRate:               number(0),
		EnforcingConsecutiveGatewayFailure: number(0),
	}
}

// poolBounds are the bounds of a cluster's connections for requests. What is nil or 0 is not bounded, but for the idle time:
// that is an hour then, as Envoy has it.
type poolBounds struct {
	idle     *durationpb.Duration
	age      *durationpb.Duration
	requests int // on one connection
}

// protocolOptions says what is spoken to a cluster.
func protocolOptions(speak plan.Speech, bounds poolBounds, names *corev3.UpstreamHttpProtocolOptions) (map[string]*anypb.Any, error) {
	options := &httpv3.HttpProtocolOptions{UpstreamHttpProtocolOptions: names}
	explicit := &httpv3.HttpProtocolOptions_ExplicitHttpConfig{}
	switch speak {
	case plan.SpeakNegotiated:
		options.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_AutoConfig{AutoConfig: &httpv3.HttpProtocolOptions_AutoHttpConfig{}}
	case plan.SpeakSame:
		options.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_UseDownstreamProtocolConfig{
			UseDownstreamProtocolConfig: &httpv3.HttpProtocolOptions_UseDownstreamHttpConfig{
				Http2ProtocolOptions: &corev3.Http2ProtocolOptions{},
			},
		}
	case plan.SpeakHTTP2:
		explicit.ProtocolConfig = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
			Http2ProtocolOptions: &corev3.Http2ProtocolOptions{},
		}
	default:
		explicit.ProtocolConfig = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{}
	}
	if explicit.ProtocolConfig != nil {
		options.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: explicit}
	}
	if bounds != (poolBounds{}) {
		options.CommonHttpProtocolOptions = &corev3.HttpProtocolOptions{IdleTimeout: bounds.idle, MaxConnectionDuration: bounds.age}
		if bounds.requests > 0 {
			options.CommonHttpProtocolOptions.MaxRequestsPerConnection = wrapperspb.UInt32(uint32(bounds.requests)) //nolint:gosec // checked where it enters the mesh
		}
	}
	packed, err := pack(options)
	if err != nil {
		return nil, err
	}
	return map[string]*anypb.Any{httpOptions: packed}, nil
}
