package handover

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Store keeps the stances and takes the steps.
type Store interface {
	// Courses returns the hosts that are not over, and the snapshot that they belong to.
	Courses() (*mesh.Snapshot, []*Course)
	// AdvanceStances takes the steps that may follow what is confirmed, in one revision.
	AdvanceStances(ctx context.Context, confirmed []Confirmed) (revision int64, err error)
}

// Proxies tell what they have confirmed.
type Proxies interface {
	// Standing tells who may still do as before some revisions, from the first to the last, and what is closed when that may
	// be otherwise.
	Standing(first, last int64) (Standing, <-chan struct{})
}

// Config is what a Runner is made with.
type Config struct {
	Store   Store
	Proxies Proxies
	// Pause is how long a step waits after everybody has confirmed the one before: a proxy says so a moment before its threads
	// obey, and what they were doing may take as long as a connection takes to come about. 0: 1 s; negative: none.
	Pause time.Duration
	// Others are further replicas, which must agree to each step; nil: there are none.
	Others Others
	Log    *slog.Logger
}

const (
	defaultPause = time.Second
	lookAgain    = time.Second      // what nobody signals, as a refusal that is mended, is seen after that time
	tellAfter    = 10 * time.Second // that a proxy holds up hosts
	// rest is how long nobody looks after a look, by how long that took: all proxies are looked at, and each that confirms
	// something is a reason to look again.
	rest = 20
)

// Runner takes hosts from step to step. Its methods may be called from any goroutine.
type Runner struct {
	config Config

	mu      sync.Mutex
	changed chan struct{} // closed and replaced when something was published or is over
	heard   heard

	// Of the goroutine in Run.
	rounds map[span]*round
	asking []asked // of the last look
	failed bool    // a step could not be taken: told once
	told   map[mesh.Host]bool
}

// span tells which hosts wait together: those of which somebody may not have confirmed the same revisions, from the first on,
// and whose last step was the same one. A snapshot from before a step says nothing about who obeys it.
type span struct{ first, stepped int64 }

func (s span) compare(o span) int {
	return cmp.Or(cmp.Compare(s.first, o.first), cmp.Compare(s.stepped, o.stepped))
}

// round is a wait for everybody to confirm a snapshot. Hosts of one span wait together. It has an end: what is
// published meanwhile is waited for in the next one.
type round struct {
	snapshot *mesh.Snapshot
	last     int64 // revision that put the last of the stances in force
	began    time.Time
	since    map[mesh.Host]time.Time // when everybody had confirmed what concerns a host, which stays so
	without  map[mesh.Host]time.Time // when everybody had but those that have been away for long
	held     bool                    // that it takes long is told

	// Where there are other replicas.
	agreed map[mesh.Host]time.Time // since when they all agree
	quiet  map[mesh.Host]bool      // hosts that need no agreement
	away   []mesh.ProxyID          // that are not connected here
	lost   []mesh.ProxyID          // those of them that have been so for long
}

// New returns a runner. It starts nothing.
func New(c Config) *Runner {
	if c.Pause == 0 {
		c.Pause = defaultPause
	}
	return &Runner{config: c, changed: make(chan struct{}), rounds: map[span]*round{}, told: map[mesh.Host]bool{}}
}

// Published tells that there is another snapshot. It does not wait.
func (r *Runner) Published() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.changed)
	r.changed = make(chan struct{})
}

// changes returns what is closed when something was published or is over.
func (r *Runner) changes() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

// Run takes steps until ctx ends.
func (r *Runner) Run(ctx context.Context) error {
	timer := time.NewTimer(lookAgain)
	defer timer.Stop()
	for ctx.Err() == nil {
		published, begun := r.changes(), time.Now()
		confirmed, moved, wait := r.look(begun)
		looked := time.Since(begun)
		confirmed, wait = r.agree(ctx, confirmed, wait)
		if len(confirmed) > 0 && r.advance(ctx, confirmed) {
			continue
		}
		timer.Reset(rest * looked)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		var later <-chan time.Time
		if wait > 0 {
			timer.Reset(wait)
			later = timer.C
		}
		select {
		case <-ctx.Done():
		case <-published:
		case <-moved:
		case <-later:
		}
	}
	return context.Cause(ctx)
}

// advance takes the steps that may follow. A failure, as of a full disk, is tried again later.
func (r *Runner) advance(ctx context.Context, confirmed []Confirmed) bool {
	revision, err := r.config.Store.AdvanceStances(ctx, confirmed)
	if failed := err != nil; failed && ctx.Err() == nil && !r.failed {
		r.config.Log.Warn("the next step of a security handover cannot be taken", "err", err)
	}
	if r.failed = err != nil; r.failed {
		return false
	}
	hosts := 0
	for _, c := range confirmed {
		hosts += len(c.Hosts)
	}
	r.config.Log.Debug("everybody has confirmed how hosts are secured", "hosts", hosts, "revision", revision)
	r.Published()
	return true
}

// look tells which hosts may take the next step now, and when else to look again: at a signal, and after a time if that is
// not zero.
func (r *Runner) look(now time.Time) (confirmed []Confirmed, moved <-chan struct{}, wait time.Duration) {
	snapshot, courses := r.config.Store.Courses()
	bySpan := map[span][]*Course{}
	for _, c := range courses {
		s := span{c.First, c.Stepped}
		bySpan[s] = append(bySpan[s], c)
	}
	maps.DeleteFunc(r.rounds, func(s span, _ *round) bool { return bySpan[s] == nil })
	r.tell(courses)
	r.asking = nil
	for _, s := range slices.SortedFunc(maps.Keys(bySpan), span.compare) {
		if s.first > snapshot.Revision() {
			continue
		}
		round := r.rounds[s]
		if round == nil {
			round = newRound(snapshot, bySpan[s], now)
			r.rounds[s] = round
		}
		standing, signal := r.config.Proxies.Standing(s.first, round.last)
		if r.config.Others != nil {
			round.away, round.lost = standing.Away, standing.Lost // they may be connected to another one
			standing.Away, standing.Lost = nil, nil
		}
		if moved == nil {
			moved = signal
		}
		hosts, without, left := round.due(bySpan[s], &standing, now, max(r.config.Pause, 0))
		if len(hosts) > 0 {
			confirmed = append(confirmed, Confirmed{Snapshot: round.snapshot, Hosts: hosts, round: round})
		}
		if len(without) > 0 {
			confirmed = append(confirmed, Confirmed{Snapshot: round.snapshot, Hosts: without, Without: true, round: round})
		}
		r.asking = append(r.asking, round.toAsk(bySpan[s])...)
		r.warn(round, bySpan[s], &standing, now)
		if wait == 0 || left < wait {
			wait = left
		}
	}
	return confirmed, moved, wait
}

func newRound(s *mesh.Snapshot, courses []*Course, now time.Time) *round {
	r := &round{
		snapshot: s, began: now, since: map[mesh.Host]time.Time{}, without: map[mesh.Host]time.Time{}, agreed: map[mesh.Host]time.Time{},
	}
	for _, c := range courses {
		r.last = max(r.last, c.Last)
	}
	return r
}

// toAsk returns the hosts that other replicas must agree on, once everybody here has confirmed them.
func (r *round) toAsk(courses []*Course) (list []asked) {
	r.quiet = map[mesh.Host]bool{}
	for _, c := range courses {
		_, all := r.since[c.Host]
		switch {
		case c.Quiet:
			r.quiet[c.Host] = true
		case all:
			list = append(list, asked{r, c})
		}
	}
	return list
}

// due returns the hosts that everybody had confirmed a pause ago, those that go on without proxies that have been away for long, both
// sorted, and how long it takes until there is another one or it is to be looked again.
func (r *round) due(courses []*Course, s *Standing, now time.Time, pause time.Duration) (hosts, without []mesh.Host, left time.Duration) {
	left = lookAgain
	over := func(since map[mesh.Host]time.Time, h mesh.Host, all bool) (begun, is bool) {
		at, begun := since[h]
		if !begun && all {
			at, begun = now, true
			since[h] = now
		}
		rest := at.Add(pause).Sub(now)
		if begun && rest > 0 {
			left = min(left, rest)
		}
		return begun, begun && rest <= 0
	}
	for _, c := range courses {
		if begun, is := over(r.since, c.Host, s.clear(c.Host)); is {
			hosts = append(hosts, c.Host)
		} else if begun || len(s.Lost) == 0 || !c.goesOn(r.snapshot.Stance(c.Host), false, nil) {
			continue
		} else if _, is := over(r.without, c.Host, s.clearBut(c.Host)); is {
			without = append(without, c.Host)
		}
	}
	slices.Sort(hosts)
	slices.Sort(without)
	return hosts, without, left
}

// tell logs which handovers begin and which are over.
func (r *Runner) tell(courses []*Course) {
	moving := map[mesh.Host]bool{}
	for _, c := range courses {
		if !c.Quiet {
			moving[c.Host] = true
		}
	}
	r.sayOf("security handover begins", moving, r.told)
	r.sayOf("security handover is over", r.told, moving)
	r.told = moving
}

// mostNamed bounds how many hosts are named when many do the same at once.
const mostNamed = 20

// sayOf logs a message for those hosts that the others are not.
func (r *Runner) sayOf(message string, hosts, others map[mesh.Host]bool) {
	n := 0
	for _, h := range slices.Sorted(maps.Keys(hosts)) {
		if others[h] {
			continue
		}
		if n++; n <= mostNamed {
			r.config.Log.Info(message, "host", string(h)) //nolint:sloglint // one of two constants
		}
	}
	if n > mostNamed {
		r.config.Log.Info(message, "hosts", n) //nolint:sloglint // as above
	}
}

// warn tells once who holds up a round that takes long.
func (r *Runner) warn(round *round, courses []*Course, s *Standing, now time.Time) {
	if round.held || now.Sub(round.began) < tellAfter {
		return
	}
	for _, c := range courses {
		if _, all := round.since[c.Host]; all || c.Quiet {
			continue
		}
		round.held = true
		r.config.Log.Warn("security handover waits", "host", string(c.Host), "hosts", len(courses), "waits", s.words(c.Host))
		return
	}
}
