package envoy

import (
	"cmp"
	"net/netip"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	dnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dns/v3"
	randomv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/random/v3"
	roundrobinv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/round_robin/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/plan"
)

const (
	// metadataKey is the namespace of Lateen's own metadata on clusters and endpoints.
	metadataKey = "lateen"
	httpOptions = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
)

func subsetCluster(p plan.Cluster) (*clusterv3.Cluster, error) {
	c := &clusterv3.Cluster{
		Name:            cmp.Or(p.Name, p.Subset.String()),
		ConnectTimeout:  duration(p.ConnectTimeout),
		CircuitBreakers: manyRetries(),
		CommonLbConfig: &clusterv3.Cluster_CommonLbConfig{
			// A mesh whose probes all fail must not turn into a mesh that tries dead endpoints.
			HealthyPanicThreshold: percent(0),
			// Changes of endpoints are in force when they are confirmed, not up to a second later.
			UpdateMergeWindow: durationpb.New(0),
		},
		Metadata: metadata(map[string]string{"host": string(p.Subset.Host)}),
	}
	if p.Split {
		c.CommonLbConfig.LocalityConfigSpecifier = &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig_{
			LocalityWeightedLbConfig: &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig{},
		}
	}
	if err := balance(c, p.Balancer); err != nil {
		return nil, err
	}
	pool := poolBounds{}
	if p.Mutual != nil {
		if err := speakMutual(c, &p); err != nil {
			return nil, err
		}
		pool.age = duration(p.Mutual.Age)
	}
	if b := p.Breaker; b != nil {
		breaker(c, b)
		pool.requests = b.MaxRequestsPerConnection
	}
	if err := find(c, p); err != nil {
		return nil, err
	}
	var err error
	if p.TLS != nil {
		if c.TransportSocket, err = upstreamTLS(p.TLS); err != nil {
			return nil, err
		}
	}
	c.TypedExtensionProtocolOptions, err = protocolOptions(p.Speak, pool, namedByRequests(p.TLS))
	return c, err
}

// balance says how an endpoint is chosen. The word for random is one that gRPC refuses, while of a list it takes the first
// that it knows.
func balance(c *clusterv3.Cluster, b mesh.Balancer) error {
	switch b {
	case mesh.LeastRequest:
		c.LbPolicy = clusterv3.Cluster_LEAST_REQUEST
		return nil
	case mesh.Random:
		c.LoadBalancingPolicy = &clusterv3.LoadBalancingPolicy{}
	default:
		c.LbPolicy = clusterv3.Cluster_ROUND_ROBIN
		return nil
	}
	for _, policy := range []struct {
		name   string
		config proto.Message
	}{
		{"envoy.load_balancing_policies.random", &randomv3.Random{}},
		{"envoy.load_balancing_policies.round_robin", &roundrobinv3.RoundRobin{}},
	} {
		config, err := pack(policy.config)
		if err != nil {
			return err
		}
		c.LoadBalancingPolicy.Policies = append(c.LoadBalancingPolicy.Policies, &clusterv3.LoadBalancingPolicy_Policy{
			TypedExtensionConfig: &corev3.TypedExtensionConfig{Name: policy.name, TypedConfig: config},
		})
	}
	return nil
}

// find says how the endpoints are found.
func find(c *clusterv3.Cluster, p plan.Cluster) error {
	if p.Find == plan.FindAsk {
		c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS}
		c.EdsClusterConfig = &clusterv3.Cluster_EdsClusterConfig{EdsConfig: ads()}
		return nil
	}
	if p.Find == plan.FindOriginal {
		c.ClusterDiscoveryType, c.LbPolicy = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_ORIGINAL_DST}, clusterv3.Cluster_CLUSTER_PROVIDED
		c.LoadBalancingPolicy = nil
		if p.Breaker == nil {
			c.CircuitBreakers = unbounded()
		}
		return nil
	}
	c.UpstreamBindConfig = anySource()
	c.LoadAssignment = &endpointv3.ClusterLoadAssignment{
		ClusterName: c.GetName(),
		Endpoints: []*endpointv3.LocalityLbEndpoints{{
			LbEndpoints: []*endpointv3.LbEndpoint{{HostIdentifier: host(string(p.Subset.Host), p.Subset.Port)}},
		}},
	}
	if p.Find == plan.FindAddress {
		c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
		return nil
	}
	resolver, err := dns(p.Resolvers)
	if err != nil {
		return err
	}
	config, err := pack(&dnsv3.DnsCluster{
		RespectDnsTtl: true, DnsLookupFamily: preferIPv4, TypedDnsResolverConfig: resolver,
	})
	c.ClusterDiscoveryType = &clusterv3.Cluster_ClusterType{ClusterType: &clusterv3.Cluster_CustomClusterType{
		Name: "envoy.clusters.dns", TypedConfig: config,
	}}
	return err
}

func inner(p plan.InnerCluster) *clusterv3.Cluster {
	at := &corev3.Address{Address: &corev3.Address_EnvoyInternalAddress{EnvoyInternalAddress: &corev3.EnvoyInternalAddress{
		AddressNameSpecifier: &corev3.EnvoyInternalAddress_ServerListenerName{ServerListenerName: p.Listener},
	}}}
	return &clusterv3.Cluster{
		Name:                 p.Name,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		CircuitBreakers:      unbounded(),
		LoadAssignment: &endpointv3.ClusterLoadAssignment{
			ClusterName: p.Name,
			Endpoints: []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{{
				HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: at}},
			}}}},
		},
	}
}

func inboundCluster(p plan.InboundCluster) (*clusterv3.Cluster, error) {
	c := &clusterv3.Cluster{
		Name: p.Name, CircuitBreakers: unbounded(), ConnectTimeout: duration(p.ConnectTimeout), UpstreamBindConfig: from(p.Sources),
	}
	if len(p.Targets) == 0 {
		c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_ORIGINAL_DST} // the one in [targetState]
		c.LbPolicy = clusterv3.Cluster_CLUSTER_PROVIDED
		return c, nil
	}
	first, err := netip.ParseAddrPort(p.Targets[0])
	if err != nil {
		return nil, err
	}
	target := host(first.Addr().String(), int(first.Port()))
	for _, text := range p.Targets[1:] {
		further, err := netip.ParseAddrPort(text)
		if err != nil {
			return nil, err
		}
		also(target, further.Addr().String(), int(further.Port()))
	}
	speak := plan.SpeakHTTP1
	if p.HTTP2 {
		speak = plan.SpeakHTTP2
	}
	c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
	c.LoadAssignment = &endpointv3.ClusterLoadAssignment{
		ClusterName: p.Name,
		Endpoints: []*endpointv3.LocalityLbEndpoints{{
			LbEndpoints: []*endpointv3.LbEndpoint{{HostIdentifier: target}},
		}},
	}
	c.TypedExtensionProtocolOptions, err = protocolOptions(speak, poolBounds{idle: duration(p.IdleTimeout)}, nil)
	return c, err
}

func endpoints(p plan.Endpoints) (*endpointv3.ClusterLoadAssignment, error) {
	assignment := &endpointv3.ClusterLoadAssignment{ClusterName: p.Subset.String()}
	locality, err := localityOf(p.Endpoints)
	if locality != nil {
		assignment.Endpoints = []*endpointv3.LocalityLbEndpoints{locality}
	}
	return assignment, err
}

// localityOf puts endpoints into one locality. It is nil without endpoints.
func localityOf(list []plan.Endpoint) (*endpointv3.LocalityLbEndpoints, error) {
	if len(list) == 0 {
		return nil, nil
	}
	// gRPC refuses a locality that does not say which it is.
	locality := &endpointv3.LocalityLbEndpoints{Locality: &corev3.Locality{}, LoadBalancingWeight: wrapperspb.UInt32(1)}
	for _, e := range list {
		at := host(e.Address, e.Port)
		for _, ip := range e.Further {
			also(at, ip, e.Port)
		}
		for _, ip := range append([]string{e.Address}, e.Further...) {
			if _, err := netip.ParseAddr(ip); err != nil {
				return nil, err
			}
		}
		status := corev3.HealthStatus_HEALTHY
		if e.Health == mesh.Draining {
			status = corev3.HealthStatus_DRAINING
		}
		locality.LbEndpoints = append(locality.LbEndpoints, &endpointv3.LbEndpoint{
			HostIdentifier: at,
			HealthStatus:   status,
			Metadata:       endpointMetadata(e.Workload, e.Version, e.Proves),
		})
	}
	return locality, nil
}

// endpointMetadata says who an endpoint is, and whether it takes mutual TLS.
func endpointMetadata(workload, version string, proves bool) *corev3.Metadata {
	m := metadata(map[string]string{"workload": workload, "version": version})
	if proves {
		m.FilterMetadata[matchKey] = fields(map[string]string{transportKey: mutualWord})
	}
	return m
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

// also names one more address of an endpoint. Envoy tries the next one when one cannot be reached, or does not answer at once (RFC 8305).
func also(e *endpointv3.LbEndpoint_Endpoint, ip string, port int) {
	e.Endpoint.AdditionalAddresses = append(e.Endpoint.AdditionalAddresses, &endpointv3.Endpoint_AdditionalAddress{Address: address(ip, port)})
}

func address(ip string, port int) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address:       ip,
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(port)}, //nolint:gosec // ports are checked where they enter the mesh
	}}}
}

// metadata holds the pairs whose value is not empty, in Lateen's namespace.
func metadata(pairs map[string]string) *corev3.Metadata {
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{metadataKey: fields(pairs)}}
}

// fields holds the pairs whose value is not empty.
func fields(pairs map[string]string) *structpb.Struct {
	s := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	for k, v := range pairs {
		if v != "" {
			s.Fields[k] = structpb.NewStringValue(v)
		}
	}
	return s
}
