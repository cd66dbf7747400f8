package ingress

import (
	"fmt"
	"strings"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// translator translates one Ingress.
type translator struct {
	config.Check
	domain  string
	meaning config.Meaning
}

// translate checks an Ingress and says what it means.
func translate(o *config.Object, domain string) (config.Meaning, []mesh.Problem) {
	t := &translator{Check: config.Check{Object: o}, domain: domain}
	var s spec
	t.Decode("spec", &s)
	class, annotated := o.Annotations[classAnnotation]
	if !annotated {
		class = s.IngressClassName
	}
	if !isOurs(class) {
		return config.Meaning{}, nil
	}
	if s.DefaultBackend == nil && len(s.Rules) == 0 {
		t.Missing("spec.rules", "an Ingress needs rules or a defaultBackend")
	}
	for i, r := range s.Rules {
		field := config.Item("spec.rules", i) + ".http"
		if r.HTTP == nil {
			continue // as in Kubernetes: such a rule leaves everything to the default backend
		}
		if len(r.HTTP.Paths) == 0 {
			t.Missing(field+".paths", "a rule needs at least one path")
		}
		for j, p := range r.HTTP.Paths {
			t.path(config.Item(field+".paths", j), p)
		}
	}
	if s.DefaultBackend != nil {
		const field = "spec.defaultBackend"
		t.add(field, mesh.DoorRule{Path: "/", Default: true, Backend: t.backend(field, s.DefaultBackend)})
	}
	return t.meaning, t.Problems
}

// add adds a rule that stands at field.
func (t *translator) add(field string, rule mesh.DoorRule) {
	rule.Object, rule.Origin = t.Object.Ref, t.Object.At(field)
	t.meaning.Doors = append(t.meaning.Doors, &rule)
}

func (t *translator) path(field string, p path) {
	rule := mesh.DoorRule{Path: p.Path}
	switch p.PathType {
	case "Exact":
		rule.Exact = true
	case "Prefix", "ImplementationSpecific":
		// "/a" and "/a/" are the same prefix: paths are compared element by element.
		rule.Path = "/" + strings.Trim(p.Path, "/")
	case "":
		t.Missing(field+".pathType", "the type of the path is missing: Exact or Prefix")
	default:
		t.Tell(mesh.Problem{
			Field: field + ".pathType", Code: config.CodeInvalidValue, Message: fmt.Sprintf("unknown type %q", p.PathType),
			Hint: config.Suggest(p.PathType, "known types", []string{"Exact", "Prefix", "ImplementationSpecific"}),
		})
	}
	if free := p.PathType == "ImplementationSpecific" && p.Path == ""; !free {
		t.checkPath(field+".path", p.Path)
	}
	if p.Backend == nil {
		t.Missing(field+".backend", "the backend is missing: the service that answers")
		return
	}
	rule.Backend = t.backend(field+".backend", p.Backend)
	t.add(field, rule)
}

// checkPath refuses what Kubernetes refuses: a path that a server might understand in another way than the proxy.
func (t *translator) checkPath(field, path string) {
	if path == "" {
		t.Missing(field, "the path is missing, such as /")
		return
	}
	if !strings.HasPrefix(path, "/") {
		t.Tell(mesh.Problem{
			Field: field, Code: config.CodeInvalidValue, Message: fmt.Sprintf("the path %q does not begin with /", path),
		})
		return
	}
	if part := ambiguity(path); part != "" {
		t.Tell(mesh.Problem{
			Field: field, Code: config.CodeInvalidValue, Message: fmt.Sprintf("the path %q must not contain %q", path, part),
		})
	}
}

func ambiguity(path string) string {
	for _, part := range []string{"//", "/./", "/../", "%2f", "%2F", "?", "#"} {
		if strings.Contains(path, part) {
			return part
		}
	}
	for _, part := range []string{"/.", "/.."} {
		if strings.HasSuffix(path, part) {
			return part
		}
	}
	return ""
}

// backend returns the service port that b names.
func (t *translator) backend(field string, b *backend) mesh.Backend {
	if b.Service == nil {
		t.Missing(field+".service", "the service is missing")
		return mesh.Backend{}
	}
	field += ".service"
	switch {
	case b.Service.Name == "":
		t.Missing(field+".name", "the name of the service is missing")
	case !config.IsLabel(b.Service.Name):
		t.Tell(mesh.Problem{
			Field: field + ".name", Code: config.CodeInvalidName,
			Message: fmt.Sprintf(`%q is not the name of a service: lower-case letters, digits and "-" are allowed`, b.Service.Name),
		})
	}
	p := b.Service.Port
	switch {
	case p.Name != "" && p.Number != 0:
		t.Tell(mesh.Problem{
			Field: field + ".port", Code: config.CodeConflictingFields, Message: "name and number of a port exclude one another",
		})
	case p.Name == "" && p.Number == 0:
		t.Missing(field+".port.number", "the port is missing: write its number or its name")
	case p.Name != "" && !config.IsLabel(p.Name):
		t.Tell(mesh.Problem{
			Field: field + ".port.name", Code: config.CodeInvalidName, Message: fmt.Sprintf("%.70q is not the name of a port", p.Name),
		})
	case p.Number < 0 || p.Number > 65535:
		t.Tell(mesh.Problem{
			Field: field + ".port.number", Code: config.CodeOutOfRange, Message: fmt.Sprintf("%d is no port from 1 to 65535", p.Number),
		})
	}
	host := mesh.ServiceHost(b.Service.Name, t.Object.Namespace, t.domain)
	t.meaning.Mentions = append(t.meaning.Mentions, config.Mention{
		Host: host, Port: int(p.Number), PortName: p.Name, Field: field, Position: t.Object.At(field),
	})
	return mesh.Backend{Host: host, Port: int(p.Number), PortName: p.Name}
}
