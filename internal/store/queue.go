package store

import "time"

// class divides changes into those that wait for one another.
type class int

const (
	ofRegistries class = iota
	ofObjects
	ofStances
	classes
)

// change is something new of one source. Its maker waits for the answer.
type change struct {
	class class
	apply func(*fold) error
	done  chan<- answer // has room for one
}

type answer struct {
	revision int64
	err      error
}

// backOff is how long changes are held back after one was published: at first, and at most. It doubles as long as several
// wait for its end together, and is never shorter than what was published last took, within its bound: so at least half
// of the time is left to others.
type backOff struct{ first, longest time.Duration }

// What docs/decisions/0019-leading-edge.md measured.
var (
	registryBackOff = backOff{2 * time.Millisecond, 8 * time.Millisecond}
	objectBackOff   = backOff{5 * time.Millisecond, 200 * time.Millisecond}
)

// maxCollected bounds how many changes are taken in before one is published.
const maxCollected = 10_000

// queue holds the changes of one class, in the order in which they came.
type queue struct {
	backOff
	waiting []change
	pause   time.Duration // the last back-off
	until   time.Time     // nothing is published before
}

func (q *queue) add(c change) { q.waiting = append(q.waiting, c) }

func (q *queue) takeAll() []change {
	all := q.waiting
	q.waiting = nil
	return all
}

// rest begins the back-off after n changes were published, which took so long.
func (q *queue) rest(n int, now time.Time, took time.Duration) {
	if n > 1 {
		q.pause = min(2*max(q.pause, q.first), q.longest)
	} else {
		q.pause = q.first
	}
	q.until = now.Add(max(q.pause, min(took, q.longest)))
}

// collect takes in the changes that are handed over right now.
func (s *Store) collect() {
	for range maxCollected {
		select {
		case c := <-s.changes:
			s.queues[c.class].add(c)
		default:
			return
		}
	}
}

// due returns the first queue with changes that may be published now, or nil.
func (s *Store) due(now time.Time) *queue {
	for i := range s.queues {
		if q := &s.queues[i]; len(q.waiting) > 0 && !now.Before(q.until) {
			return q
		}
	}
	return nil
}

// nextDue returns how long it is until a queue is due, and whether one will be.
func (s *Store) nextDue(now time.Time) (wait time.Duration, waiting bool) {
	for i := range s.queues {
		if q := &s.queues[i]; len(q.waiting) > 0 && (!waiting || q.until.Sub(now) < wait) {
			wait, waiting = q.until.Sub(now), true
		}
	}
	return wait, waiting
}
