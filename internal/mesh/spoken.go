package mesh

import (
	"maps"
	"net/netip"
	"slices"
)

// Spoken says what services speak on their own addresses, by the number of the port, as far as all agree: a captured connection to such a
// number need not be looked at. A number on which one service takes requests and another one bytes is in neither list. A snapshot finds
// them out from all services.
type Spoken struct {
	Requests []int              `json:"requests"` // sorted
	Bytes    []int              `json:"bytes"`    // sorted
	uses     map[int]spokenUses // of each number
}

// spokenUses counts the services that speak on a port.
type spokenUses struct{ requests, bytes int }

// Spoken returns what services speak on their own addresses, or nil.
func (s *Snapshot) Spoken() *Spoken { return part[Spoken](s, Key{Kind: KindSpoken}) }

// indexSpoken counts anew what services speak that the draft changes. The part counts as changed only when one of its lists does.
func (d *Draft) indexSpoken() {
	more := map[int]spokenUses{}
	for k, now := range d.changed {
		if k.Kind == KindService {
			countSpoken(more, d.base.shards[k.shard()][k], -1)
			countSpoken(more, now, 1)
		}
	}
	maps.DeleteFunc(more, func(_ int, u spokenUses) bool { return u == spokenUses{} })
	if len(more) == 0 {
		return
	}
	before := d.base.Spoken()
	next := &Spoken{uses: map[int]spokenUses{}}
	if before != nil {
		maps.Copy(next.uses, before.uses)
	}
	for number, u := range more {
		u.requests += next.uses[number].requests
		u.bytes += next.uses[number].bytes
		if next.uses[number] = u; u == (spokenUses{}) {
			delete(next.uses, number)
		}
	}
	for _, number := range slices.Sorted(maps.Keys(next.uses)) {
		switch u := next.uses[number]; {
		case u.bytes == 0:
			next.Requests = append(next.Requests, number)
		case u.requests == 0:
			next.Bytes = append(next.Bytes, number)
		}
	}
	k := Key{Kind: KindSpoken}
	d.changed[k] = next
	if before != nil && slices.Equal(before.Requests, next.Requests) && slices.Equal(before.Bytes, next.Bytes) {
		d.quiet = append(d.quiet, k)
	}
}

// countSpoken adds n for each port of a service that has an address of its own.
func countSpoken(uses map[int]spokenUses, value any, n int) {
	svc, _ := value.(*Service)
	if svc == nil || !slices.ContainsFunc(svc.Addresses, func(a string) bool { _, err := netip.ParseAddr(a); return err == nil }) {
		return
	}
	for _, p := range svc.Ports {
		u := uses[p.Number]
		if p.Protocol.IsHTTP() {
			u.requests += n
		} else {
			u.bytes += n
		}
		uses[p.Number] = u
	}
}
