package local

import (
	"cmp"
	"maps"
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
	return read(o).Problems
}

func isMesh(o *config.Object) bool { return o.Kind == kindMesh && o.APIVersion == apiVersion }

// Read returns the mesh that all Mesh documents among the objects make together, and what is wrong with them. There is
// none without a Mesh document, nor when one has an error by itself, or two say the same thing. A workload that names
// a service or variable that there is not is told, and stands in the mesh as unsound.
func Read(objects []config.Object) (*Mesh, []mesh.Problem) {
	f := folding{services: map[mesh.Host]*config.Object{}}
	for i := range objects {
		if isMesh(&objects[i]) {
			f.add(&objects[i])
		}
	}
	if f.whole == nil || mesh.HasErrors(f.problems) {
		return nil, f.problems
	}
	whole := f.whole
	f.problems = append(f.problems, whole.nameTwice()...)
	if mesh.HasErrors(f.problems) {
		return nil, f.problems
	}
	slices.SortFunc(whole.Services, func(a, b *mesh.Service) int { return cmp.Compare(a.Host, b.Host) })
	slices.SortFunc(whole.Workloads, func(a, b *Workload) int { return cmp.Compare(a.key(), b.key()) })
	f.problems = append(f.problems, whole.resolve(f.mentions)...)
	f.problems = append(f.problems, whole.exclude(f.excluded)...)
	f.problems = append(f.problems, whole.sharesDoor(f.doors)...)
	return whole, append(f.problems, whole.unproven(f.bare)...)
}

// folding puts Mesh documents together.
type folding struct {
	whole    *Mesh
	services map[mesh.Host]*config.Object
	door     *config.Object // the one that has the ingress
	settings *config.Object // the one that has the settings
	mentions []mention
	excluded []mention
	bare     []mention
	doors    []mention
	problems []mesh.Problem
}

// add adds a document.
func (f *folding) add(o *config.Object) {
	part := read(o)
	f.problems = append(f.problems, part.Problems...)
	f.mentions = append(f.mentions, part.mentions...)
	f.excluded = append(f.excluded, part.excluded...)
	f.bare = append(f.bare, part.bare...)
	f.doors = append(f.doors, part.doors...)
	if f.whole == nil {
		f.whole = &Mesh{Name: o.Name, Namespace: o.Namespace, Settings: mesh.DefaultSettings}
	}
	if part.mesh.Ingress != nil {
		if f.door != nil {
			f.problems = append(f.problems, o.Problem(config.CodeDuplicateField, "spec.ingress",
				"a mesh has one ingress, and %s has it", f.door.Origin))
		}
		f.door, f.whole.Ingress, f.whole.Certificates = o, part.mesh.Ingress, part.mesh.Certificates
	}
	if part.hasSettings {
		if f.settings != nil {
			p := o.Problem(config.CodeConflictingFields, "spec.settings", "a mesh has its settings in one document")
			p.Hint = "they stand at " + f.settings.At("spec.settings").String() + " already"
			f.problems = append(f.problems, p)
		}
		f.settings, f.whole.Settings = o, part.mesh.Settings
	}
	for _, s := range part.mesh.Services {
		if other := f.services[s.Host]; other != nil {
			f.problems = append(f.problems, o.Problem(config.CodeDuplicateService, config.Key("spec.services", s.Name),
				"namespace %s has this service already, in %s", s.Namespace, other.Origin))
		}
		f.services[s.Host] = o
	}
	for host, names := range part.mesh.accounts {
		for _, name := range names {
			f.whole.account(host, name)
		}
	}
	f.whole.namings = append(f.whole.namings, part.mesh.namings...)
	f.whole.Services = append(f.whole.Services, part.mesh.Services...)
	f.whole.Workloads = append(f.whole.Workloads, part.mesh.Workloads...)
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

// all returns what must run, the ingress first when there is one.
func (m *Mesh) all() []*Workload {
	if m.Ingress == nil {
		return m.Workloads
	}
	w := &Workload{
		Name: ingressName, Namespace: m.Namespace, Type: mesh.Ingress, Account: ingressName,
		Labels: mesh.Labels{"app": ingressName, "istio": ingressName}, Replicas: 1, Origin: m.Ingress.Origin, Door: *m.Ingress,
	}
	return append([]*Workload{w}, m.Workloads...)
}

// reader turns one document into a Mesh and collects problems on the way.
type reader struct {
	config.Check
	mesh        *Mesh
	hasSettings bool
	mentions    []mention
	excluded    []mention // services that are called in plain text
	bare        []mention // where workloads without a proxy stand
	doors       []mention // services whose account has the name of the ingress' one
}

// read returns what one Mesh document says, and what is wrong with it.
func read(o *config.Object) *reader {
	r := &reader{Check: config.Check{Object: o}, mesh: &Mesh{}}
	var s spec
	r.Decode("spec", &s)
	if s.Settings != nil {
		r.settings(s.Settings)
	}
	if s.Ingress != nil {
		r.ingress(s.Ingress)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Services)) {
		r.service(name, s.Services[name])
	}
	return r
}

func (r *reader) service(name string, s serviceSpec) {
	path := config.Key("spec.services", name)
	r.name(path, "service", name)
	namespace := r.Object.Namespace
	service := &mesh.Service{Host: mesh.ServiceHost(name, namespace, domain), Name: name, Namespace: namespace}
	written := r.ports(path+".ports", s.Ports)
	service.Ports = slices.SortedFunc(slices.Values(written), func(a, b mesh.Port) int { return cmp.Compare(a.Number, b.Number) })
	r.annotations(path+".annotations", service, s.Annotations)
	r.mesh.Services = append(r.mesh.Services, service)
	account := cmp.Or(s.ServiceAccount, "default")
	r.serviceAccount(path+".serviceAccount", service, account)
	for _, version := range slices.Sorted(maps.Keys(s.Workloads)) {
		at := config.Key(path+".workloads", version)
		r.name(at, "workload", version)
		w := &Workload{
			Name: name + "-" + version, Namespace: namespace, Type: mesh.Sidecar, Host: service.Host, Account: account,
			Labels: mesh.Labels{"app": name, "version": version}, Ports: written, Origin: r.Object.At(at),
		}
		r.workload(at, w, s.Workloads[version])
		if w.external() || w.Type == mesh.Proxyless {
			r.bare = append(r.bare, mention{object: r.Object, workload: w, path: at})
		} else {
			r.mesh.account(service.Host, account)
		}
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
