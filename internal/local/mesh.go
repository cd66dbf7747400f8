package local

import (
	"cmp"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

const (
	apiVersion  = "lateen.dev/v1alpha1"
	kindMesh    = "Mesh"
	domain      = "cluster.local"
	ingressName = "ingress"
	ingressPort = 8080
)

// MeshKind returns the kind of Mesh documents. They say nothing about traffic: only what is wrong with them comes out.
func MeshKind() config.Kind {
	return config.Kind{
		Name: kindMesh, APIVersions: []string{apiVersion}, Type: "mesh", Plural: "meshes",
		Translate: func(o *config.Object) (config.Meaning, []mesh.Problem) { return config.Meaning{}, Check(o) },
	}
}

// Check returns what is wrong with the object if it is a Mesh document.
func Check(o *config.Object) []mesh.Problem {
	if !isMesh(o) {
		return nil
	}
	_, problems := read(o)
	return problems
}

func isMesh(o *config.Object) bool { return o.Kind == kindMesh && o.APIVersion == apiVersion }

// Read returns the mesh that all Mesh documents among the objects make together; nil with an error among the problems,
// and when there is no Mesh document.
func Read(objects []config.Object) (*Mesh, []mesh.Problem) {
	var whole *Mesh
	var problems []mesh.Problem
	services := map[mesh.Host]*config.Object{}
	var door *config.Object
	for i := range objects {
		o := &objects[i]
		if !isMesh(o) {
			continue
		}
		part, found := read(o)
		problems = append(problems, found...)
		if whole == nil {
			whole = &Mesh{Name: o.Name, Namespace: o.Namespace}
		}
		if part.Ingress != nil && door != nil {
			problems = append(problems, o.Problem(config.CodeDuplicateField, "spec.ingress",
				"a mesh has one ingress, and %s has it", door.Origin))
		}
		if part.Ingress != nil {
			whole.Ingress, door = part.Ingress, o
		}
		for _, s := range part.Services {
			if other := services[s.Host]; other != nil {
				problems = append(problems, o.Problem(config.CodeDuplicateService, config.Key("spec.services", s.Name),
					"namespace %s has this service already, in %s", s.Namespace, other.Origin))
			}
			services[s.Host] = o
		}
		whole.Services = append(whole.Services, part.Services...)
		whole.Workloads = append(whole.Workloads, part.Workloads...)
	}
	if whole == nil || mesh.HasErrors(problems) {
		return nil, problems
	}
	problems = append(problems, whole.nameTwice()...)
	if mesh.HasErrors(problems) {
		return nil, problems
	}
	slices.SortFunc(whole.Services, func(a, b *mesh.Service) int { return cmp.Compare(a.Host, b.Host) })
	slices.SortFunc(whole.Workloads, func(a, b *Workload) int { return cmp.Compare(a.key(), b.key()) })
	return whole, problems
}

// nameTwice reports workloads that would have the same name: service a-b version c and service a version b-c.
func (m *Mesh) nameTwice() []mesh.Problem {
	var problems []mesh.Problem
	first := map[string]*Workload{}
	for _, w := range m.Workloads {
		if other := first[w.key()]; other != nil {
			problems = append(problems, mesh.Problem{
				Position: w.Origin, Code: config.CodeDuplicateService, Severity: mesh.Error,
				Message: "the workload " + w.Name + " is there already, at " + other.Origin.String(),
			})
		}
		first[w.key()] = w
	}
	return problems
}

// all returns what must run, the ingress first when there is one. A port other than 0 is the ingress's whatever the
// file says.
func (m *Mesh) all(port int) []*Workload {
	if m.Ingress == nil {
		return m.Workloads
	}
	w := &Workload{
		Name: ingressName, Namespace: m.Namespace, Type: mesh.Ingress, Account: ingressName,
		Labels: mesh.Labels{"app": ingressName, "istio": ingressName}, Replicas: 1, Origin: m.Ingress.Origin, Door: *m.Ingress,
	}
	if port != 0 {
		w.Door.Port = port
	}
	return append([]*Workload{w}, m.Workloads...)
}

// reader turns one document into a Mesh and collects problems on the way.
type reader struct {
	config.Check
	mesh *Mesh
}

// read returns what one Mesh document says.
func read(o *config.Object) (*Mesh, []mesh.Problem) {
	r := &reader{Check: config.Check{Object: o}, mesh: &Mesh{}}
	var s spec
	r.Decode("spec", &s)
	if s.Ingress != nil {
		r.ingress(s.Ingress)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Services)) {
		r.service(name, s.Services[name])
	}
	return r.mesh, r.Problems
}

func (r *reader) ingress(s *ingressSpec) {
	door := &Door{Address: loopback.String(), Port: ingressPort, Origin: r.Object.At("spec.ingress")}
	if s.Port != nil {
		door.Port = int(*s.Port)
		r.port("spec.ingress.port", *s.Port)
	}
	if s.Address != "" {
		door.Address = s.Address
		if _, err := netip.ParseAddr(s.Address); err != nil {
			r.invalid("spec.ingress.address", "the address must be an IP address", "0.0.0.0 takes requests from other machines too")
		}
	}
	r.mesh.Ingress = door
}

func (r *reader) service(name string, s serviceSpec) {
	path := config.Key("spec.services", name)
	r.name(path, "service", name)
	namespace := r.Object.Namespace
	service := &mesh.Service{Host: mesh.ServiceHost(name, namespace, domain), Name: name, Namespace: namespace}
	written := r.ports(path+".ports", s.Ports)
	service.Ports = slices.SortedFunc(slices.Values(written), func(a, b mesh.Port) int { return cmp.Compare(a.Number, b.Number) })
	r.mesh.Services = append(r.mesh.Services, service)
	account := cmp.Or(s.ServiceAccount, "default")
	if !config.IsDomain(account) {
		r.Tell(mesh.Problem{Field: path + ".serviceAccount", Code: config.CodeInvalidName, Message: "this is no name of a service account"})
	}
	for _, version := range slices.Sorted(maps.Keys(s.Workloads)) {
		at := config.Key(path+".workloads", version)
		r.name(at, "workload", version)
		w := &Workload{
			Name: name + "-" + version, Namespace: namespace, Type: mesh.Sidecar, Host: service.Host, Account: account,
			Labels: mesh.Labels{"app": name, "version": version}, Ports: written, Origin: r.Object.At(at),
		}
		r.workload(at, w, s.Workloads[version])
		r.mesh.Workloads = append(r.mesh.Workloads, w)
	}
}

func (r *reader) ports(path string, list []portSpec) []mesh.Port {
	if len(list) == 0 {
		r.Missing(path, "a service needs a port, such as {name: http, port: 9080}")
	}
	var ports []mesh.Port
	names, numbers := map[string]bool{}, map[int32]bool{}
	for i, p := range list {
		at := config.Item(path, i)
		switch {
		case p.Name == "":
			r.Missing(at+".name", "a port needs a name, which begins with what it speaks: http, http2, grpc, https or tcp")
		case !config.IsLabel(p.Name):
			r.Tell(mesh.Problem{Field: at + ".name", Code: config.CodeInvalidName, Message: "a port's name has only lower-case letters, digits and -"})
		case names[p.Name]:
			r.invalid(at+".name", "two ports have this name", "")
		}
		if p.Port == 0 {
			r.Missing(at+".port", "a port needs its number")
		} else {
			r.port(at+".port", p.Port)
		}
		if numbers[p.Port] && p.Port != 0 {
			r.invalid(at+".port", "two ports have this number", "")
		}
		names[p.Name], numbers[p.Port] = true, true
		ports = append(ports, mesh.Port{Name: p.Name, Number: int(p.Port), Protocol: mesh.ProtocolOf(p.Name)})
	}
	return ports
}

func (r *reader) name(path, what, name string) {
	if !config.IsLabel(name) {
		r.Tell(mesh.Problem{
			Field: path, Code: config.CodeInvalidName,
			Message: "the name of a " + what + " has only lower-case letters, digits and -, at most 63",
		})
	}
}

func (r *reader) port(path string, port int32) {
	if port < 1 || port > 65535 {
		r.Tell(mesh.Problem{Field: path, Code: config.CodeOutOfRange, Message: "a port is between 1 and 65535"})
	}
}

func (r *reader) invalid(path, message, hint string) {
	r.Tell(mesh.Problem{Field: path, Code: config.CodeInvalidValue, Message: message, Hint: hint})
}

// folder returns what relative paths in the document start at: the folder of its file.
func (r *reader) folder() string { return filepath.Dir(r.Object.Origin.File) }
