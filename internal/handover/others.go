package handover

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Report is what another replica of the control plane says of a host.
type Report struct {
	Now   *mesh.Stance `json:"now,omitempty"`  // nil: nothing is secured there
	Want  *Target      `json:"want,omitempty"` // nil: it is at rest there, as it is wanted and confirmed
	Clear bool         `json:"clear"`          // every proxy that is connected there has confirmed it
	Waits string       `json:"waits,omitempty"`
}

// Answer is what another replica says of several hosts.
type Answer struct {
	Replica string               `json:"replica"`
	Silent  string               `json:"-"` // why it says nothing; "": it has answered
	Reports map[mesh.Host]Report `json:"reports"`
	Here    []mesh.ProxyID       `json:"here,omitempty"` // proxies that the asker misses and that are connected there
}

// Others are the other replicas of the control plane.
type Others interface {
	// Ask asks all that count of some hosts, and of proxies that are not connected here. One that cannot be asked is silent.
	Ask(ctx context.Context, hosts []mesh.Host, missing []mesh.ProxyID) []Answer
}

// Compatible tells whether proxies that hold one stance and those that hold another understand one another: servers take what
// callers speak, and callers accept the endpoints that are called.
func Compatible(a, b *mesh.Stance) bool {
	if a == nil || b == nil {
		return a == b
	}
	for _, p := range a.Ports {
		if !has(b, p.Port) {
			continue // there is no caller there, and no server
		}
		o := b.Port(p.Port)
		if !takes(o.Accept, p.Speak) || !takes(p.Accept, o.Speak) {
			return false
		}
	}
	return subset(a.Admitted, b.Identities) && subset(b.Admitted, a.Identities)
}

func takes(accept, speak mesh.Transport) bool { return accept == mesh.Both || accept == speak }

func subset(a, b []string) bool {
	return !slices.ContainsFunc(a, func(x string) bool { return !contains(b, x) })
}

// stepWith returns the step that may follow a confirmed stance where other replicas say this, and whether one may. They must all
// want the same, so that nobody steps the other way in the same moment, and their proxies must hold what they say. Of each
// port, and of the identities, only that changes which their proxies understand. Where nothing is left to do it must be so
// everywhere.
func (c *Course) stepWith(confirmed *mesh.Stance, reports []Report) (next *mesh.Stance, may bool) {
	next = Step(confirmed, c.Now, c.Want)
	over := next == c.Now
	if over && !Same(confirmed, c.Now) {
		return next, true // it is only noted what is confirmed
	}
	for _, r := range reports {
		if !r.Clear || !r.wants(c.Want) || over && !Reached(r.Now, c.Want) {
			return nil, false
		}
	}
	if over {
		return next, true
	}
	next = sameOr(c.Now, understood(next, c.Now, reports))
	return next, next != c.Now
}

func (r Report) wants(t Target) bool {
	if r.Want == nil {
		return Reached(r.Now, t)
	}
	return r.Want.Equal(t)
}

// understood returns what of a step from now on goes together with the proxies of all others.
func understood(next, now *mesh.Stance, reports []Report) *mesh.Stance {
	result := &mesh.Stance{Host: now.Host}
	if next != nil {
		result.Identities, result.Admitted = next.Identities, next.Admitted
	}
	for _, p := range now.Ports {
		if step, stays := portWith(next, p, reports); stays {
			result.Ports = append(result.Ports, step)
		}
	}
	if len(result.Ports) == 0 {
		return nil
	}
	var called []string // by somebody elsewhere
	for _, r := range reports {
		if r.Now != nil {
			result.Admitted = intersection(result.Admitted, r.Now.Identities)
			called = union(called, r.Now.Admitted)
		}
	}
	result.Identities = union(result.Identities, intersection(now.Identities, called))
	return result
}

// portWith returns the step of a port, or the port as it is where somebody elsewhere would not understand it, and whether it
// stays.
func portWith(next *mesh.Stance, p mesh.PortStance, reports []Report) (step mesh.PortStance, stays bool) {
	stays = next != nil && has(next, p.Port)
	step = p
	if stays {
		step = next.Port(p.Port)
	}
	for _, r := range reports {
		if r.Now == nil || !has(r.Now, p.Port) {
			continue // there is no caller there, and no server
		}
		o := r.Now.Port(p.Port)
		if !stays && o.Policy != "" || stays && !(takes(o.Accept, step.Speak) && takes(step.Accept, o.Speak)) {
			return p, true
		}
	}
	return step, stays
}

// Report says of some hosts how they are secured here, for another replica.
func (r *Runner) Report(hosts []mesh.Host) map[mesh.Host]Report {
	snapshot, courses := r.config.Store.Courses()
	moving := map[mesh.Host]*Course{}
	for _, c := range courses {
		moving[c.Host] = c
	}
	reports := make(map[mesh.Host]Report, len(hosts))
	standings := map[[2]int64]*Standing{} // hosts that move together wait for the same
	for _, h := range hosts {
		c := moving[h]
		if c == nil {
			reports[h] = Report{Now: snapshot.Stance(h), Clear: true}
			continue
		}
		at := [2]int64{c.First, c.Last}
		if standings[at] == nil {
			s, _ := r.config.Proxies.Standing(c.First, c.Last)
			s.Away = nil // whoever asks knows of those whether they are anywhere
			standings[at] = &s
		}
		report := Report{Now: c.Now, Want: &c.Want, Clear: standings[at].clear(h)}
		if !report.Clear {
			report.Waits = standings[at].words(h)
		}
		reports[h] = report
	}
	return reports
}

// askAgain is how long nobody asks the other replicas after they have not agreed.
const askAgain = 200 * time.Millisecond

// asked is a host of which everybody here has confirmed the last step, so that the other replicas are asked.
type asked struct {
	round  *round
	course *Course
}

// heard is what the other replicas have said last, for people.
type heard struct {
	holds map[mesh.Host][]string // who holds a host up, and why
	here  map[mesh.ProxyID]bool  // connected to one of them
}

// agree leaves those hosts that all other replicas have agreed on for a pause, and tells when to look again. New hosts at their
// target need no agreement: nobody has called them yet.
func (r *Runner) agree(ctx context.Context, confirmed []Confirmed, wait time.Duration) ([]Confirmed, time.Duration) {
	if r.config.Others == nil {
		return confirmed, wait
	}
	reports, without, again := r.askOthers(ctx)
	if again > 0 && (wait == 0 || again < wait) {
		wait = again
	}
	var left []Confirmed
	for _, c := range confirmed {
		quiet := Confirmed{Snapshot: c.Snapshot, Shared: true, round: c.round}
		c.Shared, c.Without, c.Reports = true, without, map[mesh.Host][]Report{}
		c.Hosts = slices.DeleteFunc(c.Hosts, func(h mesh.Host) bool {
			if c.round.quiet[h] {
				quiet.Hosts = append(quiet.Hosts, h)
				return true
			}
			c.Reports[h] = reports[h]
			return reports[h] == nil
		})
		for _, c := range []Confirmed{quiet, c} {
			if len(c.Hosts) > 0 {
				left = append(left, c)
			}
		}
	}
	return left, wait
}

// askOthers returns what the others say of the hosts that they have agreed on, whether these go on without proxies that have been away
// for long, and when to ask again.
func (r *Runner) askOthers(ctx context.Context) (agreed map[mesh.Host][]Report, without bool, again time.Duration) {
	if len(r.asking) == 0 {
		r.hear(heard{})
		return nil, false, 0
	}
	hosts, missing, lost := r.question()
	answers := r.config.Others.Ask(ctx, hosts, missing)
	now, pause := time.Now(), max(r.config.Pause, 0)
	h := heard{holds: map[mesh.Host][]string{}, here: hereOf(answers)}
	missing = slices.DeleteFunc(missing, func(id mesh.ProxyID) bool { return h.here[id] })
	without = len(missing) > 0
	recent := slices.ContainsFunc(missing, func(id mesh.ProxyID) bool { return !lost[id] })
	agreed = map[mesh.Host][]Report{}
	for _, a := range r.asking {
		confirmed := a.round.snapshot.Stance(a.course.Host)
		reports, holds := reportsOf(answers, a.course, confirmed)
		h.holds[a.course.Host] = holds
		if recent || (without && !a.course.goesOn(confirmed, true, reports)) { // which is told of everybody who is away
			holds = append(slices.Clone(holds), list(missing)+" away")
		}
		if len(holds) > 0 {
			delete(a.round.agreed, a.course.Host)
			again = askAgain
			r.warnOfOthers(a, holds, now)
			continue
		}
		since, was := a.round.agreed[a.course.Host]
		if !was {
			since = now
			a.round.agreed[a.course.Host] = now
		}
		if left := since.Add(pause).Sub(now); left <= 0 {
			agreed[a.course.Host] = reports
		} else if again == 0 || left < again {
			again = left
		}
	}
	r.hear(h)
	return agreed, without, again
}

// question returns the hosts that the others are asked of, and the proxies that nobody here has seen, and which of these for long.
func (r *Runner) question() (hosts []mesh.Host, missing []mesh.ProxyID, lost map[mesh.ProxyID]bool) {
	lost = map[mesh.ProxyID]bool{}
	for _, a := range r.asking {
		hosts = append(hosts, a.course.Host)
		missing = append(missing, a.round.away...)
		for _, id := range a.round.lost {
			lost[id] = true
		}
	}
	slices.Sort(missing)
	return hosts, slices.Compact(missing), lost
}

func hereOf(answers []Answer) map[mesh.ProxyID]bool {
	here := map[mesh.ProxyID]bool{}
	for _, a := range answers {
		for _, id := range a.Here {
			here[id] = true
		}
	}
	return here
}

// reportsOf returns what all say of a host, and who holds it up.
func reportsOf(answers []Answer, c *Course, confirmed *mesh.Stance) (reports []Report, holds []string) {
	reports = []Report{}
	for _, a := range answers {
		report, told := a.Reports[c.Host]
		switch {
		case a.Silent != "":
			holds = append(holds, fmt.Sprintf("replica %s cannot be asked (%s)", a.Replica, a.Silent))
		case !told:
			holds = append(holds, fmt.Sprintf("replica %s does not answer of it", a.Replica))
		case report.Waits != "":
			holds = append(holds, fmt.Sprintf("replica %s: %s", a.Replica, report.Waits))
		case !c.goesWith(confirmed, report):
			holds = append(holds, fmt.Sprintf("replica %s has not come as far", a.Replica))
		}
		reports = append(reports, report)
	}
	if _, may := c.stepWith(confirmed, reports); !may && len(holds) == 0 {
		holds = append(holds, "the other replicas are not all as far")
	}
	return reports, holds
}

// goesWith tells whether a report is no reason to wait.
func (c *Course) goesWith(confirmed *mesh.Stance, r Report) bool {
	_, may := c.stepWith(confirmed, []Report{r})
	return may
}

func (r *Runner) hear(h heard) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.heard = h
}

// withOthers adds to who holds up a host here what the other replicas have said.
func (r *Runner) withOthers(s Standing, h mesh.Host) Standing {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.config.Others == nil {
		return s
	}
	s.Away = slices.DeleteFunc(slices.Clone(s.Away), func(id mesh.ProxyID) bool { return r.heard.here[id] })
	s.Replicas = r.heard.holds[h]
	return s
}

// warnOfOthers tells once who holds up a round that takes long.
func (r *Runner) warnOfOthers(a asked, holds []string, now time.Time) {
	if a.round.held || now.Sub(a.round.began) < tellAfter {
		return
	}
	a.round.held = true
	r.config.Log.Warn("security handover waits", "host", string(a.course.Host), "hosts", len(r.asking), "waits", list(holds))
}
