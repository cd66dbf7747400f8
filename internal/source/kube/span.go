package kube

import (
	"net/netip"
	"slices"
)

// span is the smallest network of each family that holds some addresses.
type span struct {
	all    map[netip.Addr]int // how often each is there
	v4, v6 bounds
}

// bounds are the least and the greatest of some addresses; zero for none.
type bounds struct{ least, greatest netip.Addr }

func newSpan() span { return span{all: map[netip.Addr]int{}} }

// swap takes addresses out and puts others in, and tells whether that makes another network. What is no address is left out.
func (s *span) swap(out, in []string) bool {
	if slices.Equal(out, in) {
		return false
	}
	before := s.prefixes()
	for _, text := range in {
		if a, ok := parseAddress(text); ok {
			s.all[a]++
			s.family(a).widen(a)
		}
	}
	for _, text := range out {
		if a, ok := parseAddress(text); ok {
			s.remove(a)
		}
	}
	return !slices.Equal(before, s.prefixes())
}

// remove takes an address out. Only at an end all others are looked at.
func (s *span) remove(a netip.Addr) {
	if s.all[a]--; s.all[a] > 0 {
		return
	}
	delete(s.all, a)
	b := s.family(a)
	if a != b.least && a != b.greatest {
		return
	}
	*b = bounds{}
	for other := range s.all {
		if other.Is4() == a.Is4() {
			b.widen(other)
		}
	}
}

func (s *span) family(a netip.Addr) *bounds {
	if a.Is4() {
		return &s.v4
	}
	return &s.v6
}

func (b *bounds) widen(a netip.Addr) {
	if !b.least.IsValid() || a.Less(b.least) {
		b.least = a
	}
	if !b.greatest.IsValid() || b.greatest.Less(a) {
		b.greatest = a
	}
}

// prefixes returns the networks, that of IPv4 first.
func (s *span) prefixes() []string {
	var all []string
	for _, b := range []bounds{s.v4, s.v6} {
		if !b.least.IsValid() {
			continue
		}
		for bits := b.least.BitLen(); bits >= 0; bits-- {
			if p, err := b.least.Prefix(bits); err == nil && p.Contains(b.greatest) {
				all = append(all, p.String())
				break
			}
		}
	}
	return all
}

func parseAddress(text string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(text)
	return a.Unmap(), err == nil
}
