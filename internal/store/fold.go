package store

import (
	"cmp"
	"maps"
	"slices"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// fold is everything that the owner goroutine works on.
type fold struct {
	kinds    config.Kinds
	required []string
	snapshot *mesh.Snapshot // the last one published
	open     bool           // whether one was published

	reported   map[string]bool
	objects    map[string][]*entry
	told       map[string][]mesh.Problem // by source, as handed in; replaced, never changed
	claims     []claim                   // sorted by ref; replaced, never changed
	rules      map[mesh.Host]map[mesh.Ref]*entry
	registries map[string]*registry
	clashes    []mesh.Problem // of registries; replaced, never changed

	// What must be made anew for the next snapshot.
	hosts     map[mesh.Host]bool // rules
	door      bool
	services  map[mesh.Host]bool // service and endpoints
	workloads map[mesh.ProxyID]bool
}

func newFold(c Config) *fold {
	return &fold{
		kinds: c.Kinds, required: slices.Clone(c.Sources), snapshot: mesh.NewSnapshot(c.Domain),
		reported: map[string]bool{}, objects: map[string][]*entry{}, told: map[string][]mesh.Problem{},
		rules: map[mesh.Host]map[mesh.Ref]*entry{}, registries: map[string]*registry{},
		hosts: map[mesh.Host]bool{}, services: map[mesh.Host]bool{}, workloads: map[mesh.ProxyID]bool{},
	}
}

// compareSources orders sources by rank.
func (f *fold) compareSources(a, b string) int {
	rank := func(source string) int {
		if i := slices.Index(f.required, source); i >= 0 {
			return i
		}
		return len(f.required)
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b))
}

func (f *fold) missing() []string {
	var missing []string
	for _, source := range f.required {
		if !f.reported[source] {
			missing = append(missing, source)
		}
	}
	return missing
}

// next makes the next snapshot, and tells whether it is to be published. While sources are missing the work piles up.
func (f *fold) next() (keys []mesh.Key, fresh bool) {
	if len(f.missing()) > 0 {
		return nil, false
	}
	draft := f.snapshot.Edit()
	for h := range f.hosts {
		draft.SetRules(h, f.rulesOf(h))
	}
	if f.door {
		draft.SetDoor(f.doorOf())
	}
	sources := f.registrySources()
	for h := range f.services {
		draft.SetService(h, f.serviceOf(h, sources))
		draft.SetEndpoints(h, f.endpointsOf(h, sources))
	}
	for id := range f.workloads {
		draft.SetWorkload(id, f.workloadOf(id, sources))
	}
	clear(f.hosts)
	clear(f.services)
	clear(f.workloads)
	fresh = !f.open
	f.door, f.open = false, true
	f.snapshot, keys = draft.Done()
	return keys, fresh || len(keys) > 0
}

// rulesOf returns the rules for a host, or nil.
func (f *fold) rulesOf(h mesh.Host) *mesh.RuleSet {
	var rules []*mesh.RouteRule
	for _, ref := range slices.SortedFunc(maps.Keys(f.rules[h]), mesh.Ref.Compare) {
		for _, r := range f.rules[h][ref].meaning.Rules {
			if r.Destination == h {
				rules = append(rules, r)
			}
		}
	}
	if len(rules) == 0 {
		delete(f.rules, h)
		return nil
	}
	return mesh.NewRuleSet(h, rules)
}

// doorOf returns what all Ingress objects say, in the order in which it is tried, or nil.
func (f *fold) doorOf() *mesh.Door {
	var rules []*mesh.DoorRule
	for _, c := range f.claims {
		rules = append(rules, c.holder().meaning.Doors...)
	}
	if len(rules) == 0 {
		return nil
	}
	slices.SortStableFunc(rules, compareDoorRules) // equal ones stay in the order of their object
	return &mesh.Door{Rules: rules}
}

// compareDoorRules orders as [mesh.Door] tells.
func compareDoorRules(a, b *mesh.DoorRule) int {
	return cmp.Or(
		compareBools(a.Default, b.Default),
		compareBools(b.Exact, a.Exact),
		cmp.Compare(len(b.Path), len(a.Path)),
		cmp.Compare(a.Path, b.Path),
		a.Object.Compare(b.Object),
	)
}

// compareBools orders false before true.
func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}
