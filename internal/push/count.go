package push

import (
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/view"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// Counters count the work of an Engine since it was made. They are read at any time and cost a few atomic additions.
type Counters struct {
	// By kind of resource.
	Cuts  *Tally       // views cut
	Hits  *Tally       // of those, views for which a resource was known
	Makes *Tally       // resources made from a view that was not known
	Sends *Tally       // resources put into responses
	Bytes *Tally       // of those resources
	Acks  *Tally       // responses that proxies confirmed
	Nacks *Tally       // responses that proxies refused
	Marks atomic.Int64 // proxies told that a resource of theirs changed

	// By type of proxy.
	Opened *Tally // streams of proxies that were told who they are
	Closed *Tally

	Build   Times // from a snapshot to Envoy's message: the view and, if it was not known, plan and message
	Marshal Times // from the message to its bytes
	// Travels are, by kind, the times from a change in the engine to the proxy's confirmation of the version that it made.
	Travels map[view.Kind]*Times
}

// proxyTypes are those by which streams and proxies are counted.
var proxyTypes = []mesh.ProxyType{mesh.Sidecar, mesh.Ingress, mesh.Proxyless}

func newCounters() Counters {
	var kinds []string
	travels := map[view.Kind]*Times{}
	for _, kind := range slices.Sorted(maps.Keys(typeOf)) {
		kinds = append(kinds, string(kind))
		travels[kind] = &Times{}
	}
	var types []string
	for _, t := range proxyTypes {
		types = append(types, string(t))
	}
	return Counters{
		Cuts: NewTally(kinds...), Hits: NewTally(kinds...), Makes: NewTally(kinds...), Sends: NewTally(kinds...),
		Bytes: NewTally(kinds...), Acks: NewTally(kinds...), Nacks: NewTally(kinds...),
		Opened: NewTally(types...), Closed: NewTally(types...), Travels: travels,
	}
}

// built counts the making of a resource, which took so long in all.
func (c *Counters) built(kind view.Kind, m *made, took time.Duration) {
	switch {
	case m == nil:
	case !m.fresh:
		c.Hits.Add(string(kind), 1)
	default:
		m.fresh = false
		if m.resource.Body != nil { // else it is a list of others
			c.Marshal.add(m.marshalling)
		}
		took -= m.marshalling
	}
	c.Build.add(took)
}

// answered counts the answer of a proxy to a response, if the event is one.
func (c *Counters) answered(kind view.Kind, e xds.Event) {
	if e.Acked != nil {
		c.Acks.Add(string(kind), 1)
	}
	if e.Refused != nil {
		c.Nacks.Add(string(kind), 1)
	}
}

// arrived counts the change that the proxy has just confirmed of a slot, if it was one.
func (c *Counters) arrived(s *slot, now time.Time) {
	if since := s.arrived(); since != 0 {
		c.Travels[s.id.Kind].add(time.Duration(now.UnixNano() - since))
	}
}

// Tally counts by words of a short, fixed list; all others are counted together.
type Tally struct {
	words  []string
	counts []atomic.Int64 // one more than words
}

// NewTally returns a Tally that has counted nothing.
func NewTally(words ...string) *Tally {
	return &Tally{words: words, counts: make([]atomic.Int64, len(words)+1)}
}

// Add counts.
func (t *Tally) Add(word string, n int64) {
	i := slices.Index(t.words, word)
	if i < 0 {
		i = len(t.words)
	}
	t.counts[i].Add(n)
}

// Load returns the sum.
func (t *Tally) Load() int64 {
	var sum int64
	for i := range t.counts {
		sum += t.counts[i].Load()
	}
	return sum
}

// Of returns how many of a word were counted.
func (t *Tally) Of(word string) int64 {
	if i := slices.Index(t.words, word); i >= 0 {
		return t.counts[i].Load()
	}
	return 0
}

// Each calls f for each word of the list in its order, and for "other" if any other was counted.
func (t *Tally) Each(f func(word string, n int64)) {
	for i, w := range t.words {
		f(w, t.counts[i].Load())
	}
	if n := t.counts[len(t.words)].Load(); n != 0 {
		f("other", n)
	}
}

// TimeBounds are the upper bounds by which [Times] sort durations, in rising order.
var TimeBounds = []time.Duration{
	10 * time.Microsecond, 25 * time.Microsecond, 50 * time.Microsecond, 100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second,
	10 * time.Second, 30 * time.Second,
}

// Times count durations by their length.
type Times struct {
	counts [29]atomic.Uint64 // one more than TimeBounds are used
	sum    atomic.Int64
}

func (t *Times) add(d time.Duration) {
	i, _ := slices.BinarySearch(TimeBounds, d)
	t.counts[i].Add(1)
	t.sum.Add(int64(d))
}

// Read returns how many durations were counted, their sum, and how many of them do not exceed each of [TimeBounds].
func (t *Times) Read() (count uint64, sum time.Duration, upTo []uint64) {
	for i := range len(TimeBounds) + 1 {
		count += t.counts[i].Load()
		if i < len(TimeBounds) {
			upTo = append(upTo, count)
		}
	}
	return count, time.Duration(t.sum.Load()), upTo
}

// Size is what an Engine holds at one moment.
type Size struct {
	Subscribed int // resources that proxies subscribe to, each once for all callers that agree in what its view may read
	Resources  int // distinct resources behind them
	Bytes      int // of those

	Proxies map[mesh.ProxyType]int // connected, each once
	Streams map[mesh.ProxyType]int // open
	Waiting int                    // streams of proxies whose workload is not known
	Pending int                    // connected proxies that have not confirmed all that concerns them
	Refused int                    // resources that proxies have refused and do without
}

// Size returns what the engine holds now.
func (e *Engine) Size() Size {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := Size{
		Resources: len(e.made), Waiting: int(e.waiting.Load()),
		Proxies: map[mesh.ProxyType]int{}, Streams: map[mesh.ProxyType]int{},
	}
	for _, t := range proxyTypes {
		s.Proxies[t], s.Streams[t] = 0, 0
	}
	for _, g := range e.groups {
		s.Subscribed += len(g.entries)
	}
	for _, m := range e.made {
		s.Bytes += len(m.resource.Body)
	}
	for _, streams := range e.byID {
		pending, counted := false, false
		for p := range streams {
			if !counted {
				s.Proxies[p.typ]++
				counted = true
			}
			s.Streams[p.typ]++
			s.Refused += len(p.notTaken)
			pending = pending || p.settled < p.marked || p.settled < 0
		}
		if pending {
			s.Pending++
		}
	}
	return s
}
