package v1alpha2

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// egressRule is the spec of an EgressRule, which opens a way to hosts outside the mesh.
type egressRule struct {
	Destination    *outsideHost `yaml:"destination"`    // the hosts outside the mesh: a name, a wildcard or a network, as service
	Ports          []egressPort `yaml:"ports"`          // the ports that may be called
	UseEgressProxy bool         `yaml:"useEgressProxy"` // false is accepted; true is not supported
}

// outsideHost may say no more than service; the other fields are known so that they can be told.
type outsideHost istioService

// Example shows the only form.
func (outsideHost) Example() string { return "{service: httpbin.org}" }

type egressPort struct {
	Port     *int32 `yaml:"port"`     // 1 to 65535
	Protocol string `yaml:"protocol"` // http, https, http2, grpc or tcp
}

// Example shows both parts.
func (egressPort) Example() string { return "{port: 80, protocol: http}" }

// skipVerify is the annotation that makes proxies take any certificate of the server.
const skipVerify = "lateen.dev/insecure-skip-verify"

// egressRule checks an EgressRule and says what it means.
func (t *translator) egressRule() config.Meaning {
	var spec egressRule
	t.Decode("spec", &spec)
	rule := &mesh.EgressRule{Object: t.Object.Ref, Origin: t.Object.Origin}
	rule.Destination = t.outside("spec.destination", spec.Destination)
	rule.Ports = t.ports("spec.ports", rule, spec.Ports)
	if spec.UseEgressProxy {
		t.Tell(mesh.Problem{
			Field: "spec.useEgressProxy", Code: config.CodeUnsupportedField, Message: "there is no egress proxy: each caller's own proxy calls the host",
			Hint: "leave it out",
		})
	}
	value, annotated := t.Object.Annotations[skipVerify]
	rule.SkipVerify = value == "true"
	if annotated && value != "true" && value != "false" {
		t.Tell(mesh.Problem{
			Field: config.Key("metadata.annotations", skipVerify), Code: config.CodeInvalidValue,
			Message: fmt.Sprintf(`%.70q is neither "true" nor "false"`, value),
		})
	}
	return config.Meaning{Egress: []*mesh.EgressRule{rule}}
}

// outside returns the hosts outside the mesh that s names: a host, a wildcard, or a network in CIDR notation.
func (t *translator) outside(field string, s *outsideHost) mesh.Host {
	if s == nil {
		t.Missing(field, "an egress rule needs a destination: the host outside the mesh")
		return ""
	}
	inside := false
	for _, other := range []struct {
		name  string
		there bool
	}{{"name", s.Name != ""}, {"namespace", s.Namespace != ""}, {"domain", s.Domain != ""}, {"labels", len(s.Labels) > 0}} {
		if other.there {
			inside = true
			t.Tell(mesh.Problem{
				Field: field + "." + other.name, Code: config.CodeConflictingFields,
				Message: "a host outside the mesh has no " + other.name, Hint: "name it in full as service: httpbin.org",
			})
		}
	}
	field += ".service"
	host := strings.ToLower(s.Service)
	network, isNetwork := parseNetwork(host)
	switch {
	case host == "" && !inside:
		t.Missing(field, "the host is missing, such as httpbin.org, *.example.com or 192.0.2.0/24")
	case host == "":
	case isNetwork:
		return mesh.Host(network.String())
	case !isOutside(host):
		t.Tell(mesh.Problem{
			Field: field, Code: config.CodeInvalidName,
			Message: fmt.Sprintf("%.70q is neither a domain name, which may begin with *, nor a network in CIDR notation", s.Service),
		})
	case t.inMesh(host):
		t.Tell(mesh.Problem{
			Field: field, Code: config.CodeInvalidValue, Message: fmt.Sprintf("%q is a name of the mesh's own services", host),
			Hint: "services of the mesh need no egress rule",
		})
	}
	return mesh.Host(host)
}

// isOutside tells whether s is a domain name that may begin with "*".
func isOutside(s string) bool {
	rest, wild := strings.CutPrefix(s, "*")
	if !wild {
		return isHost(s)
	}
	return rest == "" || isHost("x"+rest)
}

// inMesh tells whether a host or wildcard lies in the domain of the mesh's services.
func (t *translator) inMesh(host string) bool {
	services := "svc." + t.domain
	name := strings.TrimPrefix(host, "*")
	return name == services || strings.HasSuffix(name, "."+services)
}

// ports returns the ports of a rule, sorted by number.
func (t *translator) ports(field string, rule *mesh.EgressRule, ports []egressPort) []mesh.Port {
	if len(ports) == 0 {
		t.Missing(field, "an egress rule needs ports, such as [{port: 80, protocol: http}]")
	}
	var all []mesh.Port
	for i, p := range ports {
		at := config.Item(field, i)
		port := mesh.Port{Protocol: t.protocol(at+".protocol", rule, p.Protocol)}
		switch {
		case p.Port == nil:
			t.Missing(at+".port", "the number of the port is missing")
			continue
		case *p.Port < 1 || *p.Port > 65535:
			t.Tell(mesh.Problem{
				Field: at + ".port", Code: config.CodeOutOfRange, Message: fmt.Sprintf("%d is no port from 1 to 65535", *p.Port),
			})
		case slices.ContainsFunc(all, func(known mesh.Port) bool { return known.Number == int(*p.Port) }):
			t.Tell(mesh.Problem{
				Field: at + ".port", Code: config.CodeConflictingFields, Message: fmt.Sprintf("the port %d is there twice", *p.Port),
			})
		}
		port.Number = int(*p.Port)
		all = append(all, port)
	}
	slices.SortStableFunc(all, func(a, b mesh.Port) int { return cmp.Compare(a.Number, b.Number) })
	return all
}

// protocol returns what a port of a rule speaks.
func (t *translator) protocol(field string, rule *mesh.EgressRule, name string) mesh.Protocol {
	known := []string{"http", "https", "http2", "grpc", "tcp"}
	switch p := mesh.Protocol(strings.ToUpper(name)); p {
	case mesh.TCP:
		return p
	case mesh.HTTP, mesh.HTTPS, mesh.HTTP2, mesh.GRPC:
		if rule.IsNetwork() {
			t.Tell(mesh.Problem{
				Field: field, Code: config.CodeConflictingFields, Message: fmt.Sprintf("the ports of a network speak tcp, not %s", name),
				Hint: "write protocol: tcp, or name a host instead of addresses",
			})
		}
		return p
	case "":
		t.Missing(field, "the protocol is missing, such as http")
	default:
		t.Tell(mesh.Problem{
			Field: field, Code: config.CodeInvalidValue, Message: fmt.Sprintf("%.70q is not a protocol", name),
			Hint: config.Suggest(name, "known protocols", known),
		})
	}
	return ""
}
