package store

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/lateen-mesh/lateen/internal/handover"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// stances is what the owner goroutine knows of how hosts are secured, beside what stands in the snapshot.
type stances struct {
	realm    mesh.Realm
	settings *mesh.Settings // that they were made from
	courses  *shelfDraft[mesh.Host, *handover.Course]
	steps    map[mesh.Host]*mesh.Stance // to be put in force next
	keeper   *stanceKeeper

	// Until the first snapshot: what was kept, and whether there was something that cannot be read.
	kept     map[mesh.Host]*mesh.Stance
	cautious bool
}

func newStances(c Config) stances {
	return stances{
		realm: realmOf(c), settings: &mesh.DefaultSettings, courses: newShelfDraft[mesh.Host, *handover.Course](),
		keeper: &stanceKeeper{cache: keeperOf(c), log: c.Log},
	}
}

// keeperOf returns no interface where nothing keeps stances, since an interface of a nil pointer is not nil.
func keeperOf(c Config) Keeper {
	if c.Stances == nil && c.Last != nil {
		return c.Last
	}
	return c.Stances
}

// realmOf returns what holds for the whole mesh: what is not said is as in a mesh that says nothing.
func realmOf(c Config) mesh.Realm {
	r := c.Realm
	r.Domain = cmp.Or(r.Domain, c.Domain)
	r.TrustDomain = cmp.Or(r.TrustDomain, r.Domain)
	r.CertTTL = cmp.Or(r.CertTTL, mesh.DefaultCertTTL)
	return r
}

// beginning is a host that is looked at, since something changed about it.
type beginning struct {
	host      mesh.Host
	now, next *mesh.Stance
	want      handover.Target
}

// remakeStances puts into the draft what may be put in force at once, since parts are stale, and the steps that were taken.
func (f *fold) remakeStances(d *mesh.Draft) {
	for h, s := range f.stances.steps {
		d.SetStance(h, s)
	}
	f.counters.Parts.Add(int64(len(f.stances.steps)))
	f.stances.steps = nil
	var all []beginning
	over, widened := map[mesh.Host]*mesh.Stance{}, false
	for _, h := range f.touched() {
		b := f.begin(h, f.isIdle(h))
		all = append(all, b)
		if b.next != f.snapshot.Stance(h) {
			over[h] = b.next
			widened = widened || b.now != nil
		}
	}
	if len(over) == 0 {
		f.track(all)
		return
	}
	if !widened {
		f.stances.keeper.later(f.snapshot, over) // a new host that is not kept yet starts at its target again
	} else if f.stances.keeper.save(f.snapshot, over) != nil {
		for i, b := range all { // what is only widened may be lost
			all[i] = f.begin(b.host, false)
			over[b.host] = all[i].next
		}
	}
	f.counters.Parts.Add(int64(len(over)))
	for h, s := range over {
		d.SetStance(h, s)
	}
	f.track(all)
}

// touched returns the hosts about which something may have changed, sorted.
func (f *fold) touched() []mesh.Host {
	hosts := map[mesh.Host]bool{}
	for k := range f.stale {
		switch k.Kind {
		case mesh.KindService, mesh.KindEndpoints:
			hosts[mesh.Host(k.Name)] = true
		case mesh.KindSettings:
			f.governed(hosts)
		}
	}
	if !f.open {
		for h := range f.stances.kept {
			hosts[h] = true
		}
	}
	return slices.Sorted(maps.Keys(hosts))
}

// governed adds the hosts that the settings tell something else than before.
func (f *fold) governed(hosts map[mesh.Host]bool) {
	before, now := f.stances.settings, cmp.Or(f.settingsOf(), &mesh.DefaultSettings)
	f.stances.settings = now
	if before.AuthPolicy != now.AuthPolicy {
		for _, k := range f.snapshot.Keys(mesh.KindService) {
			hosts[mesh.Host(k.Name)] = true
		}
		return
	}
	for _, h := range slices.Concat(before.MTLSExcluded, now.MTLSExcluded) {
		if before.Excludes(h) != now.Excludes(h) {
			hosts[h] = true
		}
	}
}

// isIdle tells whether nobody has an endpoint of the host.
func (f *fold) isIdle(h mesh.Host) bool {
	set := f.snapshot.Endpoints(h)
	return f.open && (set == nil || len(set.Endpoints) == 0)
}

// begin tells what may be put in force at once about a host.
func (f *fold) begin(h mesh.Host, idle bool) beginning {
	b := beginning{host: h, now: f.snapshot.Stance(h)}
	if !f.open {
		b.now = f.stances.kept[h]
	}
	b.want = handover.Want(h, f.serviceOf(h), f.endpointsOf(h), f.stances.settings, f.stances.realm)
	if b.now == nil && !f.open && f.stances.cautious {
		b.next = handover.Cautious(b.want)
	} else {
		b.next = handover.Begin(b.now, b.want, idle)
	}
	return b
}

// track follows the hosts that were looked at, but for those that have long been as they are wanted.
func (f *fold) track(all []beginning) {
	revision, now := f.snapshot.Revision()+1, time.Now()
	for _, b := range all {
		c, tracked := f.stances.courses.get(b.host)
		reached := handover.Reached(b.next, b.want)
		if !tracked && reached && b.next == f.snapshot.Stance(b.host) {
			continue
		}
		next := &handover.Course{Host: b.host, First: revision, Last: revision, Quiet: true, Since: now}
		if tracked {
			next = new(*c)
		}
		if b.next != b.now {
			next.Last = revision
		}
		if handover.Leaves(b.now, b.next) {
			next.Stepped = revision
		}
		if next.Quiet && !reached {
			next.Quiet, next.Since = false, now
		}
		if !next.Quiet {
			next.Ports = handover.Join(next.Ports, handover.Unsettled(b.next, b.want))
			next.Revisions = handover.Note(next.Revisions, revision)
		}
		next.Now, next.Want = b.next, b.want
		f.stances.courses.put(b.host, next, true)
	}
	if !f.open {
		f.stances.kept = nil
	}
}

// advance takes the steps that may follow what is confirmed. They are on the disk before anybody sees them: else nothing is
// changed, and the error is returned.
func (f *fold) advance(all []handover.Confirmed) error {
	steps, revision := map[mesh.Host]*mesh.Stance{}, f.snapshot.Revision()+1
	var courses []*handover.Course
	over := []mesh.Host{}
	for _, c := range all {
		at := c.Snapshot.Revision()
		for _, h := range c.Hosts {
			now, tracked := f.stances.courses.get(h)
			if !tracked || at < now.First || at < now.Stepped {
				continue
			}
			was := c.Snapshot.Stance(h)
			step, may := c.Step(now, was)
			if !may {
				continue
			}
			next := new(*now)
			next.First, next.Now = at+1, step
			switch {
			case next.Now != now.Now:
				next.Last, next.Stepped = revision, revision
				steps[h] = next.Now
			case handover.Same(was, now.Now):
				over = append(over, h)
				continue
			}
			courses = append(courses, next)
		}
	}
	if len(steps) > 0 {
		if err := f.stances.keeper.save(f.snapshot, steps); err != nil {
			return err
		}
	}
	f.counters.Steps.Add(int64(len(steps)))
	f.stances.steps = steps
	for _, c := range courses {
		f.stances.courses.put(c.Host, c, true)
	}
	for _, h := range over {
		f.stances.courses.put(h, nil, false)
	}
	return nil
}

// AdvanceStances takes, for hosts of which every proxy has confirmed what a snapshot says, the steps that may follow, and
// publishes them together. It returns the revision that holds them. On an error, as of a disk that does not keep them,
// nothing is changed.
func (s *Store) AdvanceStances(ctx context.Context, confirmed []handover.Confirmed) (int64, error) {
	return s.change(ctx, ofStances, func(f *fold) error { return f.advance(confirmed) })
}

// Courses returns the hosts whose stance somebody may not have confirmed, or which is not what is wanted, in no order, and
// the snapshot that they belong to.
func (s *Store) Courses() (*mesh.Snapshot, []*handover.Course) {
	now := s.current.Load()
	var all []*handover.Course
	for _, c := range now.courses.all() {
		all = append(all, c)
	}
	return now.snapshot, all
}
