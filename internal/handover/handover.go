// Package handover changes how the ports of a mesh are secured, and by which identities, without a failed request: in
// steps, of which each waits until all proxies have confirmed the one before.
//
// The pure part knows no clock and no network. In comes what a host is to be ([Want]) and how it is secured now, its
// [mesh.Stance]; out goes what may be put in force at once ([Begin]) and what may follow once everybody has confirmed
// ([Step]). Servers take both before callers switch, and one kind only when all have; callers accept an identity before an
// endpoint with it is called, and as long as one is, for which nobody is waited for who has been away for long. So no caller
// speaks what a server does not take, whatever mixture of unconfirmed stances proxies hold. [Runner] watches the proxies and has
// the store, which keeps the stances, take the steps.
//
// A step is on the disk before it is published, so who starts again goes on from it, or from one step before: both understand
// one another. What was never known starts at its target. Where what was kept is damaged nobody knows what proxies do: there
// servers take both, and callers speak as in the end ([Cautious]), which is what they do in a mesh at rest, as almost every one
// is. Plain text may be taken then where it is not wanted until all have confirmed; that is told.
package handover

import (
	"cmp"
	"slices"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Target is what a host is to be.
type Target struct {
	Host  mesh.Host
	Ports []mesh.PortStance // as they are when nothing is left to do, sorted by number
	// Identities are the SPIFFE IDs of the endpoints, and those that the service names beside them, sorted.
	Identities []string
	// Vacant tells that no endpoint has an identity now. What was accepted then stays so: the endpoints may just restart.
	Vacant bool
}

// Want returns what a host is to be. Without a service (nil) it is to have no ports.
func Want(h mesh.Host, svc *mesh.Service, eps *mesh.EndpointSet, s *mesh.Settings, r mesh.Realm) Target {
	t := Target{Host: h, Vacant: true}
	if svc == nil {
		return t
	}
	excluded := s.Excludes(h)
	for _, p := range svc.Ports {
		if n := len(t.Ports); n > 0 && t.Ports[n-1].Port == p.Number {
			continue // the first by name counts
		}
		t.Ports = append(t.Ports, mesh.PortStance{Port: p.Number, Policy: s.Policy(p)}.Settled(excluded))
	}
	t.Identities = slices.Clone(svc.Identities)
	for _, account := range accountsOf(eps) {
		t.Identities, t.Vacant = append(t.Identities, r.IdentityOf(svc.Namespace, account)), false
	}
	t.Identities = sorted(t.Identities)
	return t
}

// accountsOf returns the accounts of the endpoints, of which there may be none (nil), in no order.
func accountsOf(eps *mesh.EndpointSet) []string {
	if eps == nil {
		return nil
	}
	var accounts []string
	last := "" // most endpoints of a host have the same one
	for i := range eps.Endpoints {
		if account := eps.Endpoints[i].Account; account != "" && account != last {
			accounts, last = append(accounts, account), account
		}
	}
	return sorted(accounts)
}

// port returns what a port is to be. One that is not to be has no policy.
func (t Target) port(number int) (mesh.PortStance, bool) {
	for _, p := range t.Ports {
		if p.Port == number {
			return p, true
		}
	}
	return mesh.PortStance{Port: number}, false
}

// identities returns those that are to be accepted by callers which accept some now.
func (t Target) identities(now []string) []string {
	if t.Vacant {
		return union(now, t.Identities)
	}
	return t.Identities
}

// Equal tells whether two are the same.
func (t Target) Equal(o Target) bool {
	return t.Host == o.Host && t.Vacant == o.Vacant && slices.Equal(t.Ports, o.Ports) && slices.Equal(t.Identities, o.Identities)
}

// Begin returns what may be put in force at once, whatever is confirmed of the stance now (nil: there is none): what is new
// is as it is wanted, and what is there is only widened. It is the same pointer where that is nothing, and nil where
// nothing is secured. idle tells that the host has no endpoints: then the first identities need not wait.
func Begin(now *mesh.Stance, want Target, idle bool) *mesh.Stance {
	if now == nil {
		return settled(want)
	}
	next := &mesh.Stance{Host: want.Host, Identities: now.Identities, Admitted: now.Admitted}
	for _, p := range now.Ports {
		target, _ := want.port(p.Port)
		p.Policy = target.Policy
		if p.Accept != target.Accept { // one that goes may come back as anything
			p.Accept = mesh.Both
		}
		next.Ports = append(next.Ports, p)
	}
	for _, target := range want.Ports {
		if !has(now, target.Port) {
			next.Ports = append(next.Ports, target)
		}
	}
	slices.SortFunc(next.Ports, func(a, b mesh.PortStance) int { return cmp.Compare(a.Port, b.Port) })
	next.Identities = union(now.Identities, want.Identities)
	if idle && len(now.Identities) == 0 {
		next.Admitted = next.Identities
	}
	return sameOr(now, next)
}

// settled returns a stance at its target.
func settled(want Target) *mesh.Stance {
	if len(want.Ports) == 0 {
		return nil
	}
	return &mesh.Stance{
		Host: want.Host, Ports: slices.Clone(want.Ports), Identities: want.Identities, Admitted: want.Identities,
	}
}

// Cautious returns what a host begins with when nobody knows what its proxies do. nil: nothing is secured.
func Cautious(want Target) *mesh.Stance {
	s := settled(want)
	if s == nil {
		return nil
	}
	for i := range s.Ports {
		s.Ports[i].Accept = mesh.Both
	}
	return s
}

// Step returns the next step when every proxy has the confirmed stance or a later one, of which now is the last and each was
// made by [Begin] from the one before. It is the same pointer where nothing may be done now, and nil when that leaves
// nothing that is secured. When nothing has come since the confirmed one, and nothing may be done, the target is reached.
func Step(confirmed, now *mesh.Stance, want Target) *mesh.Stance {
	if confirmed == nil || now == nil {
		return now
	}
	next := &mesh.Stance{Host: want.Host}
	for _, p := range now.Ports {
		if p, stays := stepPort(confirmed, p, want); stays {
			next.Ports = append(next.Ports, p)
		}
	}
	if len(next.Ports) == 0 {
		return nil
	}
	wanted := want.identities(now.Identities)
	// Everybody accepts what the confirmed stance does: later ones only accept more.
	next.Admitted = intersection(wanted, union(confirmed.Identities, now.Admitted))
	// An identity goes when no caller can have an endpoint with it: none of the stances that somebody may hold admits it.
	used := union(union(confirmed.Admitted, now.Admitted), next.Admitted)
	next.Identities = intersection(now.Identities, union(wanted, used))
	return sameOr(now, next)
}

// stepPort returns a port's next step, and whether the port stays.
func stepPort(confirmed *mesh.Stance, p mesh.PortStance, want Target) (next mesh.PortStance, stays bool) {
	if !has(confirmed, p.Port) {
		return p, true
	}
	was := confirmed.Port(p.Port)
	target, wanted := want.port(p.Port)
	switch {
	case !wanted:
		return p, was.Policy != "" // some proxy may not know yet that it is gone
	case was.Accept != p.Accept || was.Speak != p.Speak: // some server may not take both yet
	case p.Speak != target.Speak && p.Accept == mesh.Both:
		p.Speak = target.Speak
	case p.Speak == target.Speak:
		p.Accept = target.Accept
	}
	return p, true
}

// Leaves tells whether a stance lets a port go that the one before did not: what was confirmed earlier says nothing of it then,
// even if it let the port go too.
func Leaves(before, next *mesh.Stance) bool {
	if before == nil || next == nil {
		return false
	}
	return slices.ContainsFunc(next.Ports, func(p mesh.PortStance) bool { return p.Policy == "" && before.Port(p.Port).Policy != "" })
}

// Reached tells whether nothing is left to do once the stance is confirmed.
func Reached(now *mesh.Stance, want Target) bool {
	if now == nil {
		return len(want.Ports) == 0
	}
	return len(now.Ports) == len(want.Ports) && len(Unsettled(now, want)) == 0
}

func has(s *mesh.Stance, port int) bool {
	return slices.ContainsFunc(s.Ports, func(p mesh.PortStance) bool { return p.Port == port })
}

// sameOr returns the stance before where the next one says the same.
func sameOr(before, next *mesh.Stance) *mesh.Stance {
	if Same(before, next) {
		return before
	}
	return next
}

// Same tells whether two stances, or nil, say the same.
func Same(a, b *mesh.Stance) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Host == b.Host && slices.Equal(a.Ports, b.Ports) && slices.Equal(a.Identities, b.Identities) && slices.Equal(a.Admitted, b.Admitted)
}

// sorted sorts a list of its own and leaves out what stands there twice.
func sorted(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}

// union returns what is in one of two sorted lists: the first one where it has it all.
func union(a, b []string) []string {
	if !slices.ContainsFunc(b, func(x string) bool { return !contains(a, x) }) {
		return a
	}
	return sorted(slices.Concat(a, b))
}

func contains(sorted []string, x string) bool {
	_, found := slices.BinarySearch(sorted, x)
	return found
}

// intersection returns what is in both of two sorted lists: the first one where it is all of it.
func intersection(a, b []string) []string {
	outside := func(x string) bool { return !contains(b, x) }
	if !slices.ContainsFunc(a, outside) {
		return a
	}
	kept := slices.DeleteFunc(slices.Clone(a), outside)
	if len(kept) == 0 {
		return nil
	}
	return kept
}
