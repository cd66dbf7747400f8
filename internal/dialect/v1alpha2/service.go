package v1alpha2

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// translator translates one object.
type translator struct {
	config.Check
	domain   string
	mentions []config.Mention
}

// refuse reports a field, if it is there, that no proxy can obey.
func (t *translator) refuse(field string, value *yaml.Node, why, hint string) {
	if value != nil {
		t.Tell(mesh.Problem{Field: field, Code: config.CodeUnsupportedField, Message: why, Hint: hint})
	}
}

// mention notes that the object names host, with labels of its endpoints, at field.
func (t *translator) mention(field string, host mesh.Host, labels mesh.Labels) {
	t.mentions = append(t.mentions, config.Mention{Host: host, Labels: labels, Field: field, Position: t.Object.At(field)})
}

// target notes the host and labels that s at field selects, and returns the labels, nil for none.
func (t *translator) target(field string, host mesh.Host, s *istioService) mesh.Labels {
	t.mention(field, host, nil)
	if len(s.Labels) == 0 {
		return nil
	}
	t.mention(field+".labels", host, s.Labels)
	return s.Labels
}

// oneHost returns the host that s names, which may be neither a wildcard nor a network.
func (t *translator) oneHost(field string, s *istioService) mesh.Host {
	host := t.host(field, s)
	if strings.ContainsAny(string(host), "*/") {
		t.Tell(mesh.Problem{
			Field: field + ".service", Code: config.CodeInvalidValue,
			Message: fmt.Sprintf("%.70q is not one host: wildcards and networks can only be the destination of the whole object", host),
		})
	}
	return host
}

// host returns the host that s names, for an object in the translator's namespace, and checks s on the way. It may be a
// wildcard or a network, as an EgressRule has it.
func (t *translator) host(field string, s *istioService) mesh.Host {
	t.labels(field+".labels", s.Labels)
	switch {
	case s.Service != "" && (s.Name != "" || s.Namespace != "" || s.Domain != ""):
		t.Tell(mesh.Problem{
			Field: field + ".service", Code: config.CodeConflictingFields,
			Message: "service is a full name: name, namespace and domain cannot stand beside it",
		})
	case s.Service != "":
		return t.fullName(field+".service", s.Service)
	case s.Name == "":
		t.Missing(field+".name", "a service needs a name, or its full name as service")
		return ""
	}
	return t.named(field, s)
}

// fullName returns the host at field that is given by its full name.
func (t *translator) fullName(field, name string) mesh.Host {
	host := strings.ToLower(name)
	switch network, ok := parseNetwork(host); {
	case ok && strings.Contains(host, "/"):
		host = network.String()
	case ok:
		host = network.Addr().String()
	case !isDestination(host):
		t.Tell(mesh.Problem{
			Field: field, Code: config.CodeInvalidName,
			Message: fmt.Sprintf("%.70q is not a host: want a domain name, which may begin with *", name),
		})
	}
	return mesh.Host(host)
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
