package store

import (
	"errors"
	"maps"
	"reflect"
	"slices"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// ErrTooLarge is returned for a registry, or an edit of one, with more names than a store takes from one source.
var ErrTooLarge = errors.New("the registry has too many names")

// maxNames bounds how many services, endpoint sets, workloads and certificates one source may know.
const maxNames = 500_000

// registry is what one source knows, by name. It belongs to the owner goroutine; the values in it are never changed.
type registry struct {
	generation   int64
	services     map[mesh.Host]*mesh.Service
	endpoints    map[mesh.Host]*mesh.EndpointSet
	workloads    map[mesh.ProxyID]*mesh.Workload
	settings     *mesh.Settings
	certificates map[string]mesh.Certificate // by path
	problems     map[mesh.Key][]mesh.Problem // by what they are about
}

func (r *registry) len() int {
	return len(r.services) + len(r.endpoints) + len(r.workloads) + len(r.certificates)
}

// setRegistry replaces what a source knows: an edit that also removes what it does not name.
func (f *fold) setRegistry(source string, whole *mesh.Registry) error {
	edit := &mesh.RegistryEdit{
		Generation: whole.Generation, Services: whole.Services, Endpoints: whole.Endpoints, Workloads: whole.Workloads,
		Certificates: whole.Certificates, Problems: whole.Problems,
	}
	if edit.Len() > maxNames {
		return ErrTooLarge
	}
	r := f.registries[source]
	if r == nil {
		r = &registry{
			services: map[mesh.Host]*mesh.Service{}, endpoints: map[mesh.Host]*mesh.EndpointSet{},
			workloads: map[mesh.ProxyID]*mesh.Workload{}, problems: map[mesh.Key][]mesh.Problem{},
		}
		f.registries[source] = r
		f.ranked = slices.SortedFunc(maps.Keys(f.registries), f.compareSources)
	}
	f.reported[source] = true
	f.silence.end(source)
	r.generation = whole.Generation
	g := f.sift(source, edit)
	putAll(f, r, g, mesh.KindService, r.services, g.services)
	putAll(f, r, g, mesh.KindEndpoints, r.endpoints, g.endpoints)
	putAll(f, r, g, mesh.KindWorkload, r.workloads, g.workloads)
	keepOnly(f, r, mesh.KindService, r.services, g.services)
	keepOnly(f, r, mesh.KindEndpoints, r.endpoints, g.endpoints)
	keepOnly(f, r, mesh.KindWorkload, r.workloads, g.workloads)
	f.setSettings(r, whole.Settings)
	f.setCertificates(r, whole.Certificates)
	f.passOn(source, whole.Problems)
	return nil
}

// editRegistry changes what a source knows. Nothing is looked at that the edit does not name.
func (f *fold) editRegistry(source string, edit *mesh.RegistryEdit) error {
	r := f.registries[source]
	switch {
	case r == nil || !f.reported[source] || r.generation != edit.Base:
		return ErrOtherBase
	case r.len()+edit.Len() > maxNames:
		return ErrTooLarge
	}
	r.generation = edit.Generation
	g := f.sift(source, edit)
	removeAll(f, r, mesh.KindService, r.services, g.services, edit.RemovedServices)
	removeAll(f, r, mesh.KindEndpoints, r.endpoints, g.endpoints, edit.RemovedEndpoints)
	removeAll(f, r, mesh.KindWorkload, r.workloads, g.workloads, edit.RemovedWorkloads)
	putAll(f, r, g, mesh.KindService, r.services, g.services)
	putAll(f, r, g, mesh.KindEndpoints, r.endpoints, g.endpoints)
	putAll(f, r, g, mesh.KindWorkload, r.workloads, g.workloads)
	if edit.Settings != nil {
		f.setSettings(r, edit.Settings)
	}
	if edit.Certificates != nil {
		f.setCertificates(r, edit.Certificates)
	}
	if edit.Problems != nil {
		f.passOn(source, edit.Problems)
	}
	return nil
}

// putAll puts values. One that says the same as before keeps its pointer, and costs nothing more.
func putAll[K ~string, V any](f *fold, r *registry, g *given, kind mesh.Kind, have, values map[K]*V) {
	for name, value := range values {
		k := mesh.Key{Kind: kind, Name: string(name)}
		old, known := have[name]
		if !known || (old != value && !reflect.DeepEqual(old, value)) {
			have[name] = value
			f.touch(k, !known)
		}
		if problems := g.problems[k]; !slices.Equal(r.problems[k], problems) {
			r.tell(k, problems)
			f.doubtful[k] = true
		}
	}
}

// removeAll removes names, but for those that are put.
func removeAll[K ~string, V any](f *fold, r *registry, kind mesh.Kind, have, put map[K]*V, names []K) {
	for _, name := range names {
		_, known := have[name]
		if _, stays := put[name]; known && !stays {
			k := mesh.Key{Kind: kind, Name: string(name)}
			delete(have, name)
			r.tell(k, nil)
			f.touch(k, true)
		}
	}
}

// keepOnly removes all names but those that were put.
func keepOnly[K ~string, V any](f *fold, r *registry, kind mesh.Kind, have, put map[K]*V) {
	if len(have) > len(put) { // everything that was put is there
		removeAll(f, r, kind, have, put, slices.Collect(maps.Keys(have)))
	}
}

// touch notes that what a registry says about a part differs, and whether it says something at all.
func (f *fold) touch(k mesh.Key, presence bool) {
	f.stale[k], f.doubtful[k] = true, true
	if k.Kind == mesh.KindService && presence {
		f.stale[mesh.Key{Kind: mesh.KindEndpoints, Name: k.Name}] = true // whose endpoints count depends on whose service does
	}
}

func (r *registry) tell(k mesh.Key, problems []mesh.Problem) {
	if len(problems) == 0 {
		delete(r.problems, k)
	} else {
		r.problems[k] = problems
	}
}

func (f *fold) setSettings(r *registry, settings *mesh.Settings) {
	if r.settings != settings {
		r.settings = settings
		f.stale[mesh.Key{Kind: mesh.KindSettings}] = true
		f.recount()
	}
}

func (f *fold) setCertificates(r *registry, sealed []mesh.SealedCertificate) {
	next := make(map[string]mesh.Certificate, len(sealed))
	for _, c := range sealed {
		certificate := mesh.Certificate{
			Namespace: c.Namespace, Name: c.Name, Origin: c.Origin, Chain: c.Chain, Key: mesh.NewSecret(c.Key.Reveal()),
		}
		if _, twice := next[certificate.Path()]; !twice {
			next[certificate.Path()] = certificate
		}
	}
	for path, certificate := range r.certificates {
		if next[path] != certificate {
			f.stale[mesh.Key{Kind: mesh.KindSecret, Name: path}] = true
		}
	}
	for path := range next {
		if _, known := r.certificates[path]; !known {
			f.stale[mesh.Key{Kind: mesh.KindSecret, Name: path}] = true
		}
	}
	r.certificates = next
}

func (f *fold) serviceOf(h mesh.Host) *mesh.Service {
	for _, source := range f.ranked {
		if s := f.registries[source].services[h]; s != nil {
			return s
		}
	}
	return nil
}

// endpointsOf returns the endpoints of a host: those of the source whose service counts, and of every source that knows
// endpoints but no service of the host.
func (f *fold) endpointsOf(h mesh.Host) *mesh.EndpointSet {
	var sets []*mesh.EndpointSet
	owned := false
	for _, source := range f.ranked {
		r := f.registries[source]
		_, owner := r.services[h]
		if set := r.endpoints[h]; set != nil && (!owner || !owned) {
			sets = append(sets, set)
		}
		owned = owned || owner
	}
	switch len(sets) {
	case 0:
		return nil
	case 1:
		return sets[0]
	}
	all := &mesh.EndpointSet{Host: h}
	for _, set := range sets {
		all.Endpoints = append(all.Endpoints, set.Endpoints...)
	}
	slices.SortStableFunc(all.Endpoints, compareEndpoints) // of equal ones the first source's is first
	all.Endpoints = slices.CompactFunc(all.Endpoints, func(a, b mesh.Endpoint) bool { return compareEndpoints(a, b) == 0 })
	return all
}

func (f *fold) workloadOf(id mesh.ProxyID) *mesh.Workload {
	for _, source := range f.ranked {
		if w := f.registries[source].workloads[id]; w != nil {
			return w
		}
	}
	return nil
}

// settingsOf returns the settings of the first source that has some, or nil. What they do not say of a cluster, the networks of
// services and the classes of Ingress objects, is that of the first source that knows it.
func (f *fold) settingsOf() *mesh.Settings {
	var first *mesh.Settings
	for _, source := range f.ranked {
		s := f.registries[source].settings
		switch {
		case s == nil:
			continue
		case first == nil:
			first = s
			continue
		}
		merged := *first
		if len(merged.ServiceRanges) == 0 {
			merged.ServiceRanges = s.ServiceRanges
		}
		if len(merged.Ingress.Classes) == 0 {
			merged.Ingress.Classes = s.Ingress.Classes
		}
		first = &merged
	}
	return first
}

// registeredCertificate returns the certificate that the first source knows which has one of this path, or nil.
func (f *fold) registeredCertificate(path string) *mesh.Certificate {
	for _, source := range f.ranked {
		if c, ok := f.registries[source].certificates[path]; ok {
			return &c
		}
	}
	return nil
}
