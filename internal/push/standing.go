package push

import (
	"cmp"
	"slices"
	"time"

	"github.com/lateen-mesh/lateen/internal/handover"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/view"
)

// Standing tells which proxies may still do as they did before some revisions, from the first to the last of them, and what is
// closed when that may be otherwise. It counts those that are connected, and those that run and are not. One that has come back
// counts as waiting until it has said what it has: perhaps that is older than its absence.
func (e *Engine) Standing(first, last int64) (handover.Standing, <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := handover.Standing{Reached: e.snapshot != nil && e.snapshot.Revision() >= last, Proxies: len(e.byID)}
	for p := range e.proxies {
		if p.isBehind(first, last) || (p.settled < 0 && e.runs(p.id)) {
			s.Waiting = append(s.Waiting, p.id)
		}
		s.Refused = append(s.Refused, e.refusedBy(p)...)
	}
	for id, since := range e.absent {
		if len(e.byID[id]) > 0 {
			continue
		}
		s.Away = append(s.Away, id)
		s.Proxies++
		if time.Since(since) >= comeBack {
			s.Lost = append(s.Lost, id)
		}
	}
	slices.Sort(s.Waiting)
	s.Waiting = slices.Compact(s.Waiting)
	slices.Sort(s.Away)
	slices.Sort(s.Lost)
	slices.SortStableFunc(s.Refused, func(a, b handover.Refusal) int { return cmp.Compare(a.Proxy, b.Proxy) })
	return s, e.changed
}

// isBehind tells whether the proxy has neither confirmed nor refused one of some revisions. The engine's lock is held.
func (p *Proxy) isBehind(first, last int64) bool {
	if len(p.marks) == keptRevisions && p.settled < first {
		return true // the older ones are forgotten
	}
	return slices.ContainsFunc(p.marks, func(mark int64) bool { return first <= mark && mark <= last })
}

// runs tells whether the proxy's workload runs. The lock is held.
func (e *Engine) runs(id mesh.ProxyID) bool {
	w := e.snapshot.Workload(id)
	return w != nil && w.Running
}

// refusedBy returns what the proxy has not taken about the stances of hosts, since whenever: in place of it the proxy has
// something older. The lock is held.
func (e *Engine) refusedBy(p *Proxy) []handover.Refusal {
	var list []handover.Refusal
	for _, r := range p.notTaken {
		if hosts := e.securedBy(p, r.id, r.of); len(hosts) > 0 {
			list = append(list, handover.Refusal{Proxy: p.id, Hosts: hosts, Reason: quote(r.reason)})
		}
	}
	return list
}

// securedBy returns the hosts of whose stance the proxy learns by some resources. The lock is held.
func (e *Engine) securedBy(p *Proxy, ids ...view.ID) []mesh.Host {
	var hosts []mesh.Host
	for _, id := range ids {
		if subset, err := mesh.ParseSubset(id.Name); err == nil {
			hosts = append(hosts, subset.Host)
		}
		g := e.groups[view.GroupOf(p.caller, id)]
		if g == nil {
			continue
		}
		if en := g.entries[g.classes.Of(p.caller)]; en != nil {
			for _, k := range en.reads {
				if k.Kind == mesh.KindStance {
					hosts = append(hosts, mesh.Host(k.Name))
				}
			}
		}
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}
