package webhook

import (
	"maps"
	"sync"
	"time"
)

// Call names one sort of answers: where it was asked, and what became of it, "patched", "allowed", "refused", "failed" or "bad".
type Call struct{ Path, Result string }

// Count is how many answers of a sort there were.
type Count struct {
	Calls   uint64
	Seconds float64 // that they took, in all
}

// counters count answers.
type counters struct {
	mu  sync.Mutex
	all map[Call]Count
}

func (c *counters) count(path, result string, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.all = map[Call]Count{}
	}
	one := c.all[Call{path, result}]
	one.Calls++
	one.Seconds += took.Seconds()
	c.all[Call{path, result}] = one
}

// Counts returns how many answers there were, of each sort.
func (s *Server) Counts() map[Call]Count {
	s.counters.mu.Lock()
	defer s.counters.mu.Unlock()
	return maps.Clone(s.counters.all)
}
