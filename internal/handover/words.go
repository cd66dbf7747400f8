package handover

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Moving is a host on its way to what is wanted, and who holds it up.
type Moving struct {
	*Course
	Standing Standing
}

// Refusing returns the refusals that are about this host.
func (m Moving) Refusing() []Refusal {
	var list []Refusal
	for _, r := range m.Standing.Refused {
		if slices.Contains(r.Hosts, m.Host) {
			list = append(list, r)
		}
	}
	return list
}

// Moving lists the hosts on their way, sorted.
func (r *Runner) Moving() []Moving {
	_, courses := r.config.Store.Courses()
	return r.moving(slices.DeleteFunc(courses, func(c *Course) bool { return c.Quiet }))
}

// Count returns how many hosts are on their way.
func (r *Runner) Count() int {
	_, courses := r.config.Store.Courses()
	n := 0
	for _, c := range courses {
		if !c.Quiet {
			n++
		}
	}
	return n
}

// Await waits, at most for the given time, until the hosts are where they are wanted for which a revision began that or
// changed something meanwhile, and returns those that are not, sorted.
func (r *Runner) Await(ctx context.Context, revision int64, wait time.Duration) []Moving {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		changed := r.changes()
		_, courses := r.config.Store.Courses()
		left := slices.DeleteFunc(courses, func(c *Course) bool { return !c.IsOf(revision) })
		if len(left) == 0 {
			return nil
		}
		select {
		case <-changed:
			continue
		case <-timer.C:
		case <-ctx.Done():
		}
		return r.moving(left)
	}
}

func (r *Runner) moving(courses []*Course) []Moving {
	slices.SortFunc(courses, func(a, b *Course) int { return strings.Compare(string(a.Host), string(b.Host)) })
	type span struct{ first, last int64 }
	standings := map[span]Standing{} // hosts that move together wait for the same
	list := make([]Moving, 0, len(courses))
	for _, c := range courses {
		at := span{c.First, c.Last}
		s, known := standings[at]
		if !known {
			s, _ = r.config.Proxies.Standing(c.First, c.Last)
			standings[at] = s
		}
		list = append(list, Moving{c, r.withOthers(s, c.Host)})
	}
	return list
}

// Step says what the proxies have been told about a port, or with port 0 about the identities, and what that waits for.
func (m Moving) Step(port int) string { return m.told(port) + "; " + m.Standing.words(m.Host) }

// Words says the same of the first port, or of the identities, that is not where it is wanted.
func (m Moving) Words() string {
	left := Unsettled(m.Now, m.Want)
	if len(left) == 0 {
		left = m.Ports // the last step is not confirmed
	}
	if len(left) == 0 {
		left = []int{0}
	}
	return m.Step(left[0])
}

// told says what the proxies have been told.
func (m Moving) told(port int) string {
	if port == 0 || m.Now == nil {
		return m.toldIdentities()
	}
	if !has(m.Now, port) {
		return "the port is gone"
	}
	p := m.Now.Port(port)
	target, wanted := m.Want.port(port)
	switch {
	case !wanted:
		return "the port goes"
	case p.Accept == mesh.Both && p.Speak != target.Speak:
		return "servers take both"
	case p.Accept == mesh.Both && p.Accept != target.Accept:
		return "callers speak " + words(p.Speak)
	case p.Accept == mesh.Both:
		return "servers take both, callers speak " + words(p.Speak)
	default:
		return "servers take only " + words(p.Accept)
	}
}

func (m Moving) toldIdentities() string {
	if m.Now == nil {
		return "nothing is secured any more"
	}
	wanted := m.Want.identities(m.Now.Identities)
	if soon := intersection(wanted, m.Now.Identities); len(soon) > 0 && len(intersection(soon, m.Now.Admitted)) < len(soon) {
		var more []string
		for _, id := range soon {
			if !contains(m.Now.Admitted, id) {
				more = append(more, id)
			}
		}
		return "callers accept " + list(more) + ", whose endpoints are not called yet"
	}
	if !slices.Equal(m.Now.Identities, wanted) {
		return "endpoints of other identities are not called any more"
	}
	return "callers accept only " + list(wanted)
}

// words says who holds up a host.
func (s *Standing) words(h mesh.Host) string {
	refusing := s.refusing(h)
	held := len(s.Waiting) + len(s.Away)
	switch {
	case !s.Reached:
		return "not sent yet"
	case held+len(refusing)+len(s.Replicas) == 0:
		return "confirmed by all proxies"
	}
	var parts []string
	if held > 0 {
		parts = append(parts, fmt.Sprintf("waiting for %d of %d proxies", held, s.Proxies))
	}
	if len(s.Away) > 0 {
		parts = append(parts, list(s.Away)+" away")
	}
	if len(refusing) > 0 {
		parts = append(parts, "refused by "+list(refusing))
	}
	if len(s.Replicas) > 0 {
		parts = append(parts, list(s.Replicas))
	}
	return strings.Join(parts, ", ")
}

// longestList bounds how many names a list of words has.
const longestList = 3

// list puts some names into words.
func list[T ~string](names []T) string {
	var words []string
	for _, n := range names[:min(len(names), longestList)] {
		words = append(words, string(n))
	}
	if more := len(names) - len(words); more > 0 {
		words = append(words, fmt.Sprintf("%d more", more))
	}
	return strings.Join(words, ", ")
}

func words(t mesh.Transport) string {
	if t == mesh.Plain {
		return "plain text"
	}
	return "mutual TLS"
}
