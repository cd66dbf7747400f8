package ingress

import (
	"fmt"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// fields says where the parts of a backend stand, which is elsewhere in each version.
type fields struct{ service, name, port, number, portName string }

// backend returns the service port that b names.
func (t *translator) backend(field string, b *backend) mesh.Backend {
	if b.Service == nil {
		t.Missing(field+".service", "the service is missing")
		return mesh.Backend{}
	}
	field += ".service"
	at := fields{field, field + ".name", field + ".port", field + ".port.number", field + ".port.name"}
	return t.servicePort(at, b.Service.Name, b.Service.Port)
}

// oldBackend returns the service port that b names.
func (t *translator) oldBackend(field string, b *oldBackend) mesh.Backend {
	at := fields{field, field + ".serviceName", field + ".servicePort", field + ".servicePort", field + ".servicePort"}
	var p port
	if b.ServicePort != nil {
		p = b.ServicePort.port
	}
	return t.servicePort(at, b.ServiceName, p)
}

func (t *translator) servicePort(at fields, name string, p port) mesh.Backend {
	switch {
	case name == "":
		t.Missing(at.name, "the name of the service is missing")
	case !config.IsLabel(name):
		t.Tell(mesh.Problem{
			Field: at.name, Code: config.CodeInvalidName,
			Message: fmt.Sprintf(`%.70q is not the name of a service: lower-case letters, digits and "-" are allowed`, name),
		})
	}
	switch {
	case p.Name != "" && p.Number != 0:
		t.Tell(mesh.Problem{
			Field: at.port, Code: config.CodeConflictingFields, Message: "name and number of a port exclude one another",
		})
	case p.Name == "" && p.Number == 0:
		t.Missing(at.number, "the port is missing: write its number or its name")
	case p.Name != "" && !config.IsLabel(p.Name):
		t.Tell(mesh.Problem{
			Field: at.portName, Code: config.CodeInvalidName, Message: fmt.Sprintf("%.70q is not the name of a port", p.Name),
		})
	case p.Number < 0 || p.Number > 65535:
		t.Tell(mesh.Problem{
			Field: at.number, Code: config.CodeOutOfRange, Message: fmt.Sprintf("%d is no port from 1 to 65535", p.Number),
		})
	}
	host := mesh.ServiceHost(name, t.Object.Namespace, t.domain)
	t.meaning.Mentions = append(t.meaning.Mentions, config.Mention{
		Host: host, Port: int(p.Number), PortName: p.Name, Field: at.service, Position: t.Object.At(at.service),
	})
	return mesh.Backend{Host: host, Port: int(p.Number), PortName: p.Name}
}
