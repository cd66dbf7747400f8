package envoy

import (
	"cmp"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/lateen-mesh/lateen/internal/plan"
)

// logConnections has a listener log connections for bytes, and those that are turned away, which never reach what logs requests. What
// it is told does not depend on what is accepted: a listener whose own logs change ends open connections.
func logConnections(l *listenerv3.Listener, p plan.InboundListener) error {
	if p.NoLog {
		return nil
	}
	if !p.HTTP {
		log, err := bytesLog(p, "xds.filter_chain_name in ['"+plainWord+"', '"+passedWord+"'] || "+inPlace(ownPlace))
		if err != nil {
			return err
		}
		l.AccessLog = append(l.AccessLog, log)
	}
	if p.TrustDomain == "" {
		return nil
	}
	log, err := turnedAwayLog(p)
	l.AccessLog = append(l.AccessLog, log)
	return err
}

// bytesLog is that of connections that are handed on as they are. Of callers who have proven nothing there is an address.
func bytesLog(p plan.InboundListener, where string) (*accesslogv3.AccessLog, error) {
	place := inboundPlace(p, `%COALESCE({"operators":["DOWNSTREAM_PEER_DNS_SAN","DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT"]})%`)
	place["rule"], place["details"] = "inbound", "%RESPONSE_CODE_DETAILS%"
	return connectionLog(place, where)
}

// turnedAwayLog tells why: there is a place when a handshake has succeeded, a reason when one has not, and else no filter chain.
func turnedAwayLog(p plan.InboundListener) (*accesslogv3.AccessLog, error) {
	place := inboundPlace(p, remoteValue)
	place["rule"] = "%CEL('" + placeState + "' in filter_state ? '" + plan.AnotherAddress + "' : xds.filter_chain_name == '" + mutualWord + "' ? '" +
		plan.NotTrusted + "' : '" + plan.NotProven + "')%"
	place["details"] = `%COALESCE({"operators":[{"command":"FILTER_STATE","param":"` + givenState + `:PLAIN"},` +
		`"RESPONSE_CODE_DETAILS","DOWNSTREAM_TRANSPORT_FAILURE_REASON"]})%`
	// What the certificate of a caller who is not trusted says is not proven.
	place["peer"] = "%CEL(" + inPlace(anotherPlace) + " ? connection.uri_san_peer_certificate : '')%"
	log, err := connectionLog(place, inPlace(anotherPlace)+
		" || xds.filter_chain_name == '"+mutualWord+"' && connection.transport_failure_reason != '' && response.flags == 0")
	if err != nil {
		return nil, err
	}
	log.Filter = &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_OrFilter{OrFilter: &accesslogv3.OrFilter{
		Filters: []*accesslogv3.AccessLogFilter{log.Filter, {FilterSpecifier: &accesslogv3.AccessLogFilter_ResponseFlagFilter{
			ResponseFlagFilter: &accesslogv3.ResponseFlagFilter{Flags: []string{"NR"}}, // no filter chain
		}}},
	}}}
	return log, nil
}

// inboundPlace is what the access log says of where it is and who called.
func inboundPlace(p plan.InboundListener, source string) logFormat {
	return logFormat{
		"source": source, "destination": cmp.Or(string(p.Host), dialledValue), "version": p.Version,
		"peer": "%DOWNSTREAM_PEER_URI_SAN%", "tls": "%DOWNSTREAM_TLS_VERSION%",
	}
}
