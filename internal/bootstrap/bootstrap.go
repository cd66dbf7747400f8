// Package bootstrap writes what an Envoy starts with: who it is, where Lateen is, where its admin interface listens.
// Everything else comes over xDS.
//
// With an identity Envoy dials Lateen over mutual TLS and takes nobody else for it; certificate and roots come from the agent
// beside it. Without one it is plain text. [GRPC] is the same for the gRPC library of a workload without an Envoy.
//
// The settings that keep an idle proxy small stand here: statistics and clusters are created when they are first
// used, and only the statistics that somebody reads are created at all.
package bootstrap

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"
	overloadv3 "github.com/envoyproxy/go-control-plane/envoy/config/overload/v3"
	internallistenerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/bootstrap/internal_listener/v3"
	dnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/common/dns/v3"
	downstreamconnectionsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Config says what one Envoy starts with.
type Config struct {
	Node         mesh.Node
	ControlPlane string // HOST:PORT where Lateen answers over mutual TLS; "": as PlainXDS says
	TrustDomain  string // with ControlPlane: of the control plane, which must prove that
	SDSSocket    string // with ControlPlane: path of the agent's Unix socket, which tells certificate and roots
	PlainXDS     string // where Lateen answers an Envoy without an identity: "unix:PATH" or HOST:PORT
	AdminSocket  string // path of the Unix socket for Envoy's admin interface, made with mode 0600
	BindSource   bool   // use the node's address as source of every connection, so that peers can tell who calls
}

const (
	// xdsCluster is where Lateen is. Envoy makes its static clusters in the order of their names, and one that has its secrets
	// from a cluster which is yet to come finds nobody to ask, and loses half a second: this comes after [envoy.SDSCluster].
	xdsCluster    = "xds"
	maxSocketPath = 107 // sockaddr_un, less the closing zero byte
	reconnectMin  = 100 * time.Millisecond
	reconnectMax  = time.Second
	// maxConnections is what an Envoy takes from others at once.
	maxConnections = 20_000
	// maxProgram bounds a compiled regular expression, in RE2's instructions.
	maxProgram = 30_000
	// preferIPv4 asks for IPv6 addresses only of names without others.
	preferIPv4 = dnsv3.DnsLookupFamily_V4_PREFERRED
)

// JSON returns the bootstrap as JSON, which Envoy takes with --config-path.
func (c Config) JSON() ([]byte, error) {
	if err := checkSocket(c.AdminSocket); err != nil {
		return nil, err
	}
	clusters, err := c.clusters()
	if err != nil {
		return nil, err
	}
	b := &bootstrapv3.Bootstrap{
		Node:            &corev3.Node{Id: c.Node.String(), Cluster: c.Node.Name},
		Admin:           &bootstrapv3.Admin{Address: pipe(c.AdminSocket, 0o600)},
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{Clusters: clusters},
		DynamicResources: &bootstrapv3.Bootstrap_DynamicResources{
			AdsConfig: deltaADS(), LdsConfig: ads(), CdsConfig: ads(),
		},
		ClusterManager:      &bootstrapv3.ClusterManager{EnableDeferredClusterCreation: true},
		DeferredStatOptions: &bootstrapv3.Bootstrap_DeferredStatOptions{EnableDeferredCreationStats: true},
		StatsConfig:         &metricsv3.StatsConfig{StatsMatcher: statistics()},
	}
	if b.BootstrapExtensions, err = extensions(); err != nil {
		return nil, err
	}
	if b.LayeredRuntime, err = runtime(); err != nil {
		return nil, err
	}
	if b.OverloadManager, err = limits(); err != nil {
		return nil, err
	}
	if c.BindSource {
		b.ClusterManager.UpstreamBindConfig = bind(c.Node.Address)
	}
	if err := b.ValidateAll(); err != nil {
		return nil, fmt.Errorf("bootstrap of %s: %w", c.Node.ID(), err)
	}
	loose, err := protojson.Marshal(b) // its blanks differ from build to build, on purpose
	if err != nil {
		return nil, fmt.Errorf("bootstrap of %s: %w", c.Node.ID(), err)
	}
	var text bytes.Buffer
	if err := json.Indent(&text, loose, "", "  "); err != nil {
		return nil, fmt.Errorf("bootstrap of %s: %w", c.Node.ID(), err)
	}
	return text.Bytes(), nil
}

// extensions lets listeners be reached from inside the proxy, for what comes through CONNECT.
func extensions() ([]*corev3.TypedExtensionConfig, error) {
	config, err := anypb.New(&internallistenerv3.InternalListener{})
	return []*corev3.TypedExtensionConfig{{Name: "envoy.bootstrap.internal_listener", TypedConfig: config}}, err
}

// runtime lets Envoy compile the regular expressions that the dialects let through: by itself it refuses those of more
// than 100 instructions.
func runtime() (*bootstrapv3.LayeredRuntime, error) {
	layer, err := structpb.NewStruct(map[string]any{"re2.max_program_size.error_level": maxProgram})
	if err != nil {
		return nil, err
	}
	return &bootstrapv3.LayeredRuntime{Layers: []*bootstrapv3.RuntimeLayer{{
		Name: "lateen", LayerSpecifier: &bootstrapv3.RuntimeLayer_StaticLayer{StaticLayer: layer},
	}}}, nil
}

// limits bounds the connections that a proxy takes, so that a flood of them ends at the door.
func limits() (*overloadv3.OverloadManager, error) {
	config, err := anypb.New(&downstreamconnectionsv3.DownstreamConnectionsConfig{
		MaxActiveDownstreamConnections: maxConnections,
	})
	if err != nil {
		return nil, err
	}
	return &overloadv3.OverloadManager{ResourceMonitors: []*overloadv3.ResourceMonitor{{
		Name:       "envoy.resource_monitors.global_downstream_max_connections",
		ConfigType: &overloadv3.ResourceMonitor_TypedConfig{TypedConfig: config},
	}}}, nil
}

// statistics lists the statistics that are read: the proxy's own state, the connections and requests by which an agent sees
// that its Envoy has drained, and who has called without proving an identity.
func statistics() *metricsv3.StatsMatcher {
	list := &matcherv3.ListStringMatcher{}
	for _, prefix := range []string{
		"server.", "cluster_manager.", "listener_manager.", "control_plane.", "http.", "tcp.inbound", "listener.", "lateen.",
	} {
		list.Patterns = append(list.Patterns, &matcherv3.StringMatcher{
			MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: prefix},
		})
	}
	return &metricsv3.StatsMatcher{StatsMatcher: &metricsv3.StatsMatcher_InclusionList{InclusionList: list}}
}

// deltaADS is the one stream with the control plane. A proxy that lost it comes back soon, and not with all others at once.
func deltaADS() *corev3.ApiConfigSource {
	return &corev3.ApiConfigSource{
		ApiType:                   corev3.ApiConfigSource_DELTA_GRPC,
		TransportApiVersion:       corev3.ApiVersion_V3,
		SetNodeOnFirstMessageOnly: true,
		GrpcServices: []*corev3.GrpcService{{
			TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{
				ClusterName: xdsCluster,
				RetryPolicy: &corev3.RetryPolicy{RetryBackOff: &corev3.BackoffStrategy{
					BaseInterval: durationpb.New(reconnectMin), MaxInterval: durationpb.New(reconnectMax),
				}},
			}},
		}},
	}
}

func ads() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ResourceApiVersion:    corev3.ApiVersion_V3,
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
	}
}

func bind(ip string) *corev3.BindConfig {
	return &corev3.BindConfig{SourceAddress: &corev3.SocketAddress{
		Address: ip, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 0},
	}}
}
