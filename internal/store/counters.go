package store

import "sync/atomic"

// Counters count the work of a Store since it was made.
type Counters struct {
	events [classes]atomic.Int64 // changes taken

	Published atomic.Int64 // snapshots
	Merged    atomic.Int64 // changes that were published together with one before them
	Parts     atomic.Int64 // parts of a snapshot made anew
	Steps     atomic.Int64 // of hosts, from one way of securing their ports to another
	Looked    atomic.Int64 // objects, and names of registries, that were looked at one by one
}

// RegistryEvents returns how many changes of registries were taken.
func (c *Counters) RegistryEvents() int64 { return c.events[ofRegistries].Load() }

// ObjectEvents returns how many changes of objects were taken.
func (c *Counters) ObjectEvents() int64 { return c.events[ofObjects].Load() }

// Counters returns the store's counters.
func (s *Store) Counters() *Counters { return &s.counters }
