package handover

import (
	"slices"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Course is a host whose stance somebody may not have confirmed, or which is not yet what is wanted. It is immutable.
type Course struct {
	Host mesh.Host
	Now  *mesh.Stance // nil: nothing is secured any more
	Want Target

	First   int64     // first revision that somebody may not have confirmed
	Last    int64     // revision that put Now in force
	Stepped int64     // revision of the last step, or of the last port that was let go; 0: none. What was confirmed before leads to no step
	Since   time.Time // when it left its target
	// Quiet tells that it was at its target all the time, as a new host is: there is nothing to hand over.
	Quiet bool
	// Ports are those that were not as they are wanted at some time since; 0 stands for the identities.
	Ports []int
	// Revisions are those that began it or changed something about the host since, ascending: they are in force when it is over.
	Revisions []int64
}

// mostRevisions bounds the revisions that one course knows. Nobody asks for older ones: see package push.
const mostRevisions = 1024

// Note returns the revisions with one more.
func Note(revisions []int64, revision int64) []int64 {
	if len(revisions) >= mostRevisions {
		revisions = slices.Clone(revisions[mostRevisions/2:])
	}
	return append(revisions, revision) // who has the shorter slice does not see it
}

// Unsettled returns the ports, sorted, that are not as they are wanted; 0 stands for the identities.
func Unsettled(now *mesh.Stance, want Target) []int {
	if now == nil {
		return nil
	}
	var ports []int
	if ids := want.identities(now.Identities); !slices.Equal(ids, now.Identities) || !slices.Equal(ids, now.Admitted) {
		ports = append(ports, 0)
	}
	for _, p := range now.Ports {
		if target, wanted := want.port(p.Port); !wanted || p != target {
			ports = append(ports, p.Port)
		}
	}
	return ports
}

// Join returns the numbers that are in one of two sorted lists.
func Join(a, b []int) []int {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

// IsOf tells whether the revision is in force only when the course is over.
func (c *Course) IsOf(revision int64) bool {
	_, found := slices.BinarySearch(c.Revisions, revision)
	return found && !c.Quiet
}

// Confirmed says that every proxy has what a snapshot says of some hosts, or something later.
type Confirmed struct {
	Snapshot *mesh.Snapshot
	Hosts    []mesh.Host
	// Shared: there are other replicas. Then a host takes a step only if that goes together with what they have reported.
	Shared  bool
	Reports map[mesh.Host][]Report
	// Without: some proxies have been away for longer than one takes to come back, and have confirmed nothing. They hold up what has
	// two sides, and no more: which identities a caller accepts and which endpoints it calls is told to one and the same proxy, and
	// one that is away goes on with both as they were.
	Without bool

	round *round
}

// Step returns the step of a host after a confirmed stance, and whether it may be taken.
func (c *Confirmed) Step(course *Course, confirmed *mesh.Stance) (next *mesh.Stance, may bool) {
	next, may = c.step(course, confirmed)
	if !may || !c.Without {
		return next, may
	}
	part := identitiesOf(course.Now, next)
	switch {
	case part != course.Now, !Same(confirmed, course.Now): // there is something to do, or to note
		return part, true
	default:
		return part, next == course.Now && course.ofIdentities()
	}
}

// identitiesOf returns a stance with the identities of its next step.
func identitiesOf(now, next *mesh.Stance) *mesh.Stance {
	if now == nil || next == nil {
		return now
	}
	return sameOr(now, &mesh.Stance{Host: now.Host, Ports: now.Ports, Identities: next.Identities, Admitted: next.Admitted})
}

// ofIdentities tells whether nothing but the identities was to change.
func (c *Course) ofIdentities() bool { return len(c.Ports) == 1 && c.Ports[0] == 0 }

// goesOn tells whether the host takes a step, or is over, without the proxies that have been away for long.
func (c *Course) goesOn(confirmed *mesh.Stance, shared bool, reports []Report) bool {
	without := Confirmed{Shared: shared, Reports: map[mesh.Host][]Report{c.Host: reports}, Without: true}
	_, may := without.Step(c, confirmed)
	return may
}

// step is Step where everybody has confirmed, as far as other replicas are concerned.
func (c *Confirmed) step(course *Course, confirmed *mesh.Stance) (next *mesh.Stance, may bool) {
	if !c.Shared || course.Quiet {
		return Step(confirmed, course.Now, course.Want), true
	}
	if reports, asked := c.Reports[course.Host]; asked {
		return course.stepWith(confirmed, reports)
	}
	return nil, false
}

// Standing tells which proxies may still do as they did before some revisions.
type Standing struct {
	Reached bool           // there is a snapshot of the last of them
	Proxies int            // connected ones and missed ones
	Waiting []mesh.ProxyID // that have not confirmed them, sorted
	Away    []mesh.ProxyID // that run and are without a stream, sorted
	Lost    []mesh.ProxyID // those of them that have been so for longer than a proxy takes to come back, sorted
	Refused []Refusal      // sorted by proxy
	// Replicas are words on other replicas that hold up a host. It is set where one host is told of.
	Replicas []string
}

// Refusal is that a proxy has not taken something about some hosts.
type Refusal struct {
	Proxy  mesh.ProxyID
	Hosts  []mesh.Host
	Reason string // in its own words
}

// refusing returns the proxies that have refused something about a host, sorted.
func (s *Standing) refusing(h mesh.Host) []mesh.ProxyID {
	var ids []mesh.ProxyID
	for _, r := range s.Refused {
		if slices.Contains(r.Hosts, h) {
			ids = append(ids, r.Proxy)
		}
	}
	return slices.Compact(ids)
}

// clear tells whether every proxy has confirmed what concerns a host.
func (s *Standing) clear(h mesh.Host) bool { return len(s.Away) == 0 && s.clearHere(h) }

// clearBut tells the same of every proxy but those that have been away for long.
func (s *Standing) clearBut(h mesh.Host) bool { return len(s.Away) == len(s.Lost) && s.clearHere(h) }

// clearHere tells the same of those that are connected.
func (s *Standing) clearHere(h mesh.Host) bool {
	return s.Reached && len(s.Waiting) == 0 && len(s.refusing(h)) == 0
}
