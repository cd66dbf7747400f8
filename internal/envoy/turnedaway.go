package envoy

import (
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	celv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/filters/cel/v3"

	"github.com/lateen-mesh/lateen/internal/plan"
)

// turnedAway logs the connections that are turned away, and why: they never reach what logs requests.
func turnedAway(p plan.InboundListener) ([]*accesslogv3.AccessLog, error) {
	noChain := &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ResponseFlagFilter{
		ResponseFlagFilter: &accesslogv3.ResponseFlagFilter{Flags: []string{"NR"}},
	}}
	noHandshake, err := connectionWhere("connection.transport_failure_reason != '' && response.flags == 0")
	if err != nil {
		return nil, err
	}
	denied, err := connectionWhere("connection.termination_details != ''")
	if err != nil {
		return nil, err
	}
	var logs []*accesslogv3.AccessLog
	for _, l := range []struct {
		rule, why string
		where     *accesslogv3.AccessLogFilter
	}{
		{plan.NotProven, "%RESPONSE_CODE_DETAILS%", noChain},
		{plan.NotTrusted, "%DOWNSTREAM_TRANSPORT_FAILURE_REASON%", noHandshake},
		{plan.AnotherAddress, "%CONNECTION_TERMINATION_DETAILS%", denied},
	} {
		place := inboundPlace(p, plainCaller)
		place["rule"], place["details"] = l.rule, l.why
		log, err := accessLog(place)
		if err != nil {
			return nil, err
		}
		log.Filter = l.where
		logs = append(logs, log)
	}
	return logs, nil
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
