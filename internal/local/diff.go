package local

import (
	"cmp"
	"slices"
)

// standing is an instance together with how far it is.
type standing struct {
	instance *Instance
	inForce  bool // ready, and its callers know it
	leaving  bool // was told to end
}

// start is an instance that is missing.
type start struct {
	workload *Workload
	ordinal  int
}

// change is what must be done next to get from what runs to what is wanted.
type change struct {
	start []start
	adopt map[*Instance]*Workload // goes on running, for the workload as it is written now
	end   []*Instance
}

// next compares what runs with what is wanted. New instances come first: the ones that they replace end when all of
// the new ones are in force, or at once if they never were themselves.
func next(wanted []*Workload, running []standing) change {
	c := change{adopt: map[*Instance]*Workload{}}
	byKey := map[string][]standing{}
	for _, s := range running {
		key := s.instance.Workload.key()
		byKey[key] = append(byKey[key], s)
	}
	for _, w := range wanted {
		c.workload(w, byKey[w.key()])
		delete(byKey, w.key())
	}
	for _, rest := range byKey {
		for _, s := range rest {
			c.drop(s)
		}
	}
	slices.SortFunc(c.end, func(a, b *Instance) int { return cmp.Compare(a.ID(), b.ID()) })
	return c
}

// workload adds what must be done for one workload.
func (c *change) workload(w *Workload, running []standing) {
	slices.SortFunc(running, func(a, b standing) int { return cmp.Compare(a.instance.Ordinal, b.instance.Ordinal) })
	used := map[int]bool{}
	var old []standing
	kept, inForce := 0, 0
	for _, s := range running {
		used[s.instance.Ordinal] = true
		switch {
		case s.leaving:
		case !s.instance.Workload.sameProcess(w):
			old = append(old, s)
		case kept == w.Replicas:
			c.drop(s)
		default:
			kept++
			if s.inForce {
				inForce++
			}
			if s.instance.Workload != w {
				c.adopt[s.instance] = w
			}
		}
	}
	for ordinal := 0; kept < w.Replicas; ordinal++ {
		if !used[ordinal] {
			c.start = append(c.start, start{w, ordinal})
			kept++
		}
	}
	for _, s := range old {
		if !s.inForce || inForce == w.Replicas {
			c.drop(s)
		}
	}
}

func (c *change) drop(s standing) {
	if !s.leaving {
		c.end = append(c.end, s.instance)
	}
}
