package mesh

import (
	"maps"
	"net/netip"
	"slices"
)

// Spoken says what services speak on their own addresses, by the number of the port. Where it does, nobody need look at a connection to know
// what it carries. A snapshot finds it out from all services.
type Spoken struct {
	Requests []int              `json:"requests"`          // numbers on which all services take requests, sorted
	Bytes    []int              `json:"bytes"`             // numbers on which none does, sorted
	Apart    []Apart            `json:"apart,omitempty"`   // numbers on which they differ, sorted
	Unclear  []int              `json:"unclear,omitempty"` // numbers on which more differ than are told apart, sorted
	uses     map[int]spokenUses // of each number
}

// Apart are the addresses whose services take bytes on a number, while others take requests.
type Apart struct {
	Port      int      `json:"port"`
	Addresses []string `json:"addresses"` // sorted
}

// maxApart bounds how many addresses are told apart on one number, since all proxies are told of them. With more, the number is unclear.
const maxApart = 256

// spokenUses are the services' addresses on a port: how many take requests, and which take bytes, each as often as a service has it.
type spokenUses struct {
	requests int
	bytes    []string // sorted
}

// Spoken returns what services speak on their own addresses, or nil.
func (s *Snapshot) Spoken() *Spoken { return part[Spoken](s, Key{Kind: KindSpoken}) }

// indexSpoken finds out anew what services speak that the draft changes. The part counts as changed only when it says something else.
func (d *Draft) indexSpoken() {
	before := d.base.Spoken()
	next := &Spoken{}
	if before != nil {
		next.uses = maps.Clone(before.uses)
	}
	moved := false
	for k, now := range d.changed {
		if k.Kind != KindService {
			continue
		}
		was, _ := d.base.shards[k.shard()][k].(*Service)
		is, _ := now.(*Service)
		if speaksAlike(was, is) {
			continue
		}
		moved = next.count(was, false) || moved
		moved = next.count(is, true) || moved
	}
	if !moved {
		return
	}
	next.tell()
	k := Key{Kind: KindSpoken}
	d.changed[k] = next
	if before != nil && slices.Equal(before.Requests, next.Requests) && slices.Equal(before.Bytes, next.Bytes) &&
		slices.Equal(before.Unclear, next.Unclear) && slices.EqualFunc(before.Apart, next.Apart, Apart.equal) {
		d.quiet = append(d.quiet, k)
	}
}

func (a Apart) equal(o Apart) bool { return a.Port == o.Port && slices.Equal(a.Addresses, o.Addresses) }

// speaksAlike tells whether two services speak the same at the same addresses.
func speaksAlike(a, b *Service) bool {
	return a != nil && b != nil && slices.Equal(a.Addresses, b.Addresses) && slices.EqualFunc(a.Ports, b.Ports, func(p, q Port) bool {
		return p.Number == q.Number && p.Protocol.IsHTTP() == q.Protocol.IsHTTP()
	})
}

// count takes a service in, or out, and tells whether that changes anything.
func (s *Spoken) count(svc *Service, in bool) (changed bool) {
	if svc == nil {
		return false
	}
	if s.uses == nil {
		s.uses = map[int]spokenUses{}
	}
	for _, text := range svc.Addresses {
		a, err := netip.ParseAddr(text)
		if err != nil || a.Zone() != "" {
			continue
		}
		for _, p := range svc.Ports {
			s.uses[p.Number] = s.uses[p.Number].with(p, a.Unmap().String(), in)
			if u := s.uses[p.Number]; u.requests == 0 && len(u.bytes) == 0 {
				delete(s.uses, p.Number)
			}
			changed = true
		}
	}
	return changed
}

// with returns the uses with one more address, or without it. What they were stays as it was.
func (u spokenUses) with(p Port, address string, in bool) spokenUses {
	at, found := slices.BinarySearch(u.bytes, address)
	switch {
	case p.Protocol.IsHTTP() && in:
		u.requests++
	case p.Protocol.IsHTTP():
		u.requests--
	case in:
		u.bytes = slices.Insert(slices.Clone(u.bytes), at, address)
	case found:
		u.bytes = slices.Delete(slices.Clone(u.bytes), at, at+1)
	}
	return u
}

// tell says what follows from the uses.
func (s *Spoken) tell() {
	for _, number := range slices.Sorted(maps.Keys(s.uses)) {
		u := s.uses[number]
		addresses := slices.Compact(slices.Clone(u.bytes))
		switch {
		case len(addresses) == 0:
			s.Requests = append(s.Requests, number)
		case u.requests == 0:
			s.Bytes = append(s.Bytes, number)
		case len(addresses) <= maxApart:
			s.Apart = append(s.Apart, Apart{Port: number, Addresses: addresses})
		default:
			s.Unclear = append(s.Unclear, number)
		}
	}
}
