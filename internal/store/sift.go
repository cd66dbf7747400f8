package store

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// given is what an edit of a registry says about each name, without what makes no sense.
type given struct {
	services  map[mesh.Host]*mesh.Service
	endpoints map[mesh.Host]*mesh.EndpointSet
	workloads map[mesh.ProxyID]*mesh.Workload
	problems  map[mesh.Key][]mesh.Problem
}

// sift reads what an edit puts. Of two services or workloads of one name the first one counts; endpoints of one host are
// put together.
func (f *fold) sift(source string, e *mesh.RegistryEdit) *given {
	f.counters.Looked.Add(int64(e.Len()))
	g := &given{
		services:  make(map[mesh.Host]*mesh.Service, len(e.Services)),
		endpoints: make(map[mesh.Host]*mesh.EndpointSet, len(e.Endpoints)),
		workloads: make(map[mesh.ProxyID]*mesh.Workload, len(e.Workloads)),
		problems:  map[mesh.Key][]mesh.Problem{},
	}
	for _, s := range e.Services {
		switch {
		case s == nil:
		case g.services[s.Host] != nil:
			g.twice(mesh.Key{Kind: mesh.KindService, Name: string(s.Host)}, serviceRef(s), source)
		default:
			g.services[s.Host] = sortedService(s)
		}
	}
	for _, set := range e.Endpoints {
		if set == nil {
			continue
		}
		if known := g.endpoints[set.Host]; known != nil {
			set = &mesh.EndpointSet{Host: set.Host, Endpoints: slices.Concat(known.Endpoints, set.Endpoints)}
		}
		g.endpoints[set.Host] = set
	}
	for h, set := range g.endpoints {
		sound, problems := soundEndpoints(set)
		g.endpoints[h] = sortedEndpoints(sound)
		if len(problems) > 0 {
			g.problems[mesh.Key{Kind: mesh.KindEndpoints, Name: string(h)}] = problems
		}
	}
	for _, w := range e.Workloads {
		if w != nil {
			g.workload(source, w)
		}
	}
	return g
}

func (g *given) workload(source string, w *mesh.Workload) {
	k := mesh.Key{Kind: mesh.KindWorkload, Name: string(w.ID())}
	if g.workloads[w.ID()] != nil {
		g.twice(k, workloadRef(w), source)
		return
	}
	sound, problems := soundWorkload(w)
	g.workloads[w.ID()] = sound
	if len(problems) > 0 {
		g.problems[k] = problems
	}
}

// twice says, once, that a source knows a name twice.
func (g *given) twice(k mesh.Key, object mesh.Ref, source string) {
	if p := duplicate(object, source, source); !slices.Contains(g.problems[k], p) {
		g.problems[k] = append(g.problems[k], p)
	}
}

// badAddress returns the first address of an endpoint that is none.
func badAddress(e mesh.Endpoint) (text string, err error) {
	for _, text := range append([]string{e.Address}, e.Further...) {
		if _, err := netip.ParseAddr(text); err != nil {
			return text, err
		}
	}
	return "", nil
}

// soundEndpoints returns the set without endpoints and ports that nobody could dial: itself if there are none.
func soundEndpoints(set *mesh.EndpointSet) (*mesh.EndpointSet, []mesh.Problem) {
	var addresses, ports int
	var problems []mesh.Problem
	say := func(format string, args ...any) {
		problems = append(problems, mesh.Problem{
			Object: hostRef(set.Host), Code: config.CodeInvalidValue, Severity: mesh.Warning, Message: fmt.Sprintf(format, args...),
		})
	}
	var sound []mesh.Endpoint
	for i, e := range set.Endpoints {
		wrong, err := badAddress(e)
		bad, isBad := badPort(e.Ports)
		if (err != nil || isBad) && sound == nil {
			sound = append(make([]mesh.Endpoint, 0, len(set.Endpoints)), set.Endpoints[:i]...)
		}
		switch {
		case err != nil:
			if addresses++; addresses == 1 {
				say("an endpoint is left out: its address %.60q is no IP address", wrong)
			}
			continue
		case isBad:
			if ports++; ports == 1 {
				say("a port of the endpoint %s is left out: %.60q cannot be %d", e.Address, bad, e.Ports[bad])
			}
			e.Ports = maps.Clone(e.Ports)
			maps.DeleteFunc(e.Ports, func(_ string, n int) bool { return !isPort(n) })
		}
		if sound != nil {
			sound = append(sound, e)
		}
	}
	if len(problems) == 0 {
		return set, nil
	}
	if more := addresses + ports - len(problems); more > 0 {
		problems[len(problems)-1].Message += fmt.Sprintf("; so it is with %d more", more)
	}
	return &mesh.EndpointSet{Host: set.Host, Endpoints: sound}, problems
}

func isPort(n int) bool { return n > 0 && n < 65536 }

// badPort returns the name of the first port, by name, whose number is none, or false.
func badPort(ports map[string]int) (bad string, found bool) {
	for name, number := range ports {
		if !isPort(number) && (!found || name < bad) {
			bad, found = name, true
		}
	}
	return bad, found
}

// soundWorkload returns the workload without what it serves on a port that it serves already: itself if there is nothing
// of the kind. Both would be one listener; a workload whose connections are captured has none for each, and may answer on one
// port for many services.
func soundWorkload(w *mesh.Workload) (*mesh.Workload, []mesh.Problem) {
	if len(w.Serves) < 2 || w.Capture {
		return w, nil
	}
	var problems []mesh.Problem
	serves := make([]mesh.Serving, 0, len(w.Serves))
	ports, listens := map[int]mesh.Serving{}, map[int]mesh.Serving{}
	for i, s := range w.Serves {
		first, taken := ports[s.Port]
		if !taken && s.Listen != 0 {
			first, taken = listens[s.Listen]
		}
		if !taken {
			serves = append(serves, s)
			ports[s.Port], listens[s.Listen] = s, s
			continue
		}
		if len(problems) < maxTold {
			problems = append(problems, mesh.Problem{
				Object: workloadRef(w), Field: config.Item("serves", i), Code: config.CodeConflictingFields, Severity: mesh.Warning,
				Message: fmt.Sprintf("port %d of %.200s is left out: its proxy listens there already, for port %d of %.200s",
					s.Port, s.Host, first.Port, first.Host),
				Hint: "give one of the two services another port",
			})
		}
	}
	if len(problems) == 0 {
		return w, nil
	}
	sound := *w
	sound.Serves = serves
	return &sound, problems
}

// sortedService returns the service with its ports in order: itself if they are.
func sortedService(s *mesh.Service) *mesh.Service {
	byNumber := func(a, b mesh.Port) int {
		return cmp.Or(cmp.Compare(a.Number, b.Number), cmp.Compare(a.Name, b.Name))
	}
	if slices.IsSortedFunc(s.Ports, byNumber) {
		return s
	}
	c := *s
	c.Ports = slices.SortedFunc(slices.Values(s.Ports), byNumber)
	return &c
}

func compareEndpoints(a, b mesh.Endpoint) int {
	return cmp.Or(cmp.Compare(a.Address, b.Address), cmp.Compare(a.Workload, b.Workload))
}

// sortedEndpoints returns the set in order: itself if it is.
func sortedEndpoints(e *mesh.EndpointSet) *mesh.EndpointSet {
	if slices.IsSortedFunc(e.Endpoints, compareEndpoints) {
		return e
	}
	return &mesh.EndpointSet{Host: e.Host, Endpoints: slices.SortedStableFunc(slices.Values(e.Endpoints), compareEndpoints)}
}

// registryProblems tells what is wrong with what the sources say of a name: what each says by itself, and which say it in
// vain since one before them knows it.
func (f *fold) registryProblems(k mesh.Key) []mesh.Problem {
	var problems []mesh.Problem
	first := ""
	for _, source := range f.ranked {
		r := f.registries[source]
		problems = append(problems, r.problems[k]...)
		object, known := r.refOf(k)
		switch {
		case !known:
		case first == "":
			first = source
		default:
			problems = append(problems, duplicate(object, first, source))
		}
	}
	return problems
}

// refOf returns the service or workload that the key names, if the source knows it.
func (r *registry) refOf(k mesh.Key) (mesh.Ref, bool) {
	switch k.Kind {
	case mesh.KindService:
		if s := r.services[mesh.Host(k.Name)]; s != nil {
			return serviceRef(s), true
		}
	case mesh.KindWorkload:
		if w := r.workloads[mesh.ProxyID(k.Name)]; w != nil {
			return workloadRef(w), true
		}
	}
	return mesh.Ref{}, false
}

func serviceRef(s *mesh.Service) mesh.Ref {
	return mesh.Ref{Kind: "Service", Namespace: s.Namespace, Name: s.Name}
}

func workloadRef(w *mesh.Workload) mesh.Ref {
	return mesh.Ref{Kind: "Workload", Namespace: w.Namespace, Name: w.Name}
}

// hostRef names the service of a host of which perhaps only endpoints are known.
func hostRef(h mesh.Host) mesh.Ref {
	name, rest, _ := strings.Cut(string(h), ".")
	if namespace, _, ok := strings.Cut(rest, ".svc."); ok {
		return mesh.Ref{Kind: "Service", Namespace: namespace, Name: name}
	}
	return mesh.Ref{Kind: "Service", Name: string(h)}
}

func duplicate(object mesh.Ref, first, second string) mesh.Problem {
	p := mesh.Problem{Object: object, Code: config.CodeDuplicateService, Severity: mesh.Warning}
	if first == second {
		p.Message = fmt.Sprintf("source %q knows it twice; the first one counts", first)
	} else {
		p.Message = fmt.Sprintf("source %q knows it, and so does %q, which counts", second, first)
	}
	return p
}
