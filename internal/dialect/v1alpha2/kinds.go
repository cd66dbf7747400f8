// Package v1alpha2 is the dialect config.istio.io/v1alpha2: the objects with which users of Istio 0.2 and 0.3 steer
// requests.
//
// [Kinds] gives what the dialect understands: RouteRule, DestinationPolicy and EgressRule. An object's spec is decoded
// into the types of this package, which hold every field that there ever was, checked as a whole, and said again in the
// words of package mesh. A field that no proxy can obey is a problem, never ignored, with one exception:
// websocketUpgrade is accepted and means nothing, since proxies let every WebSocket pass.
//
// Where Istio's code fell behind its documentation, the documentation counts: a fault without percent concerns every
// request, a match on uri matches the path, a value alone is an exact match, a source may be given by labels alone,
// names of headers to add or to allow stand in any case.
package v1alpha2

import (
	"reflect"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

const (
	apiVersion = "config.istio.io/v1alpha2"
	// samplesVersion stands in files that came with Istio, though no API server ever knew it.
	samplesVersion = "config.istio.io/v1beta1"
)

// Kinds returns the kinds of this dialect, for a mesh whose services live under domain ("cluster.local").
func Kinds(domain string) config.Kinds {
	bind := func(translate func(*translator) config.Meaning) func(*config.Object) (config.Meaning, []mesh.Problem) {
		return func(o *config.Object) (config.Meaning, []mesh.Problem) {
			t := &translator{Check: config.Check{Object: o}, domain: domain}
			meaning := translate(t)
			meaning.Mentions = t.mentions
			return meaning, t.Problems
		}
	}
	destination := config.Column{Name: "Destination", Type: "string", Path: ".spec.destination['name','service']"}
	return config.Kinds{{
		Name: "RouteRule", APIVersions: []string{apiVersion}, Type: "route-rule", Plural: "routerules", Short: []string{"rr"},
		Spec:      reflect.TypeFor[routeRule](),
		Columns:   []config.Column{destination, {Name: "Precedence", Type: "integer", Path: ".spec.precedence"}},
		Translate: bind((*translator).routeRule),
	}, {
		Name: "DestinationPolicy", APIVersions: []string{apiVersion, samplesVersion},
		Type: "destination-policy", Plural: "destinationpolicies", Short: []string{"dp"},
		Spec:      reflect.TypeFor[destinationPolicy](),
		Columns:   []config.Column{destination},
		Translate: bind((*translator).destinationPolicy),
	}, {
		Name: "EgressRule", APIVersions: []string{apiVersion}, Type: "egress-rule", Plural: "egressrules", Short: []string{"er"},
		Spec:      reflect.TypeFor[egressRule](),
		Columns:   []config.Column{destination},
		Translate: bind((*translator).egressRule),
	}}
}
