package envoy

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lateen-mesh/lateen/internal/plan"
)

const (
	// tlsSocket is the name of what speaks TLS to the outside, which libraries of gRPC look at.
	tlsSocket = "envoy.transport_sockets.tls"
	// mutualALPN is what proxies of the mesh offer to speak (RFC 7301), by which their TLS is told from an application's own.
	// What they agree on is one of the others, by which the server's side knows what to read; on nothing where the caller hands on
	// bytes of which it does not know what they are, so that the server's side looks at them.
	mutualALPN = "lateen"
	http2ALPN  = "h2"
	http1ALPN  = "http/1.1"
	// matchKey is the namespace of the metadata by which Envoy chooses how to speak to an endpoint, transportKey ours in it.
	matchKey     = "envoy.transport_socket_match"
	transportKey = "lateen"
	mutualWord   = "mtls"
)

// suites are those of TLS 1.2 that keep what was said secret even from who gets the keys later (forward secrecy), in the words of
// BoringSSL for several. Those of 1.3 all do.
var suites = []string{"ECDHE+AESGCM", "ECDHE+CHACHA20"}

// speakMutual has a cluster speak mutual TLS to the endpoints that say so, and plain text to others.
func speakMutual(c *clusterv3.Cluster, p *plan.Cluster) error {
	names := make([]*matcherv3.StringMatcher, len(p.Mutual.Identities))
	for i, id := range p.Mutual.Identities {
		names[i] = &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: id}}
	}
	offers := []string{mutualALPN}
	switch p.Speak {
	case plan.SpeakSame:
	case plan.SpeakHTTP2:
		offers = append(offers, http2ALPN)
	default:
		offers = append(offers, http1ALPN)
	}
	mutual, err := socket(mutualWord, &tlsv3.UpstreamTlsContext{CommonTlsContext: mutualContext(names, offers...)})
	if err != nil {
		return err
	}
	c.TransportSocketMatches = []*clusterv3.Cluster_TransportSocketMatch{
		{Name: mutualWord, Match: fields(map[string]string{transportKey: mutualWord}), TransportSocket: mutual},
	}
	return nil
}

// takeMutual returns the server's side: whoever connects must prove an identity of the trust domain. No session is resumed:
// a server's Envoy would not look at the certificate again, so who had shown a good one could come back when it has expired.
func takeMutual(trustDomain string) (*corev3.TransportSocket, error) {
	return socket(mutualWord, &tlsv3.DownstreamTlsContext{
		CommonTlsContext: mutualContext([]*matcherv3.StringMatcher{
			{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: "spiffe://" + trustDomain + "/"}},
		}, http2ALPN, http1ALPN),
		RequireClientCertificate:         wrapperspb.Bool(true),
		SessionTicketKeysType:            &tlsv3.DownstreamTlsContext_DisableStatelessSessionResumption{DisableStatelessSessionResumption: true},
		DisableStatefulSessionResumption: true,
	})
}

// mutualContext is what both sides have in common: the workload's own certificate, what the other side must prove, and what
// they may speak.
func mutualContext(names []*matcherv3.StringMatcher, alpn ...string) *tlsv3.CommonTlsContext {
	verify := &tlsv3.CertificateValidationContext{}
	for _, name := range names {
		verify.MatchTypedSubjectAltNames = append(verify.MatchTypedSubjectAltNames, &tlsv3.SubjectAltNameMatcher{
			SanType: tlsv3.SubjectAltNameMatcher_URI, Matcher: name,
		})
	}
	return &tlsv3.CommonTlsContext{
		TlsParams: &tlsv3.TlsParameters{
			TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_2, TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3,
			CipherSuites: suites,
		},
		AlpnProtocols:                  alpn,
		TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{fromAgent(IdentitySecret)},
		ValidationContextType: &tlsv3.CommonTlsContext_CombinedValidationContext{
			CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
				DefaultValidationContext: verify, ValidationContextSdsSecretConfig: fromAgent(TrustSecret),
			},
		},
	}
}

func fromAgent(secret string) *tlsv3.SdsSecretConfig {
	return &tlsv3.SdsSecretConfig{Name: secret, SdsConfig: AgentSecrets()}
}

func socket(name string, config proto.Message) (*corev3.TransportSocket, error) {
	packed, err := pack(config)
	return &corev3.TransportSocket{Name: name, ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: packed}}, err
}
