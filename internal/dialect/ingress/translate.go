package ingress

import (
	"fmt"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// everything takes every path.
var everything = mesh.StringMatch{Kind: mesh.MatchElements, Value: "/"}

// translator translates one Ingress.
type translator struct {
	config.Check
	domain  string
	old     bool // a version before networking.k8s.io/v1
	tlsOnly bool
	meaning config.Meaning
}

// content is the spec of any version, with backends of the form B.
type content[B any] struct {
	tls           []tlsItem
	rules         []rule[B]
	fallback      *B     // the default backend, or nil
	fallbackField string // where that stands
	backend       func(field string, b *B) mesh.Backend
}

// translate checks an Ingress and says what it means.
func translate(o *config.Object, domain string) (config.Meaning, []mesh.Problem) {
	t := &translator{Check: config.Check{Object: o}, domain: domain, old: o.APIVersion != apiVersion}
	if t.old {
		var s oldSpec
		t.Decode("spec", &s)
		return read(t, content[oldBackend]{s.TLS, s.Rules, s.Backend, "spec.backend", t.oldBackend})
	}
	var s spec
	t.Decode("spec", &s)
	return read(t, content[backend]{s.TLS, s.Rules, s.DefaultBackend, "spec.defaultBackend", t.backend})
}

func read[B any](t *translator, c content[B]) (config.Meaning, []mesh.Problem) {
	if c.fallback == nil && len(c.rules) == 0 {
		t.Missing("spec.rules", "an Ingress needs rules or a "+c.fallbackField[len("spec."):])
	}
	t.allowHTTP()
	t.tls(c.tls)
	var fallback mesh.Backend
	if c.fallback != nil {
		fallback = c.backend(c.fallbackField, c.fallback)
		t.add(c.fallbackField, mesh.DoorRule{Path: everything, Default: true, Backend: fallback})
	}
	for i, r := range c.rules {
		field := config.Item("spec.rules", i)
		host := t.host(field+".host", r.Host)
		if r.HTTP == nil {
			// As in Kubernetes: such a rule leaves everything to the default backend.
			if c.fallback != nil && host != "" {
				t.add(field, mesh.DoorRule{Host: host, Path: everything, Backend: fallback})
			}
			continue
		}
		if len(r.HTTP.Paths) == 0 {
			t.Missing(field+".http.paths", "a rule needs at least one path")
		}
		for j, p := range r.HTTP.Paths {
			field := config.Item(field+".http.paths", j)
			match := t.path(field, p.Path, p.PathType)
			if p.Backend == nil {
				t.Missing(field+".backend", "the backend is missing: the service that answers")
				continue
			}
			t.add(field, mesh.DoorRule{Host: host, Path: match, Backend: c.backend(field+".backend", p.Backend)})
		}
	}
	return t.meaning, t.Problems
}

// add adds a rule that stands at field.
func (t *translator) add(field string, rule mesh.DoorRule) {
	rule.Object, rule.Origin, rule.TLSOnly = t.Object.Ref, t.Object.At(field), t.tlsOnly
	rule.AnyDepth = t.old && isWildcard(rule.Host)
	t.meaning.Doors = append(t.meaning.Doors, &rule)
}

// allowHTTP reads the annotation of this name.
func (t *translator) allowHTTP() {
	switch value, there := t.Object.Annotations[allowHTTPAnnotation]; {
	case value == "false":
		t.tlsOnly = true
	case there && value != "true":
		t.Tell(mesh.Problem{
			Field: config.Key("metadata.annotations", allowHTTPAnnotation), Code: config.CodeInvalidValue,
			Message: fmt.Sprintf(`%.60q is neither "true" nor "false"`, value),
		})
	}
}

// tls adds what the object says of certificates.
func (t *translator) tls(items []tlsItem) {
	for i, item := range items {
		field := config.Item("spec.tls", i)
		door := &mesh.DoorTLS{Object: t.Object.Ref, Origin: t.Object.At(field), Secret: t.Object.Namespace + "/" + item.SecretName}
		for j, host := range item.Hosts {
			at := config.Item(field+".hosts", j)
			if host == "" {
				t.Missing(at, "the host is empty")
			}
			if host = t.host(at, host); host != "" { // "*" is every host
				door.Hosts = append(door.Hosts, host)
			}
		}
		if len(door.Hosts) < len(item.Hosts) {
			door.Hosts = nil
		}
		switch {
		case item.SecretName == "":
			t.Missing(field+".secretName", "the name of the Secret that holds the certificate is missing")
		case !config.IsDomain(item.SecretName):
			t.Tell(mesh.Problem{
				Field: field + ".secretName", Code: config.CodeInvalidName,
				Message: fmt.Sprintf("%.70q is not the name of a Secret", item.SecretName),
			})
		}
		t.meaning.DoorTLS = append(t.meaning.DoorTLS, door)
	}
}
