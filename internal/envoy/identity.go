package envoy

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/durationpb"
)

// How an Envoy comes by what proves its identity: from its agent, which answers on the cluster SDSCluster with two secrets.
const (
	SDSCluster     = "sds"
	IdentitySecret = "identity" // the workload's certificate with its key
	TrustSecret    = "trust"    // the roots by which others are trusted
)

// AgentSecrets says that secrets come from the agent beside the Envoy. They are waited for as long as it takes: nothing is taken
// or said in their stead. Whoever names a secret with this very source shares one subscription.
func AgentSecrets() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ResourceApiVersion: corev3.ApiVersion_V3, InitialFetchTimeout: durationpb.New(0),
		ConfigSourceSpecifier: &corev3.ConfigSource_ApiConfigSource{ApiConfigSource: &corev3.ApiConfigSource{
			ApiType: corev3.ApiConfigSource_GRPC, TransportApiVersion: corev3.ApiVersion_V3, SetNodeOnFirstMessageOnly: true,
			GrpcServices: []*corev3.GrpcService{{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
				EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: SDSCluster},
			}}},
		}},
	}
}

// IsAgentSecret tells whether a secret comes from the agent. Those from Lateen have a namespace in their names.
func IsAgentSecret(name string) bool { return name == IdentitySecret || name == TrustSecret }
