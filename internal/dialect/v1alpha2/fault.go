package v1alpha2

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// fault returns what a rule does on purpose, or nil when it concerns no request and no connection.
func (t *translator) fault(http *httpFault, l4 *l4Fault) *mesh.Fault {
	m := mesh.Fault{}
	if http != nil && http.Delay != nil {
		m.Delay = t.delay("spec.httpFault.delay", http.Delay)
	}
	if http != nil && http.Abort != nil {
		m.Abort = t.abort("spec.httpFault.abort", http.Abort)
	}
	if l4 != nil && l4.Throttle != nil {
		m.Throttle = t.throttle("spec.l4Fault.throttle", l4.Throttle)
	}
	if l4 != nil && l4.Terminate != nil {
		m.Terminate = t.terminate("spec.l4Fault.terminate", l4.Terminate)
	}
	if m == (mesh.Fault{}) {
		return nil
	}
	return &m
}

// delay returns the delay, or nil when it concerns no request. With a header alone, only requests that carry it wait.
func (t *translator) delay(field string, d *delay) *mesh.Delay {
	m := mesh.Delay{Percent: t.percent(field, d.Percent), Header: t.override(field, d.OverrideHeaderName)}
	t.refuse(field+".exponentialDelay", d.ExponentialDelay, "Envoy knows no delays of random length", "write fixedDelay")
	if d.FixedDelay != nil || m.Header == "" {
		m.Fixed = mesh.Duration(t.Span(field+".fixedDelay", d.FixedDelay))
	}
	if m.Percent == 0 {
		return nil
	}
	return &m
}

// abort returns the abort, or nil when it concerns no request. With a header alone, only requests that carry it are answered.
func (t *translator) abort(field string, a *abort) *mesh.Abort {
	m := mesh.Abort{Percent: t.percent(field, a.Percent), Header: t.override(field, a.OverrideHeaderName)}
	t.refuse(field+".http2Error", a.HTTP2Error, "Envoy cannot end a stream with a chosen error of HTTP/2", "write httpStatus or grpcStatus")
	switch {
	case a.GRPCStatus != nil && a.HTTPStatus != nil:
		t.Tell(mesh.Problem{
			Field: field + ".grpcStatus", Code: config.CodeConflictingFields, Message: "httpStatus and grpcStatus exclude one another",
		})
	case a.GRPCStatus != nil:
		m.GRPC = t.grpcStatus(field+".grpcStatus", string(*a.GRPCStatus))
	case a.HTTPStatus != nil:
		m.Status = t.httpStatus(field+".httpStatus", *a.HTTPStatus)
	case m.Header == "":
		t.Missing(field+".httpStatus", "the HTTP status to answer with is missing, such as 503")
	}
	if m.Percent == 0 {
		return nil
	}
	return &m
}

// percent returns the share of requests of the fault at field: all of them unless it says otherwise.
func (t *translator) percent(field string, p *float64) float64 {
	const all = 100
	switch {
	case p == nil:
		return all
	case *p < 0 || *p > all:
		t.Tell(mesh.Problem{
			Field: field + ".percent", Code: config.CodeOutOfRange, Message: fmt.Sprintf("%v percent is not between 0 and 100", *p),
		})
	}
	return *p
}

// httpStatus checks the HTTP status of an abort. Proxies answer with 200 to 599 only.
func (t *translator) httpStatus(field string, status int32) int {
	if status < 200 || status > 599 {
		t.Tell(mesh.Problem{
			Field: field, Code: config.CodeOutOfRange, Message: fmt.Sprintf("%d is no HTTP status from 200 to 599", status),
		})
	}
	return int(status)
}

// grpcStatuses are the names of gRPC's status codes, each at its number.
var grpcStatuses = []string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
	"RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE",
	"DATA_LOSS", "UNAUTHENTICATED",
}

// grpcStatus returns the status code of gRPC that a name in any case, or a number, means.
func (t *translator) grpcStatus(field, text string) *int {
	code, err := strconv.Atoi(text)
	switch {
	case err != nil:
		code = slices.Index(grpcStatuses, strings.ToUpper(text))
		if code < 0 {
			t.Tell(mesh.Problem{
				Field: field, Code: config.CodeInvalidValue, Message: fmt.Sprintf("%.70q is no status of gRPC", text),
				Hint: config.Suggest(text, "known names", grpcStatuses),
			})
		}
	case code < 0 || code >= len(grpcStatuses):
		t.Tell(mesh.Problem{
			Field: field, Code: config.CodeOutOfRange, Message: fmt.Sprintf("%d is no status of gRPC from 0 to %d", code, len(grpcStatuses)-1),
		})
	}
	return &code
}

// throttle returns the bound on the speed of responses, or nil when it concerns none.
func (t *translator) throttle(field string, l *throttle) *mesh.Throttle {
	const hint = "write downstreamLimitBps, which bounds responses from their first byte on"
	t.refuse(field+".upstreamLimitBps", l.UpstreamLimitBps, "Envoy cannot slow requests down", hint)
	t.refuse(field+".throttleAfterPeriod", l.ThrottleAfterPeriod, "Envoy cannot begin to throttle after a time", hint)
	t.refuse(field+".throttleAfterBytes", l.ThrottleAfterBytes, "Envoy cannot begin to throttle after a number of bytes", hint)
	t.refuse(field+".throttleForPeriod", l.ThrottleForPeriod, "Envoy cannot stop to throttle after a time", hint)
	percent := t.percent(field, l.Percent)
	field += ".downstreamLimitBps"
	if l.DownstreamLimitBps == nil {
		t.Missing(field, "the bound is missing: the bits per second of a response, such as 800000")
		return nil
	}
	bits := *l.DownstreamLimitBps
	if bits < 1 {
		t.Tell(mesh.Problem{
			Field: field, Code: config.CodeOutOfRange, Message: fmt.Sprintf("%d bits per second are less than one", bits),
		})
	}
	if percent == 0 {
		return nil
	}
	const kib = 8 << 10              // bits
	rounded := int((bits-1)/kib) + 1 // up, without overflow
	return &mesh.Throttle{Percent: percent, KiBPerSecond: rounded}
}

// terminate returns when connections end, or nil when none does.
func (t *translator) terminate(field string, l *terminate) *mesh.Terminate {
	percent := t.percent(field, l.Percent)
	if percent > 0 && percent < 100 {
		t.Tell(mesh.Problem{
			Field: field + ".percent", Code: config.CodeUnsupportedField, Message: "Envoy cannot end a share of the connections only",
			Hint: "leave percent out, and every connection ends",
		})
	}
	after := mesh.Duration(t.Span(field+".terminateAfterPeriod", l.TerminateAfterPeriod))
	if percent == 0 {
		return nil
	}
	return &mesh.Terminate{After: after}
}
