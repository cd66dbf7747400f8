package webhook

import (
	"maps"
	"sync"
)

// Call names one sort of answers: where it was asked, and what became of it, "patched", "allowed", "refused", "failed" or "bad".
type Call struct{ Path, Result string }

// counters count answers.
type counters struct {
	mu  sync.Mutex
	all map[Call]uint64
}

func (c *counters) count(path, result string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.all = map[Call]uint64{}
	}
	c.all[Call{path, result}]++
}

// Counts returns how many answers there were, of each sort.
func (s *Server) Counts() map[Call]uint64 {
	s.counters.mu.Lock()
	defer s.counters.mu.Unlock()
	return maps.Clone(s.counters.all)
}
