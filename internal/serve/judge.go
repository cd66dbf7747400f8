package serve

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/store"
)

// Bounds of how much work a [Judge] makes.
const (
	share     = 20              // what is wrong is looked up again after so many times as long as that took
	lateBound = 3 * time.Second // for which another replica may be without an object that this one has
)

// Judge tells what there is to say of the objects of a cluster, for whoever writes it into their status: what is wrong with them,
// and how far they are among the proxies of all replicas.
type Judge struct {
	plane *Plane
	kinds config.Kinds // ours, whose objects are judged
	feed  *reachFeed

	mu    sync.Mutex
	told  map[mesh.Ref][]mesh.Problem // as of the stamp
	stamp store.Stamp
	next  time.Time // not before is it looked up again what is wrong
	late  map[mesh.Ref]time.Time
}

// newJudge makes what judges the objects of the first source that says enough of them, if there is one.
func (p *Plane) newJudge() {
	kinds := slices.DeleteFunc(KindsOf(p.config.Domain), func(k config.Kind) bool { return k.Spec == nil })
	for _, attached := range p.attached {
		source, ok := attached.(Sighted)
		if !ok || len(p.config.Clusters) == 0 {
			continue
		}
		ours := func(ref mesh.Ref) bool { return kinds.Named(ref.Kind) != nil }
		wanted := p.config.Shared.Leads
		if wanted == nil {
			wanted = func() bool { return false }
		}
		feed := newReachFeed(p.store, p.engine, source, p.config.Clusters[0], ours, wanted)
		p.judge = &Judge{plane: p, kinds: kinds, feed: feed, late: map[mesh.Ref]time.Time{}}
		return
	}
}

// Judge returns what judges objects; nil: no source says enough of them.
func (p *Plane) Judge() *Judge { return p.judge }

// News returns the objects of which there may be something else to say than when it was last asked, or all.
func (j *Judge) News(all bool) []mesh.Ref {
	moved := j.feed.moved()
	for _, ref := range j.feed.source.Moved() {
		moved[ref] = true
	}
	if j.plane.peers != nil {
		others, every := j.plane.peers.ReachMoved()
		for _, ref := range others {
			moved[ref] = true
		}
		all = all || every
	}
	j.lookUp(moved)
	if all {
		for _, ref := range j.feed.source.Sights() {
			moved[ref] = true
		}
	}
	maps.DeleteFunc(moved, func(ref mesh.Ref, _ bool) bool { return !j.feed.ours(ref) })
	return slices.SortedFunc(maps.Keys(moved), mesh.Ref.Compare)
}

// Rest forgets which objects there may be something else to say of, for as long as nobody asks: whoever asks again asks for all.
func (j *Judge) Rest() {
	j.feed.rest()
	j.feed.source.Moved()
	if j.plane.peers != nil {
		j.plane.peers.ReachMoved()
	}
}

// lookUp looks up what is wrong now, and adds the objects of which that is something else.
func (j *Judge) lookUp(moved map[mesh.Ref]bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	began, s := time.Now(), j.plane.store
	stamp := s.Stamp()
	if stamp == j.stamp || began.Before(j.next) || len(s.Missing()) > 0 {
		return
	}
	told := map[mesh.Ref][]mesh.Problem{}
	for _, p := range s.Problems() {
		if j.feed.ours(p.Object) {
			told[p.Object] = append(told[p.Object], p)
		}
	}
	for _, one := range []map[mesh.Ref][]mesh.Problem{j.told, told} {
		for ref := range one {
			if !slices.Equal(j.told[ref], told[ref]) {
				moved[ref] = true
			}
		}
	}
	j.told, j.stamp = told, stamp
	j.next = time.Now().Add(share * time.Since(began))
}

// Judge returns what there is to say of an object, nil where there is none of the name. Not ready: something of what it says now is
// still to be found out.
func (j *Judge) Judge(ref mesh.Ref) (*mesh.Judged, bool) {
	object, sight, there := j.feed.source.Sight(ref)
	kind := j.kinds.Named(ref.Kind)
	j.mu.Lock()
	defer j.mu.Unlock()
	if !there || kind == nil {
		delete(j.late, ref)
		return nil, true
	}
	s := j.plane.store
	if len(s.Missing()) > 0 {
		return nil, false
	}
	if said, ok := s.Said(j.feed.name, ref); ok != (object.Text != "") || said != object.Text {
		return nil, false
	}
	if now := s.Stamp(); !now.SameObjects(j.stamp) {
		return nil, false // it may be about the object as it was before
	}
	judged := &mesh.Judged{Object: ref, APIVersion: kind.APIVersions[0], Plural: kind.Plural, Sight: sight}
	for _, p := range j.told[ref] {
		if p.Position.File == "" || p.Position.File == object.Origin.File || object.Text == "" {
			judged.Problems = append(judged.Problems, p) // else it is about one of the same name that stands elsewhere
		}
	}
	if mesh.HasErrors(judged.Problems) {
		delete(j.late, ref)
		return judged, true
	}
	return judged, j.reach(judged, versionOf(object.Text))
}

// reach adds how far an object is, and tells whether that is known of its words as they are. The lock is held.
func (j *Judge) reach(judged *mesh.Judged, version string) bool {
	here, known := j.feed.row(judged.Object)
	if !known || here.Version != version {
		return false
	}
	reach := mesh.Reach{Concerned: here.Concerned, Confirmed: here.Confirmed}
	judged.Problems = append(judged.Problems, here.Refused...)
	if j.plane.peers != nil {
		others, refused, late := j.plane.peers.Reach(judged.Object, version)
		if late {
			if j.late[judged.Object].IsZero() {
				j.late[judged.Object] = time.Now()
			}
			if time.Since(j.late[judged.Object]) < lateBound {
				return false
			}
		} else {
			delete(j.late, judged.Object)
		}
		reach.Concerned += others.Concerned
		reach.Confirmed += others.Confirmed
		reach.Unsure = others.Unsure
		judged.Problems = append(judged.Problems, refused...)
	}
	judged.Reach = &reach
	return true
}
