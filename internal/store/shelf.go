package store

import (
	"hash/maphash"
	"iter"
	"maps"
)

// shelf is a map that is never changed once it is shown: a put makes another one, which shares all but one of the
// parts. So a change costs little however much there is, and who reads an old one is not disturbed.
type shelf[K comparable, V any] struct{ parts [shelfParts]map[K]V }

// shelfParts is into how many maps a shelf is divided.
const shelfParts = 256

var shelfSeed = maphash.MakeSeed()

func shelfPart[K comparable](k K) int { return int(maphash.Comparable(shelfSeed, k) % shelfParts) }

func (s *shelf[K, V]) get(k K) (V, bool) {
	v, ok := s.parts[shelfPart(k)][k]
	return v, ok
}

// all returns what is on the shelf, in no order.
func (s *shelf[K, V]) all() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for _, part := range s.parts {
			for k, v := range part {
				if !yield(k, v) {
					return
				}
			}
		}
	}
}

func (s *shelf[K, V]) len() int {
	n := 0
	for _, part := range s.parts {
		n += len(part)
	}
	return n
}

// shelfDraft is a shelf that is being made from another one.
type shelfDraft[K comparable, V any] struct {
	shown *shelf[K, V] // nil: next was not shown yet
	next  *shelf[K, V]
	own   map[int]bool // parts that are not shared with what was shown
}

func newShelfDraft[K comparable, V any]() *shelfDraft[K, V] {
	return &shelfDraft[K, V]{next: &shelf[K, V]{}, own: map[int]bool{}}
}

func (d *shelfDraft[K, V]) get(k K) (V, bool) { return d.next.get(k) }

// put puts a value, or removes what is there when keep is false.
func (d *shelfDraft[K, V]) put(k K, v V, keep bool) {
	i := shelfPart(k)
	if _, ok := d.next.parts[i][k]; !ok && !keep {
		return
	}
	if d.next == d.shown {
		next := *d.shown
		d.next = &next
	}
	if !d.own[i] {
		d.own[i] = true
		if d.next.parts[i] = maps.Clone(d.next.parts[i]); d.next.parts[i] == nil {
			d.next.parts[i] = map[K]V{}
		}
	}
	if keep {
		d.next.parts[i][k] = v
	} else {
		delete(d.next.parts[i], k)
	}
}

// show returns the shelf as it is now, which is not changed any more: the same one as before if nothing was put.
func (d *shelfDraft[K, V]) show() *shelf[K, V] {
	if d.next != d.shown {
		d.shown = d.next
		d.own = map[int]bool{}
	}
	return d.shown
}
