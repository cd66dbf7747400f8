package v1alpha2

import (
	"fmt"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// fault returns what a rule does to requests on purpose, or nil when it concerns none of them.
func (t *translator) fault(f *httpFault) *mesh.Fault {
	m := &mesh.Fault{}
	if f.Delay != nil {
		const field = "spec.httpFault.delay"
		percent := t.percent(field, f.Delay.Percent)
		fixed := t.Span(field+".fixedDelay", f.Delay.FixedDelay)
		if percent > 0 {
			m.Delay = &mesh.Delay{Percent: percent, Fixed: mesh.Duration(fixed)}
		}
	}
	if f.Abort != nil {
		const field = "spec.httpFault.abort"
		percent := t.percent(field, f.Abort.Percent)
		status := t.status(field+".httpStatus", f.Abort.HTTPStatus)
		if percent > 0 {
			m.Abort = &mesh.Abort{Percent: percent, Status: status}
		}
	}
	if m.Delay == nil && m.Abort == nil {
		return nil
	}
	return m
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

// status returns the HTTP status of an abort. Proxies answer with 200 to 599 only.
func (t *translator) status(field string, status *int32) int {
	if status == nil {
		t.Missing(field, "the HTTP status to answer with is missing, such as 503")
		return 0
	}
	if *status < 200 || *status > 599 {
		t.Tell(mesh.Problem{
			Field: field, Code: config.CodeOutOfRange, Message: fmt.Sprintf("%d is no HTTP status from 200 to 599", *status),
		})
	}
	return int(*status)
}
