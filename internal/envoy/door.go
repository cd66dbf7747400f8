package envoy

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	proxyprotocolv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/proxy_protocol/v3"
	tlsinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lateen-mesh/lateen/internal/plan"
)

func doorRoutes(p plan.Door) (*routev3.RouteConfiguration, error) {
	config := &routev3.RouteConfiguration{
		Name: p.Name, ValidateClusters: wrapperspb.Bool(false), IgnorePortInHostMatching: true,
		RequestHeadersToRemove: []string{"x-envoy-external-address"}, // x-forwarded-for says it to those whom it concerns
	}
	for _, h := range p.Hosts {
		list, err := routes(h.Routes)
		if err != nil {
			return nil, err
		}
		config.VirtualHosts = append(config.VirtualHosts, &routev3.VirtualHost{Name: h.Domain, Domains: []string{h.Domain}, Routes: list})
	}
	return config, nil
}

func doorListener(p plan.DoorListener) (*listenerv3.Listener, error) {
	hcm, err := connectionManager(p.Name, p.NoLog, map[string]string{
		"source":      "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
		"destination": "%METADATA(CLUSTER:lateen:host)%",
		"version":     "%METADATA(UPSTREAM_HOST:lateen:version)%",
		"peer":        "%UPSTREAM_PEER_URI_SAN%",
		"tls":         "%UPSTREAM_TLS_VERSION%",
	})
	if err != nil {
		return nil, err
	}
	hcm.RouteSpecifier = askedRoutes(p.Routes)
	hcm.UseRemoteAddress = wrapperspb.Bool(true)
	hcm.SchemeHeaderTransformation = &corev3.SchemeHeaderTransformation{
		Transformation: &corev3.SchemeHeaderTransformation_SchemeToOverwrite{SchemeToOverwrite: p.Scheme},
	}
	if hcm.HttpFilters, err = httpFilters(steering...); err != nil {
		return nil, err
	}
	l, err := httpListener(p.Name, address(p.Address, p.Port), hcm, map[string]string{
		sourceState:  "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
		dialledState: "%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%",
	})
	if err != nil {
		return nil, err
	}
	if p.Proxied {
		if err := addListenerFilter(l, "proxy_protocol", &proxyprotocolv3.ProxyProtocol{}); err != nil {
			return nil, err
		}
	}
	if len(p.TLS) == 0 {
		return l, nil
	}
	return l, takeTLS(l, p.TLS)
}

// addListenerFilter has one more filter look at connections, after those that the listener has.
func addListenerFilter(l *listenerv3.Listener, name string, config proto.Message) error {
	packed, err := pack(config)
	l.ListenerFilters = append(l.ListenerFilters, &listenerv3.ListenerFilter{
		Name: "envoy.filters.listener." + name, ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: packed},
	})
	return err
}

// takeTLS makes a listener for plain text one for TLS, with a filter chain for each certificate.
func takeTLS(l *listenerv3.Listener, chains []plan.TLSChain) error {
	if err := addListenerFilter(l, "tls_inspector", &tlsinspectorv3.TlsInspector{}); err != nil {
		return err
	}
	filters := l.FilterChains[0].Filters
	l.FilterChains = nil
	for _, c := range chains {
		socket, err := downstreamTLS(&tlsv3.SdsSecretConfig{Name: c.Secret, SdsConfig: ads()})
		if err != nil {
			return err
		}
		l.FilterChains = append(l.FilterChains, &listenerv3.FilterChain{
			FilterChainMatch: &listenerv3.FilterChainMatch{ServerNames: c.Hosts}, Filters: filters, TransportSocket: socket,
			TransportSocketConnectTimeout: durationpb.New(handshakeWait),
		})
	}
	return nil
}

// downstreamTLS shows a certificate, and asks callers for none.
func downstreamTLS(certificate *tlsv3.SdsSecretConfig) (*corev3.TransportSocket, error) {
	return socket(tlsSocket, &tlsv3.DownstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{
		TlsParams:                      &tlsv3.TlsParameters{TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_2},
		TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{certificate},
		AlpnProtocols:                  []string{"h2", "http/1.1"},
	}})
}

func secret(p plan.Secret) *tlsv3.Secret {
	return &tlsv3.Secret{Name: p.Name, Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
		CertificateChain: inline(p.Chain), PrivateKey: inline(p.Key.Reveal()),
	}}}
}

func inline(text string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: text}}
}
