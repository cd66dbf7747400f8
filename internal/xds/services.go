package xds

import (
	clusterservicev3 "github.com/envoyproxy/go-control-plane/envoy/service/cluster/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	endpointservicev3 "github.com/envoyproxy/go-control-plane/envoy/service/endpoint/v3"
	extensionservicev3 "github.com/envoyproxy/go-control-plane/envoy/service/extension/v3"
	listenerservicev3 "github.com/envoyproxy/go-control-plane/envoy/service/listener/v3"
	routeservicev3 "github.com/envoyproxy/go-control-plane/envoy/service/route/v3"
	secretservicev3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/grpc"
)

// register makes the aggregated service and those for one type answer. Requests without a stream (Fetch) are answered as gRPC
// answers what there is not.
func register(to grpc.ServiceRegistrar, s *Server) {
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(to, aggregated{server: s})
	listenerservicev3.RegisterListenerDiscoveryServiceServer(to, listeners{server: s})
	routeservicev3.RegisterRouteDiscoveryServiceServer(to, routes{server: s})
	routeservicev3.RegisterVirtualHostDiscoveryServiceServer(to, virtualHosts{server: s})
	clusterservicev3.RegisterClusterDiscoveryServiceServer(to, clusters{server: s})
	endpointservicev3.RegisterEndpointDiscoveryServiceServer(to, endpoints{server: s})
	secretservicev3.RegisterSecretDiscoveryServiceServer(to, secrets{server: s})
	extensionservicev3.RegisterExtensionConfigDiscoveryServiceServer(to, filters{server: s})
}

// The services differ in their names and in the type that their streams are for.
type (
	aggregated struct {
		discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
		server *Server
	}
	listeners struct {
		listenerservicev3.UnimplementedListenerDiscoveryServiceServer
		server *Server
	}
	routes struct {
		routeservicev3.UnimplementedRouteDiscoveryServiceServer
		server *Server
	}
	virtualHosts struct {
		routeservicev3.UnimplementedVirtualHostDiscoveryServiceServer
		server *Server
	}
	clusters struct {
		clusterservicev3.UnimplementedClusterDiscoveryServiceServer
		server *Server
	}
	endpoints struct {
		endpointservicev3.UnimplementedEndpointDiscoveryServiceServer
		server *Server
	}
	secrets struct {
		secretservicev3.UnimplementedSecretDiscoveryServiceServer
		server *Server
	}
	filters struct {
		extensionservicev3.UnimplementedExtensionConfigDiscoveryServiceServer
		server *Server
	}
)

func (a aggregated) DeltaAggregatedResources(s discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	return a.server.delta(s, "")
}

func (a aggregated) StreamAggregatedResources(s discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	return a.server.world(s, "")
}

func (l listeners) DeltaListeners(s listenerservicev3.ListenerDiscoveryService_DeltaListenersServer) error {
	return l.server.delta(s, ListenerType)
}

func (l listeners) StreamListeners(s listenerservicev3.ListenerDiscoveryService_StreamListenersServer) error {
	return l.server.world(s, ListenerType)
}

func (r routes) DeltaRoutes(s routeservicev3.RouteDiscoveryService_DeltaRoutesServer) error {
	return r.server.delta(s, RouteType)
}

func (r routes) StreamRoutes(s routeservicev3.RouteDiscoveryService_StreamRoutesServer) error {
	return r.server.world(s, RouteType)
}

func (v virtualHosts) DeltaVirtualHosts(s routeservicev3.VirtualHostDiscoveryService_DeltaVirtualHostsServer) error {
	return v.server.delta(s, VirtualHostType)
}

func (c clusters) DeltaClusters(s clusterservicev3.ClusterDiscoveryService_DeltaClustersServer) error {
	return c.server.delta(s, ClusterType)
}

func (c clusters) StreamClusters(s clusterservicev3.ClusterDiscoveryService_StreamClustersServer) error {
	return c.server.world(s, ClusterType)
}

func (e endpoints) DeltaEndpoints(s endpointservicev3.EndpointDiscoveryService_DeltaEndpointsServer) error {
	return e.server.delta(s, EndpointsType)
}

func (e endpoints) StreamEndpoints(s endpointservicev3.EndpointDiscoveryService_StreamEndpointsServer) error {
	return e.server.world(s, EndpointsType)
}

func (x secrets) DeltaSecrets(s secretservicev3.SecretDiscoveryService_DeltaSecretsServer) error {
	return x.server.delta(s, SecretType)
}

func (x secrets) StreamSecrets(s secretservicev3.SecretDiscoveryService_StreamSecretsServer) error {
	return x.server.world(s, SecretType)
}

func (f filters) DeltaExtensionConfigs(s extensionservicev3.ExtensionConfigDiscoveryService_DeltaExtensionConfigsServer) error {
	return f.server.delta(s, FilterType)
}

func (f filters) StreamExtensionConfigs(s extensionservicev3.ExtensionConfigDiscoveryService_StreamExtensionConfigsServer) error {
	return f.server.world(s, FilterType)
}
