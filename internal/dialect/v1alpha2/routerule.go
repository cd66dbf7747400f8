package v1alpha2

import (
	"fmt"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// routeRule checks a RouteRule and says what it means.
func (t *translator) routeRule() config.Meaning {
	var spec routeRule
	t.Decode("spec", &spec)
	rule := &mesh.RouteRule{Object: t.Object.Ref, Origin: t.Object.Origin, Precedence: int(spec.Precedence)}
	rule.Destination = t.destination(spec.Destination)
	if spec.Match != nil {
		t.match(rule, spec.Match)
	}
	rule.Routes = t.routes(rule.Destination, spec.Route)
	if spec.Redirect != nil {
		t.alone(&spec)
		rule.Redirect = (*mesh.Redirect)(t.place("spec.redirect", spec.Redirect))
	}
	if spec.Rewrite != nil {
		rule.Rewrite = (*mesh.Rewrite)(t.place("spec.rewrite", spec.Rewrite))
	}
	t.timeout(rule, spec.HTTPReqTimeout)
	t.retries(rule, spec.HTTPReqRetries)
	rule.Fault = t.fault(spec.HTTPFault, spec.L4Fault)
	if spec.Mirror != nil {
		host := t.oneHost("spec.mirror", spec.Mirror)
		rule.Mirror = &mesh.Target{Host: host, Labels: t.target("spec.mirror", host, spec.Mirror)}
	}
	if spec.CorsPolicy != nil {
		rule.CORS = t.cors(spec.CorsPolicy)
	}
	rule.Append = t.appended("spec.appendHeaders", spec.AppendHeaders)
	return config.Meaning{Rules: []*mesh.RouteRule{rule}}
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
	host := t.host(field, s)
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
		to.Host = t.routeHost(field+".destination", destination, r.Destination)
	}
	if len(r.Labels) == 0 {
		to.Labels = nil
	}
	return to
}

// routeHost returns the host of a route: any one host, or the wildcard that the rule itself is for.
func (t *translator) routeHost(field string, destination mesh.Host, s *istioService) mesh.Host {
	if len(s.Labels) > 0 {
		t.Tell(mesh.Problem{
			Field: field + ".labels", Code: config.CodeConflictingFields,
			Message: "a destination has no labels of its own", Hint: "write labels beside destination, not in it",
		})
	}
	host := t.host(field, s)
	if host != destination {
		host = t.oneHost(field, s)
	}
	t.mention(field, host, nil)
	return host
}
