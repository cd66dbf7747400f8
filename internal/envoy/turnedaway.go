package envoy

import (
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	celv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/filters/cel/v3"

	"github.com/lateen-mesh/lateen/internal/plan"
)

// logTurnedAway has a listener log the connections that are turned away, and why: they never reach what logs requests.
func logTurnedAway(l *listenerv3.Listener, p plan.InboundListener) error {
	if p.NoLog {
		return nil
	}
	noChain := &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ResponseFlagFilter{
		ResponseFlagFilter: &accesslogv3.ResponseFlagFilter{Flags: []string{"NR"}},
	}}
	noHandshake, err := connectionWhere("xds.filter_chain_name == '" + mutualWord + "' && connection.transport_failure_reason != '' && response.flags == 0")
	if err != nil {
		return err
	}
	elsewhere, err := connectionWhere(inPlace(anotherPlace))
	if err != nil {
		return err
	}
	for _, away := range []struct {
		rule, why string
		where     *accesslogv3.AccessLogFilter
	}{
		{plan.NotProven, "%RESPONSE_CODE_DETAILS%", noChain},
		{plan.NotTrusted, "%DOWNSTREAM_TRANSPORT_FAILURE_REASON%", noHandshake},
		{plan.AnotherAddress, "given_to_%DOWNSTREAM_PEER_DNS_SAN%_at_%DOWNSTREAM_PEER_IP_SAN%", elsewhere},
	} {
		place := inboundPlace(p, false)
		place["rule"], place["details"] = away.rule, away.why
		if away.rule == plan.NotTrusted {
			place["peer"] = "%UPSTREAM_PEER_URI_SAN%" // there is none: what the certificate says of the caller is not proven
		}
		log, err := accessLog(place)
		if err != nil {
			return err
		}
		log.Filter = away.where
		l.AccessLog = append(l.AccessLog, log)
	}
	return nil
}

// connectionWhere chooses connections by an expression of CEL.
func connectionWhere(expression string) (*accesslogv3.AccessLogFilter, error) {
	config, err := pack(&celv3.ExpressionFilter{Expression: expression})
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ExtensionFilter{
		ExtensionFilter: &accesslogv3.ExtensionFilter{
			Name: "envoy.access_loggers.extension_filters.cel", ConfigType: &accesslogv3.ExtensionFilter_TypedConfig{TypedConfig: config},
		},
	}}, err
}
