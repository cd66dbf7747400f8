package envoy

import (
	"net/netip"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/plan"
)

const (
	// metadataKey is the namespace of Lateen's own metadata on clusters, routes and endpoints.
	metadataKey = "lateen"
	httpOptions = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
)

func subsetCluster(p plan.Cluster) (*clusterv3.Cluster, error) {
	options, err := protocolOptions(p.HTTP2, nil)
	if err != nil {
		return nil, err
	}
	return &clusterv3.Cluster{
		Name:                 p.Subset.String(),
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{EdsConfig: ads()},
		ConnectTimeout:       duration(p.ConnectTimeout),
		// A mesh whose probes all fail must not turn into a mesh that tries dead endpoints.
		CommonLbConfig: &clusterv3.Cluster_CommonLbConfig{
			HealthyPanicThreshold: percent(0),
			// Changes of endpoints are in force when they are confirmed, not up to a second later.
			UpdateMergeWindow: durationpb.New(0),
		},
		Metadata:                      metadata(map[string]string{"host": string(p.Subset.Host)}),
		TypedExtensionProtocolOptions: options,
	}, nil
}

func inboundCluster(p plan.InboundCluster) (*clusterv3.Cluster, error) {
	target, err := netip.ParseAddrPort(p.Target)
	if err != nil {
		return nil, err
	}
	options, err := protocolOptions(p.HTTP2, duration(p.IdleTimeout))
	if err != nil {
		return nil, err
	}
	return &clusterv3.Cluster{
		Name:                 p.Name,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		ConnectTimeout:       duration(p.ConnectTimeout),
		LoadAssignment: &endpointv3.ClusterLoadAssignment{
			ClusterName: p.Name,
			Endpoints: []*endpointv3.LocalityLbEndpoints{{
				LbEndpoints: []*endpointv3.LbEndpoint{{HostIdentifier: host(target.Addr().String(), int(target.Port()))}},
			}},
		},
		TypedExtensionProtocolOptions: options,
	}, nil
}

func endpoints(p plan.Endpoints) (*endpointv3.ClusterLoadAssignment, error) {
	assignment := &endpointv3.ClusterLoadAssignment{ClusterName: p.Subset.String()}
	if len(p.Endpoints) == 0 {
		return assignment, nil
	}
	locality := &endpointv3.LocalityLbEndpoints{LoadBalancingWeight: wrapperspb.UInt32(1)}
	for _, e := range p.Endpoints {
		if _, err := netip.ParseAddr(e.Address); err != nil {
			return nil, err
		}
		status := corev3.HealthStatus_HEALTHY
		if e.Health == mesh.Draining {
			status = corev3.HealthStatus_DRAINING
		}
		locality.LbEndpoints = append(locality.LbEndpoints, &endpointv3.LbEndpoint{
			HostIdentifier: host(e.Address, e.Port),
			HealthStatus:   status,
			Metadata:       metadata(map[string]string{"workload": e.Workload, "version": e.Version}),
		})
	}
	assignment.Endpoints = []*endpointv3.LocalityLbEndpoints{locality}
	return assignment, nil
}

// protocolOptions says what is spoken to a cluster. Without an idle timeout Envoy's own of an hour applies.
func protocolOptions(http2 bool, idle *durationpb.Duration) (map[string]*anypb.Any, error) {
	explicit := &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
		ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{},
	}
	if http2 {
		explicit.ProtocolConfig = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
			Http2ProtocolOptions: &corev3.Http2ProtocolOptions{},
		}
	}
	options := &httpv3.HttpProtocolOptions{
		UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: explicit},
	}
	if idle != nil {
		options.CommonHttpProtocolOptions = &corev3.HttpProtocolOptions{IdleTimeout: idle}
	}
	packed, err := pack(options)
	if err != nil {
		return nil, err
	}
	return map[string]*anypb.Any{httpOptions: packed}, nil
}

// ads says that a resource comes on the one stream that the proxy has with Lateen.
func ads() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ResourceApiVersion:    corev3.ApiVersion_V3,
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
	}
}

func host(ip string, port int) *endpointv3.LbEndpoint_Endpoint {
	return &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: address(ip, port)}}
}

func address(ip string, port int) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address:       ip,
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(port)}, //nolint:gosec // ports are checked where they enter the mesh
	}}}
}

// metadata holds the pairs whose value is not empty, in Lateen's namespace.
func metadata(pairs map[string]string) *corev3.Metadata {
	fields := map[string]*structpb.Value{}
	for k, v := range pairs {
		if v != "" {
			fields[k] = structpb.NewStringValue(v)
		}
	}
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{metadataKey: {Fields: fields}}}
}
