// Package ingress is the dialect of Kubernetes Ingress objects (networking.k8s.io/v1): which requests from outside
// the mesh go to which service.
//
// [Kinds] gives what the dialect understands. Each path of an Ingress becomes a [mesh.DoorRule]. Objects that name
// another class than ours belong to another ingress and mean nothing here, whatever stands in them. Hosts, TLS and
// resource backends are problems until they are supported.
package ingress

import (
	"slices"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

const apiVersion = "networking.k8s.io/v1"

// classAnnotation named the class before spec.ingressClassName did; it goes first, as in Kubernetes' own controllers.
const classAnnotation = "kubernetes.io/ingress.class"

// Kinds returns the kinds of this dialect, for a mesh whose services live under domain ("cluster.local").
func Kinds(domain string) config.Kinds {
	return config.Kinds{{
		Name: "Ingress", APIVersions: []string{apiVersion}, Type: "ingress", Plural: "ingresses", Short: []string{"ing"},
		Translate: func(o *config.Object) (config.Meaning, []mesh.Problem) {
			return translate(o, domain)
		},
	}}
}

// isOurs tells whether an Ingress of this class is for the door of the mesh. "istio" is what Istio's users wrote.
func isOurs(class string) bool { return slices.Contains([]string{"", "lateen", "istio"}, class) }
