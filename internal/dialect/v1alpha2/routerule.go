package v1alpha2

import (
	"fmt"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// translateRouteRule checks a RouteRule and says what it means.
func translateRouteRule(o *config.Object, domain string) (config.Meaning, []mesh.Problem) {
	t := &translator{Check: config.Check{Object: o}, domain: domain}
	var spec routeRule
	t.Decode("spec", &spec)
	rule := &mesh.RouteRule{Object: o.Ref, Origin: o.Origin, Precedence: int(spec.Precedence)}
	rule.Destination = t.destination(spec.Destination)
	if spec.Match != nil {
		t.match(rule, spec.Match)
	}
	rule.Routes = t.routes(rule.Destination, spec.Route)
	t.timeout(rule, spec.HTTPReqTimeout)
	t.retries(rule, spec.HTTPReqRetries)
	if spec.HTTPFault != nil {
		rule.Fault = t.fault(spec.HTTPFault)
	}
	return config.Meaning{Rules: []*mesh.RouteRule{rule}, Mentions: t.mentions}, t.Problems
}

func (t *translator) destination(s *istioService) mesh.Host {
	const field = "spec.destination"
	if s == nil {
		t.Missing(field, "a route rule needs a destination: the service whose requests it steers")
		return ""
	}
	if len(s.Labels) > 0 {
		t.Tell(mesh.Problem{
			Field: field + ".labels", Code: config.CodeConflictingFields,
			Message: "a rule is for every version of its destination", Hint: "labels of the versions to route to stand in route",
		})
	}
	host := t.service(field, s)
	t.mention(field, host, nil)
	return host
}

// routes returns the weighted routes of a rule for destination.
func (t *translator) routes(destination mesh.Host, routes []weightedRoute) []mesh.WeightedRoute {
	var all []mesh.WeightedRoute
	sum := 0
	for i, r := range routes {
		field := config.Item("spec.route", i)
		if r.Weight < 0 || r.Weight > 100 {
			t.Tell(mesh.Problem{
				Field: field + ".weight", Code: config.CodeOutOfRange,
				Message: fmt.Sprintf("the weight %d is not between 0 and 100", r.Weight),
			})
		}
		sum += int(r.Weight)
		all = append(all, t.route(field, destination, r))
	}
	switch {
	case len(all) == 0:
	case len(all) == 1 && sum == 0:
		all[0].Weight = 100
	case sum != 100:
		t.Tell(mesh.Problem{
			Field: "spec.route", Code: config.CodeWeightSum,
			Message: fmt.Sprintf("the weights add up to %d, not to 100", sum),
		})
	}
	for i, r := range all {
		if len(r.Labels) > 0 && r.Weight > 0 { // a version that gets nothing need not run yet
			t.mention(config.Item("spec.route", i)+".labels", r.Host, r.Labels)
		}
	}
	return all
}

func (t *translator) route(field string, destination mesh.Host, r weightedRoute) mesh.WeightedRoute {
	t.labels(field+".labels", r.Labels)
	to := mesh.WeightedRoute{Host: destination, Labels: r.Labels, Weight: int(r.Weight)}
	if r.Destination != nil {
		if len(r.Destination.Labels) > 0 {
			t.Tell(mesh.Problem{
				Field: field + ".destination.labels", Code: config.CodeConflictingFields,
				Message: "a destination has no labels of its own", Hint: "write labels beside destination, not in it",
			})
		}
		to.Host = t.service(field+".destination", r.Destination)
		t.mention(field+".destination", to.Host, nil)
	}
	if len(r.Labels) == 0 {
		to.Labels = nil
	}
	return to
}

func (t *translator) timeout(rule *mesh.RouteRule, timeout *httpTimeout) {
	const field = "spec.httpReqTimeout.simpleTimeout"
	switch {
	case timeout == nil:
	case timeout.Simple == nil:
		t.Missing(field, "the timeout is missing: write {simpleTimeout: {timeout: 10s}}")
	default:
		span := mesh.Duration(t.Span(field+".timeout", timeout.Simple.Timeout))
		rule.Timeout = &span
	}
}

func (t *translator) retries(rule *mesh.RouteRule, retries *httpRetries) {
	const field = "spec.httpReqRetries.simpleRetry"
	switch {
	case retries == nil:
		return
	case retries.Simple == nil:
		t.Missing(field, "the retries are missing: write {simpleRetry: {attempts: 3, perTryTimeout: 2s}}")
		return
	case retries.Simple.Attempts < 0:
		t.Tell(mesh.Problem{
			Field: field + ".attempts", Code: config.CodeOutOfRange,
			Message: fmt.Sprintf("%d attempts are less than none", retries.Simple.Attempts),
		})
	}
	rule.Retries = &mesh.Retries{
		Attempts: int(retries.Simple.Attempts),
		PerTry:   mesh.Duration(t.Span(field+".perTryTimeout", retries.Simple.PerTryTimeout)),
	}
}
