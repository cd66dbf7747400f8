package serve

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"sync"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/peers"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/store"
)

// Sighted is a source that knows what a cluster says of its objects beside their own words.
type Sighted interface {
	// Moved returns the objects of which anything has changed since it was last called.
	Moved() []mesh.Ref
	// Sights returns the names of all.
	Sights() []mesh.Ref
	// Sight returns one as it was read last; without a text: it cannot be read.
	Sight(ref mesh.Ref) (config.Object, mesh.Sight, bool)
}

const (
	mostRows = 10000 // of which another replica is told at once
	mostGone = 10000 // rows of objects that are gone
)

// reachFeed knows of each object of a cluster how far it is among the proxies of this replica, in which words. Of one that is gone it
// keeps a row without words, so that the others are told. It implements [peers.Reaches].
type reachFeed struct {
	store  *store.Store
	engine *push.Engine
	source Sighted
	name   string // of the source
	ours   func(mesh.Ref) bool
	wanted func() bool

	mu     sync.Mutex
	epoch  string
	last   int64 // number of the last change
	rows   map[mesh.Ref]*reachRow
	stamp  store.Stamp       // up to which words are known
	recent map[mesh.Ref]bool // changed since [reachFeed.moved] was last called
}

type reachRow struct {
	peers.Reach
	number int64 // of its last change
}

func newReachFeed(s *store.Store, e *push.Engine, source Sighted, name string, ours func(mesh.Ref) bool, wanted func() bool) *reachFeed {
	return &reachFeed{
		store: s, engine: e, source: source, name: name, ours: ours, wanted: wanted,
		epoch: rand.Text(), rows: map[mesh.Ref]*reachRow{}, recent: map[mesh.Ref]bool{},
	}
}

// Wanted implements [peers.Reaches].
func (f *reachFeed) Wanted() bool { return f.wanted() }

// News implements [peers.Reaches].
func (f *reachFeed) News(q peers.ReachQuestion) peers.ReachNews {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refresh()
	news := peers.ReachNews{Epoch: f.epoch, Upto: f.last}
	if q.Epoch != f.epoch {
		q.After = 0
	}
	if q.After >= f.last {
		return news
	}
	var rows []*reachRow
	for _, row := range f.rows {
		if row.number > q.After && !(q.After == 0 && row.gone()) { // who asks for everything knows of none
			rows = append(rows, row)
		}
	}
	slices.SortFunc(rows, func(a, b *reachRow) int { return cmp.Compare(a.number, b.number) })
	if len(rows) > mostRows {
		rows = rows[:mostRows]
		news.Upto = rows[mostRows-1].number
	}
	for _, row := range rows {
		news.Rows = append(news.Rows, row.Reach)
	}
	return news
}

// moved returns the objects that are told of differently since it was last called.
func (f *reachFeed) moved() map[mesh.Ref]bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refresh()
	recent := f.recent
	f.recent = map[mesh.Ref]bool{}
	return recent
}

// rest forgets what was told of differently.
func (f *reachFeed) rest() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.recent)
}

// row returns how far an object is here.
func (f *reachFeed) row(ref mesh.Ref) (peers.Reach, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if row := f.rows[ref]; row != nil {
		return row.Reach, true
	}
	return peers.Reach{}, false
}

// refresh takes up what has changed. The words of objects are taken up when the engine has what came of them. The lock is held.
func (f *reachFeed) refresh() {
	if len(f.store.Missing()) > 0 {
		return
	}
	stamp := f.store.Stamp()
	var changed []push.Reach
	var revision int64
	for more := true; more; {
		var some []push.Reach
		some, revision, more = f.engine.Reaches()
		changed = append(changed, some...)
	}
	if stamp != f.stamp && revision >= stamp.Revision() {
		if !stamp.SameObjects(f.stamp) {
			f.read()
		}
		f.stamp = stamp
	}
	if len(changed) == 0 {
		return
	}
	refused := map[mesh.Ref][]mesh.Problem{}
	for _, p := range f.engine.Problems() {
		refused[p.Object] = append(refused[p.Object], p)
	}
	for _, c := range changed {
		if !f.ours(c.Object) {
			continue
		}
		next := f.of(c.Object)
		next.Concerned, next.Confirmed, next.Refused = c.Concerned, c.Confirmed, refused[c.Object]
		f.set(next)
	}
}

// read takes up the words of all objects.
func (f *reachFeed) read() {
	for _, ref := range f.source.Sights() {
		if f.ours(ref) && f.rows[ref] == nil {
			f.take(ref)
		}
	}
	gone := 0
	for ref := range f.rows {
		if f.take(ref); f.rows[ref].gone() {
			gone++
		}
	}
	if gone > mostGone { // everybody is told everything anew
		maps.DeleteFunc(f.rows, func(_ mesh.Ref, row *reachRow) bool { return row.gone() })
		f.epoch = rand.Text()
	}
}

// take takes up the words of an object as the store has them, if it does.
func (f *reachFeed) take(ref mesh.Ref) {
	text, there := f.store.Said(f.name, ref)
	next := f.of(ref)
	if next.Version = ""; there {
		next.Version = versionOf(text)
	}
	f.set(next)
}

// gone tells whether there is nothing to say of the object.
func (r *reachRow) gone() bool { return r.Version == "" && r.Concerned == 0 && len(r.Refused) == 0 }

func (f *reachFeed) of(ref mesh.Ref) peers.Reach {
	if row := f.rows[ref]; row != nil {
		return row.Reach
	}
	return peers.Reach{Object: ref}
}

func (f *reachFeed) set(next peers.Reach) {
	was := f.of(next.Object)
	if was.Version == next.Version && was.Concerned == next.Concerned && was.Confirmed == next.Confirmed && slices.Equal(was.Refused, next.Refused) {
		return
	}
	f.last++
	f.rows[next.Object] = &reachRow{next, f.last}
	f.recent[next.Object] = true
}

// versionOf stands for the words of an object.
func versionOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}
