package kube

import "slices"

// table holds what is kept of the objects of one kind, and tells what changes. An object that says the same as before is
// none of its business: its row stays, pointer and all.
type table[T any] struct {
	rows    map[name]*T
	equal   func(a, b *T) bool
	changed func(n name, before, after *T) // one of them is nil for an object that comes or goes
}

func newTable[T any](equal func(a, b *T) bool, changed func(n name, before, after *T)) *table[T] {
	return &table[T]{rows: map[name]*T{}, equal: equal, changed: changed}
}

// put puts a row, or removes the one of this name when it is nil.
func (t *table[T]) put(n name, row *T) {
	before, known := t.rows[n]
	switch {
	case row == nil && !known, known && row != nil && t.equal(before, row):
		return
	case row == nil:
		delete(t.rows, n)
	default:
		t.rows[n] = row
	}
	t.changed(n, before, row)
}

// keepOnly removes the rows of a namespace, or all when it is "", whose names were not seen.
func (t *table[T]) keepOnly(namespace string, seen map[name]bool) {
	for n := range t.rows {
		if (namespace == "" || n.namespace == namespace) && !seen[n] {
			t.put(n, nil)
		}
	}
}

// index leads from values to the rows that name them, sorted. There are few for most values, and of maps each is large.
type index[K comparable] map[K][]name

func (i index[K]) add(k K, n name) {
	if at, known := slices.BinarySearchFunc(i[k], n, compareNames); !known {
		i[k] = slices.Insert(i[k], at, n)
	}
}

func (i index[K]) remove(k K, n name) {
	at, known := slices.BinarySearchFunc(i[k], n, compareNames)
	switch {
	case !known:
	case len(i[k]) == 1:
		delete(i, k)
	default:
		i[k] = slices.Delete(i[k], at, at+1)
	}
}
