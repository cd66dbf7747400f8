package store

import (
	"cmp"
	"slices"
	"time"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// fold is everything that the owner goroutine works on. A change touches what it names: the parts of the snapshot and the
// problems that may differ then are noted, and made anew before the change is shown.
type fold struct {
	kinds    config.Kinds
	required []string
	counters *Counters
	snapshot *mesh.Snapshot // the last one published
	open     bool           // whether one was published
	silence  silence

	reported   map[string]bool
	objects    map[string][]*entry
	claims     *shelfDraft[mesh.Ref, claim]
	index      map[mesh.Key]map[*entry]bool // by part of the snapshot: the holders that have a say in it
	registries map[string]*registry
	ranked     []string          // the sources that have a registry, by rank
	stale      map[mesh.Key]bool // parts that must be made anew for the next snapshot

	problems *shelfDraft[subject, []mesh.Problem]
	doubtful map[mesh.Key]bool // parts of which it must be told anew what is wrong
	fresh    []mesh.Problem    // that nobody was told yet

	stances  stances
	settings *mesh.Settings // by which objects were read
}

func newFold(c Config, counters *Counters) *fold {
	f := &fold{
		silence: silence{optional: slices.Clone(c.Optional), standIn: map[string]time.Time{}, refused: map[string]mesh.Problem{}},
		kinds:   c.Kinds, required: slices.Clone(c.Sources), counters: counters, snapshot: mesh.NewSnapshotOf(realmOf(c)),
		reported: map[string]bool{}, objects: map[string][]*entry{}, claims: newShelfDraft[mesh.Ref, claim](),
		index: map[mesh.Key]map[*entry]bool{}, registries: map[string]*registry{}, stale: map[mesh.Key]bool{},
		problems: newShelfDraft[subject, []mesh.Problem](), doubtful: map[mesh.Key]bool{}, stances: newStances(c),
		settings: &mesh.DefaultSettings,
	}
	f.loadStances()
	return f
}

// compareSources orders sources by rank.
func (f *fold) compareSources(a, b string) int {
	known := slices.Concat(f.required, f.silence.optional)
	rank := func(source string) int {
		if i := slices.Index(known, source); i >= 0 {
			return i
		}
		return len(known)
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b))
}

func (f *fold) missing() []string {
	var missing []string
	for _, source := range f.required {
		if _, standsIn := f.silence.standIn[source]; !f.reported[source] && !standsIn {
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
	f.counters.Parts.Add(int64(len(f.stale)))
	for k := range f.stale {
		f.remake(draft, k)
	}
	f.remakeStances(draft)
	f.stale = map[mesh.Key]bool{} // a map that was large once stays so, and costs by its size
	fresh = !f.open
	f.open = true
	f.snapshot, keys = draft.Done()
	return keys, fresh || len(keys) > 0
}
