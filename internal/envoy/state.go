package envoy

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	commonstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	setfilterstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/set_filter_state/v3"
	celv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/formatter/cel/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

// Keys of the state of connections.
const (
	// sourceState and dialledState are where listeners put the address of the caller, and the one that it dialled, for
	// routes that ask for them.
	sourceState  = "lateen.source"
	dialledState = "lateen.dialled"

	// provenState has the addresses in the caller's certificate, "-" for none, remoteState the one that it comes from, and
	// placeState what follows: ownPlace or anotherPlace. givenState has for the access log who the certificate was given to, and
	// where. Who has proven nothing has none of them.
	provenState  = "lateen.proven-address"
	remoteState  = "lateen.remote-address"
	givenState   = "lateen.given"
	placeState   = "lateen.place"
	ownPlace     = "own"
	anotherPlace = "another"

	// targetState is where Envoy looks for the address of a cluster whose connections each say it. Without one there is nowhere
	// to go.
	targetState = "envoy.network.transport_socket.original_dst_address"
)

// What values of a connection's state are.
const (
	addressKind = "envoy.network.ip"
	textKind    = "envoy.string"
	targetKind  = targetState
)

// A stateValue is a value of a connection's state, written as those of the access log are. CEL reads it as bytes.
type stateValue struct{ key, kind, format string }

// setState sets values, in their order, of each new connection, and others when its TLS handshake has succeeded.
func setState(early, proven []stateValue) (*listenerv3.Filter, error) {
	expressions, err := pack(&celv3.Cel{CelConfig: &corev3.CelExpressionConfig{EnableStringConversion: true}})
	if err != nil {
		return nil, err
	}
	config, err := pack(&setfilterstatev3.Config{
		OnNewConnection: stateValues(early, expressions), OnDownstreamTlsHandshake: stateValues(proven, expressions),
	})
	return &listenerv3.Filter{
		Name: "envoy.filters.network.set_filter_state", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: config},
	}, err
}

// stateValues returns the values with what reads the expressions among them: one that turns bytes into text, which are short.
func stateValues(values []stateValue, expressions *anypb.Any) []*commonstatev3.FilterStateValue {
	var list []*commonstatev3.FilterStateValue
	for _, v := range values {
		var formatters []*corev3.TypedExtensionConfig
		if strings.HasPrefix(v.format, "%CEL(") {
			formatters = []*corev3.TypedExtensionConfig{{Name: celFormatter, TypedConfig: expressions}}
		}
		list = append(list, &commonstatev3.FilterStateValue{
			Key:        &commonstatev3.FilterStateValue_ObjectKey{ObjectKey: v.key},
			FactoryKey: v.kind,
			Value: &commonstatev3.FilterStateValue_FormatString{FormatString: &corev3.SubstitutionFormatString{
				Formatters: formatters,
				Format: &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: &corev3.DataSource{
					Specifier: &corev3.DataSource_InlineString{InlineString: v.format},
				}},
			}},
		})
	}
	return list
}
