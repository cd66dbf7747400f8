package bootstrap

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	dnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dns/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lateen-mesh/lateen/internal/envoy"
	"github.com/lateen-mesh/lateen/internal/identity"
)

// UnixPrefix begins the address of a Unix socket.
const UnixPrefix = "unix:"

// ServerName is what those who dial Lateen call it in the TLS handshake. Whom they have reached they know by its SPIFFE ID.
const ServerName = "lateen"

// clusters returns what Envoy needs to reach Lateen.
func (c Config) clusters() ([]*clusterv3.Cluster, error) {
	if c.ControlPlane == "" {
		plain, err := grpcCluster(xdsCluster, c.PlainXDS)
		return []*clusterv3.Cluster{plain}, err
	}
	secure, err := c.secure()
	if err != nil {
		return nil, err
	}
	agent, err := grpcCluster(envoy.SDSCluster, UnixPrefix+c.SDSSocket)
	return []*clusterv3.Cluster{agent, secure}, err
}

// secure is the cluster of the control plane over mutual TLS.
func (c Config) secure() (*clusterv3.Cluster, error) {
	if strings.HasPrefix(c.ControlPlane, UnixPrefix) {
		return nil, fmt.Errorf("the control plane at %s: with an identity it is reached at HOST:PORT", c.ControlPlane)
	}
	if err := identity.CheckTrustDomain(c.TrustDomain); err != nil {
		return nil, err
	}
	cluster, err := grpcCluster(xdsCluster, c.ControlPlane)
	if err != nil {
		return nil, err
	}
	tls, err := anypb.New(&tlsv3.UpstreamTlsContext{Sni: ServerName, CommonTlsContext: &tlsv3.CommonTlsContext{
		TlsParams: &tlsv3.TlsParameters{
			TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_2, TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3,
		},
		AlpnProtocols:                  []string{"h2"},
		TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{{Name: envoy.IdentitySecret, SdsConfig: envoy.AgentSecrets()}},
		ValidationContextType: &tlsv3.CommonTlsContext_CombinedValidationContext{
			CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
				DefaultValidationContext: &tlsv3.CertificateValidationContext{
					MatchTypedSubjectAltNames: []*tlsv3.SubjectAltNameMatcher{{
						SanType: tlsv3.SubjectAltNameMatcher_URI,
						Matcher: &matcherv3.StringMatcher{
							MatchPattern: &matcherv3.StringMatcher_Exact{Exact: identity.ControlPlane(c.TrustDomain).String()},
						},
					}},
				},
				ValidationContextSdsSecretConfig: &tlsv3.SdsSecretConfig{Name: envoy.TrustSecret, SdsConfig: envoy.AgentSecrets()},
			},
		},
	}})
	cluster.TransportSocket = &corev3.TransportSocket{
		Name: "envoy.transport_sockets.tls", ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: tls},
	}
	return cluster, err
}

// grpcCluster is a cluster of one server that is spoken to in gRPC, HTTP/2 that is kept alive.
func grpcCluster(name, target string) (*clusterv3.Cluster, error) {
	options, err := anypb.New(&httpv3.HttpProtocolOptions{
		UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
					Http2ProtocolOptions: &corev3.Http2ProtocolOptions{ConnectionKeepalive: &corev3.KeepaliveSettings{
						Interval: durationpb.New(30 * time.Second), Timeout: durationpb.New(10 * time.Second),
					}},
				},
			},
		},
	})
	if err != nil {
		return nil, err
	}
	cluster := &clusterv3.Cluster{
		Name:           name,
		ConnectTimeout: durationpb.New(time.Second),
		TypedExtensionProtocolOptions: map[string]*anypb.Any{
			"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options,
		},
	}
	address, err := find(cluster, target)
	if err != nil {
		return nil, fmt.Errorf("cluster %s: %w", name, err)
	}
	cluster.LoadAssignment = &endpointv3.ClusterLoadAssignment{
		ClusterName: name,
		Endpoints: []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{{
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: address}},
		}}}},
	}
	return cluster, nil
}

// find says how the server of a cluster is found, and returns its address.
func find(cluster *clusterv3.Cluster, target string) (*corev3.Address, error) {
	cluster.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
	if path, ok := strings.CutPrefix(target, UnixPrefix); ok {
		return pipe(path, 0), checkSocket(path)
	}
	host, port, err := hostPort(target)
	if err != nil {
		return nil, err
	}
	cluster.UpstreamBindConfig = anySource()
	if _, err := netip.ParseAddr(host); err != nil {
		config, err := anypb.New(&dnsv3.DnsCluster{RespectDnsTtl: true, DnsLookupFamily: preferIPv4})
		if err != nil {
			return nil, err
		}
		cluster.ClusterDiscoveryType = &clusterv3.Cluster_ClusterType{ClusterType: &clusterv3.Cluster_CustomClusterType{
			Name: "envoy.clusters.dns", TypedConfig: config,
		}}
	}
	return socket(host, port), nil
}

// hostPort splits the address of a server.
func hostPort(target string) (host string, port uint32, err error) {
	host, text, err := net.SplitHostPort(target)
	if err != nil || host == "" {
		return "", 0, fmt.Errorf("%q is not HOST:PORT", target)
	}
	number, err := strconv.ParseUint(text, 10, 16)
	if err != nil || number == 0 {
		return "", 0, fmt.Errorf("%q is not HOST:PORT: %q is no port", target, text)
	}
	return host, uint32(number), nil
}

// CheckAddress returns an error unless Lateen can be at such an address: HOST:PORT or, where a socket may be, "unix:PATH".
func CheckAddress(address string, socketToo bool) error {
	path, isSocket := strings.CutPrefix(address, UnixPrefix)
	switch {
	case isSocket && !socketToo:
		return fmt.Errorf("%q is not HOST:PORT", address)
	case isSocket && path == "":
		return errors.New("a socket needs a path")
	case isSocket:
		return checkSocket(path)
	}
	_, _, err := hostPort(address)
	return err
}

func checkSocket(path string) error {
	if len(path) > maxSocketPath {
		return fmt.Errorf("socket path %s has %d bytes: at most %d are possible", path, len(path), maxSocketPath)
	}
	return nil
}

// anySource lets the system choose the source of connections: the workload's own address may lead nowhere.
func anySource() *corev3.BindConfig {
	source := func(ip string) *corev3.SocketAddress {
		return &corev3.SocketAddress{Address: ip, PortSpecifier: &corev3.SocketAddress_PortValue{}}
	}
	return &corev3.BindConfig{
		SourceAddress:        source("0.0.0.0"),
		ExtraSourceAddresses: []*corev3.ExtraSourceAddress{{Address: source("::")}},
	}
}

func socket(host string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}

func pipe(path string, mode uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: path, Mode: mode}}}
}
