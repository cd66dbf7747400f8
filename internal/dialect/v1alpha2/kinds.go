// Package v1alpha2 is the dialect config.istio.io/v1alpha2: the objects with which users of Istio 0.2 and 0.3 steer
// requests.
//
// [Kinds] gives what the dialect understands: for now RouteRule. An object's spec is decoded into the types of this
// package, which hold every field that there ever was, checked as a whole, and said again as [mesh.RouteRule]. Fields
// that Lateen does not support yet are problems, never ignored.
//
// Where Istio's code fell behind its documentation, the documentation counts: a fault without percent concerns every
// request, a match on uri matches the path, a source may be given by labels alone.
package v1alpha2

import (
	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

const apiVersion = "config.istio.io/v1alpha2"

// Kinds returns the kinds of this dialect, for a mesh whose services live under domain ("cluster.local").
func Kinds(domain string) config.Kinds {
	return config.Kinds{{
		Name: "RouteRule", APIVersions: []string{apiVersion}, Type: "route-rule", Plural: "routerules",
		Translate: func(o *config.Object) (config.Meaning, []mesh.Problem) {
			return translateRouteRule(o, domain)
		},
	}}
}
