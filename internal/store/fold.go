package store

import (
	"cmp"
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
	told       map[string][]mesh.Problem    // by source, as handed in; replaced, never changed
	claims     []claim                      // sorted by ref; replaced, never changed
	index      map[mesh.Key]map[*entry]bool // by part of the snapshot: the holders that have a say in it
	registries map[string]*registry
	clashes    []mesh.Problem    // of registries; replaced, never changed
	stale      map[mesh.Key]bool // parts that must be made anew for the next snapshot
}

func newFold(c Config) *fold {
	return &fold{
		kinds: c.Kinds, required: slices.Clone(c.Sources), snapshot: mesh.NewSnapshot(c.Domain),
		reported: map[string]bool{}, objects: map[string][]*entry{}, told: map[string][]mesh.Problem{},
		index: map[mesh.Key]map[*entry]bool{}, registries: map[string]*registry{}, stale: map[mesh.Key]bool{},
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
	sources := f.registrySources()
	for k := range f.stale {
		f.remake(draft, k, sources)
	}
	clear(f.stale)
	fresh = !f.open
	f.open = true
	f.snapshot, keys = draft.Done()
	return keys, fresh || len(keys) > 0
}
