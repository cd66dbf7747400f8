package envoy_test

import (
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/internal/envoy"
)

func pack(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func inline(text string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: text}}
}

// Nothing secret is left, wherever it stands and in whatever form; the rest stays, and twice is once.
func TestRedacted(t *testing.T) {
	t.Parallel()
	certificate := &tlsv3.TlsCertificate{
		CertificateChain: inline("plain"), PrivateKey: inline("hidden"),
		Password: &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: []byte("hidden")}},
	}
	upstream := &tlsv3.UpstreamTlsContext{Sni: "plain", CommonTlsContext: &tlsv3.CommonTlsContext{TlsCertificates: []*tlsv3.TlsCertificate{certificate}}}
	header := func(name, value string) *routev3.HeaderMatcher {
		return &routev3.HeaderMatcher{Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{
			StringMatch: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: value}},
		}}
	}
	add := func(name, value string) *corev3.HeaderValueOption {
		return &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: name, Value: value}}
	}
	for name, m := range map[string]proto.Message{
		"a certificate's key": &tlsv3.Secret{Name: "plain", Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: certificate}},
		"a secret of any kind": &tlsv3.Secret{Name: "plain", Type: &tlsv3.Secret_GenericSecret{
			GenericSecret: &tlsv3.GenericSecret{Secret: inline("hidden")},
		}},
		"keys of tickets": &tlsv3.Secret{Name: "plain", Type: &tlsv3.Secret_SessionTicketKeys{
			SessionTicketKeys: &tlsv3.TlsSessionTicketKeys{Keys: []*corev3.DataSource{inline("hidden")}},
		}},
		"a key within a cluster": &clusterv3.Cluster{Name: "plain", TransportSocket: &corev3.TransportSocket{
			Name: "tls", ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(t, upstream)},
		}},
		"headers that are added": &routev3.VirtualHost{Name: "plain", RequestHeadersToAdd: []*corev3.HeaderValueOption{
			add("Authorization", "hidden"), add("x-api-key", "hidden"), add("X-Session-Token", "hidden"), add("x-plain", "plain"), add("X-Access-Key", "hidden"), add("x-passphrase", "hidden"),
			{Header: &corev3.HeaderValue{Key: "set-cookie", RawValue: []byte("hidden")}},
		}},
		"headers that are looked for": &routev3.VirtualHost{Name: "plain", Routes: []*routev3.Route{{Match: &routev3.RouteMatch{
			Headers: []*routev3.HeaderMatcher{header("authorization", "hidden"), header("x-private-key", "hidden"), header("cookie", "user=plain")},
		}}}},
	} {
		before := proto.Clone(m)
		redacted := envoy.Redacted(m)
		if !proto.Equal(before, m) {
			t.Errorf("%s: the message itself was changed", name)
		}
		text, err := protojson.Marshal(redacted)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "hidden") || strings.Contains(string(text), "aGlkZGVu") || !strings.Contains(string(text), "plain") {
			t.Errorf("%s: %s", name, text)
		}
		if !proto.Equal(envoy.Redacted(redacted), redacted) {
			t.Errorf("%s: redacting twice is not redacting once", name)
		}
	}
	unknown := &corev3.TypedExtensionConfig{Name: "plain", TypedConfig: &anypb.Any{TypeUrl: "x/no.such.Type", Value: []byte("hidden")}}
	if redacted := envoy.Redacted(unknown).(*corev3.TypedExtensionConfig); len(redacted.GetTypedConfig().GetValue()) > 0 {
		t.Errorf("what nobody can read is shown: %v", redacted)
	}
}
