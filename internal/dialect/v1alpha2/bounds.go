package v1alpha2

import (
	"fmt"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// timeout adds the bound on the whole response to the rule; 0s means that there is none.
func (t *translator) timeout(rule *mesh.RouteRule, timeout *httpTimeout) {
	if timeout == nil {
		return
	}
	const field = "spec.httpReqTimeout.simpleTimeout"
	t.refuse("spec.httpReqTimeout.custom", timeout.Custom, "custom timeouts are not supported", "write simpleTimeout")
	if timeout.Simple == nil {
		t.Missing(field, "the timeout is missing: write {simpleTimeout: {timeout: 10s}}")
		return
	}
	var span mesh.Duration
	if simple := timeout.Simple; simple.Timeout == nil || *simple.Timeout != 0 {
		span = mesh.Duration(t.Span(field+".timeout", simple.Timeout))
	}
	rule.Timeout = &span
	rule.TimeoutHeader = t.override(field, timeout.Simple.OverrideHeaderName)
}

// retries adds to the rule how often a request is tried again.
func (t *translator) retries(rule *mesh.RouteRule, retries *httpRetries) {
	if retries == nil {
		return
	}
	const field = "spec.httpReqRetries.simpleRetry"
	t.refuse("spec.httpReqRetries.custom", retries.Custom, "custom retries are not supported", "write simpleRetry")
	simple := retries.Simple
	if simple == nil {
		t.Missing(field, "the retries are missing: write {simpleRetry: {attempts: 3, perTryTimeout: 2s}}")
		return
	}
	if *simple == (simpleRetry{}) {
		t.Missing(field+".attempts", "the number of attempts beyond the first is missing, such as 3")
	}
	rule.Retries = &mesh.Retries{Header: t.override(field, simple.OverrideHeaderName)}
	if simple.Attempts != nil {
		rule.Retries.Attempts = int(*simple.Attempts)
	}
	if rule.Retries.Attempts < 0 {
		t.Tell(mesh.Problem{
			Field: field + ".attempts", Code: config.CodeOutOfRange,
			Message: fmt.Sprintf("%d attempts are less than none", rule.Retries.Attempts),
		})
	}
	if simple.PerTryTimeout != nil {
		rule.Retries.PerTry = mesh.Duration(t.Span(field+".perTryTimeout", simple.PerTryTimeout))
	}
}
