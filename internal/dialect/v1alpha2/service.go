package v1alpha2

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// translator translates one object.
type translator struct {
	config.Check
	domain   string
	mentions []config.Mention
}

// service returns the host that s names, for an object in the translator's namespace, and checks s on the way.
func (t *translator) service(field string, s *istioService) mesh.Host {
	t.labels(field+".labels", s.Labels)
	switch {
	case s.Service != "" && (s.Name != "" || s.Namespace != "" || s.Domain != ""):
		t.Tell(mesh.Problem{
			Field: field + ".service", Code: config.CodeConflictingFields,
			Message: "service is a full name: name, namespace and domain cannot stand beside it",
		})
	case s.Service != "":
		if !isDestination(s.Service) {
			t.Tell(mesh.Problem{
				Field: field + ".service", Code: config.CodeInvalidName,
				Message: fmt.Sprintf("%q is not a host: want a domain name in lower case, which may begin with *", s.Service),
			})
		}
		return mesh.Host(s.Service)
	case s.Name == "":
		t.Missing(field+".name", "a service needs a name, or its full name as service")
		return ""
	}
	return t.named(field, s)
}

// named returns the host of a service that is given by name, namespace and domain.
func (t *translator) named(field string, s *istioService) mesh.Host {
	if !config.IsLabel(s.Name) {
		p := mesh.Problem{
			Field: field + ".name", Code: config.CodeInvalidName,
			Message: fmt.Sprintf(`%q is not the name of a service: lower-case letters, digits and "-" are allowed`, s.Name),
		}
		if config.IsDomain(s.Name) {
			p.Hint = "write a full name as service: " + s.Name
		}
		t.Tell(p)
	}
	namespace := s.Namespace
	if namespace == "" {
		namespace = t.Object.Namespace
	}
	if !config.IsLabel(namespace) {
		t.Tell(mesh.Problem{
			Field: field + ".namespace", Code: config.CodeInvalidName,
			Message: fmt.Sprintf(`%q is not a namespace: lower-case letters, digits and "-" are allowed`, namespace),
		})
	}
	if s.Domain == "" {
		return mesh.ServiceHost(s.Name, namespace, t.domain)
	}
	if !config.IsDomain(s.Domain) {
		t.Tell(mesh.Problem{
			Field: field + ".domain", Code: config.CodeInvalidName,
			Message: fmt.Sprintf("%q is not a domain name in lower case", s.Domain),
		})
	}
	return mesh.Host(s.Name + "." + namespace + "." + s.Domain)
}

// isDestination tells whether s is a domain name that may begin with "*".
func isDestination(s string) bool {
	rest, wild := strings.CutPrefix(s, "*")
	if !wild {
		return config.IsDomain(s)
	}
	return rest == "" || config.IsDomain("x"+rest)
}

// labels checks keys and values against what Istio allows.
func (t *translator) labels(field string, labels map[string]string) {
	const allowed = `letters, digits and "-", "_", ".", "/" are allowed`
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		if key == "" {
			t.Tell(mesh.Problem{Field: config.Key(field, key), Code: config.CodeInvalidValue, Message: "a label needs a key"})
		}
		for _, word := range []string{key, labels[key]} {
			if strings.IndexFunc(word, notInLabel) >= 0 {
				t.Tell(mesh.Problem{
					Field: config.Key(field, key), Code: config.CodeInvalidValue,
					Message: fmt.Sprintf("%q cannot stand in a label: %s", word, allowed),
				})
			}
		}
	}
}

func notInLabel(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_./", r)
}

// mention notes that the object names host, with labels of its endpoints, at field.
func (t *translator) mention(field string, host mesh.Host, labels mesh.Labels) {
	t.mentions = append(t.mentions, config.Mention{Host: host, Labels: labels, Field: field, Position: t.Object.At(field)})
}
