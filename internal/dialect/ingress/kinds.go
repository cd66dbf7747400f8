// Package ingress is the dialect of Kubernetes Ingress objects: which requests from outside the mesh go to which
// service, and which certificates are shown. It reads networking.k8s.io/v1 and the older v1beta1, whose paths may be
// regular expressions, and the Secrets that hold certificates.
//
// [Kinds] gives what the dialect understands. Each path of an Ingress becomes a [mesh.DoorRule], each item of its tls a
// [mesh.DoorTLS], each Secret of type kubernetes.io/tls a [mesh.Certificate]. Objects that are not of a class that the mesh's
// settings take belong to another ingress and mean nothing here, whatever stands in them. No problem holds anything of what a Secret
// holds.
package ingress

import (
	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// The versions of Ingress objects.
const (
	apiVersion    = "networking.k8s.io/v1"
	betaVersion   = "networking.k8s.io/v1beta1"
	oldestVersion = "extensions/v1beta1"
)

// classAnnotation named the class before spec.ingressClassName did; it goes first, as in Kubernetes' own controllers.
const (
	classAnnotation = "kubernetes.io/ingress.class"
	classField      = "spec.ingressClassName"
)

// allowHTTPAnnotation says, when it is "false", that the paths are there with TLS only.
const allowHTTPAnnotation = "kubernetes.io/ingress.allow-http"

// Kinds returns the kinds of this dialect, for a mesh whose services live under domain ("cluster.local").
func Kinds(domain string) config.Kinds {
	return config.Kinds{
		{
			Name: "Ingress", APIVersions: []string{apiVersion, betaVersion, oldestVersion},
			Type: "ingress", Plural: "ingresses", Short: []string{"ing"},
			Counts:    func(o *config.Object, s *mesh.Settings) bool { return s.Ingress.Takes(classOf(o)) },
			Translate: func(o *config.Object) (config.Meaning, []mesh.Problem) { return translate(o, domain) },
		},
		{
			Name: "Secret", APIVersions: []string{"v1"}, Type: "secret", Plural: "secrets", Confidential: true,
			Fields: []string{"type", "data", "stringData", "immutable"}, Translate: translateSecret,
		},
	}
}

// classOf returns how an Ingress says whose it is.
func classOf(o *config.Object) mesh.IngressClass {
	if class := o.Annotations[classAnnotation]; class != "" {
		return mesh.IngressClass{Name: class, Annotated: true}
	}
	var class string
	config.Decode(o, classField, &class)
	return mesh.IngressClass{Name: class}
}
