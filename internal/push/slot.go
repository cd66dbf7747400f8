package push

import (
	"cmp"
	"math"
	"time"

	"github.com/lateen-mesh/lateen/internal/view"
)

// slot is what one proxy has, and is to have, of one resource. There are as many as all proxies hold together, so what
// few of them need stands in [seldom].
type slot struct {
	id    view.ID
	want  *made  // the newest; nil: there is none
	have  string // version that was sent last, or that the proxy brought from an earlier stream
	acked string // version that the proxy confirmed last

	from, to int64 // revisions of which one made the newest version what it is

	sentAt      int64 // nonce of the response that carried it last; -1: none on this stream
	firstSent   int64 // nonce of the first response that carried it; -1: none
	ackedAt     int64 // nonce of the response that was confirmed with it last; -1: none
	confirmedAt int64 // nonce of the last response with it that was confirmed; -1: none

	versions []carried // that were sent and not superseded by a confirmed one, oldest first
	since    int64     // first revision of which nothing has been sent yet; 0: none
	changed  int64     // when a change made the newest version what it is, in ns, until that is sent; 0: none did

	rare *seldom // nil: none of it
	uses int32   // of a cluster: how many routes lead to it

	again   bool // to be sent even though the version is the same
	named   bool // asked for by its name, of a kind that there are lists of
	alone   bool // to be sent in a response of its own, to find out who is refused
	restore bool // a cluster that was refused is to be sent in the version that the proxy has
	wished  bool // of a virtual host: the proxy asked for it by itself
	learned bool // and its scope has learned it
}

// seldom is what few slots have.
type seldom struct {
	refused   string // version that the proxy refused alone: not sent again
	reason    string // in the proxy's own words
	refusedAt time.Time
	owners    []view.Owner // of that version, if it was refused on an earlier stream
	retryAt   time.Time    // not before, when it was refused for a reason that passes

	sentWhen time.Time // of a cluster that finds its endpoints: when it was sent last
	idle     time.Time // of a cluster: since when no route leads to it

	// Of the routes of a client without a proxy: what comes after want, or else at a time, and the first revision that waits
	// for that.
	after      *made
	bridgeBy   time.Time
	afterSince int64
}

// few returns what few slots have, to be read.
func (s *slot) few() seldom {
	if s.rare == nil {
		return seldom{}
	}
	return *s.rare
}

// own returns the same, to be written.
func (s *slot) own() *seldom {
	if s.rare == nil {
		s.rare = &seldom{}
	}
	return s.rare
}

// aimed returns the clusters that the newest version leads to.
func (p *Proxy) aimed(s *slot) []view.ID { return p.leads(s.want) }

// carried is a version that was sent with a response. One that the proxy brought has the nonce 0.
type carried struct {
	nonce int64
	made  *made
	since int64 // first revision that came with it

	changed int64 // when a change made it, in ns, until it is confirmed; 0: it was sent for another reason
}

func newSlot(id view.ID) *slot {
	return &slot{id: id, sentAt: -1, firstSent: -1, ackedAt: -1, confirmedAt: -1}
}

// stale tells whether the proxy should be sent the newest version.
func (s *slot) stale() bool {
	if s.want == nil {
		return false
	}
	return (s.want.resource.Version != s.have || s.again) && !s.isRefused()
}

// isRefused tells whether the proxy refused the newest version.
func (s *slot) isRefused() bool {
	return s.rare != nil && s.want != nil && s.want.resource.Version == s.rare.refused
}

// restoring tells whether the version before is to be sent again, since there is no newer one.
func (s *slot) restoring() bool { return s.restore && s.want != nil && !s.stale() && s.good() != nil }

// next is the version that is to be sent.
func (s *slot) next() *made {
	if s.restoring() {
		return s.good()
	}
	return s.want
}

// sent notes that the next version left with a response.
func (s *slot) sent(nonce int64) {
	if s.firstSent < 0 {
		s.firstSent = nonce
	}
	m, since := s.next(), int64(settledForever)
	if m == s.want || !s.isRefused() {
		since, s.since = cmp.Or(s.since, since), 0
	}
	changed := int64(0)
	if m == s.want {
		if s.have != m.resource.Version {
			changed = s.changed
		}
		s.changed = 0
	}
	s.have, s.sentAt, s.again, s.restore = m.resource.Version, nonce, false, false
	s.versions = append(s.versions, carried{nonce, m, since, changed})
}

// returned notes that a version that was sent is not taken: the change that made it is on its way as before.
func (s *slot) returned(c carried) {
	s.since = min(cmp.Or(s.since, settledForever), c.since)
	s.changed = cmp.Or(s.changed, c.changed)
}

// arrived tells once when the change was made that the proxy confirmed last, in ns: 0 if that was none.
func (s *slot) arrived() int64 {
	if len(s.versions) == 0 || s.versions[0].nonce != s.ackedAt {
		return 0
	}
	changed := s.versions[0].changed
	s.versions[0].changed = 0
	return changed
}

// good is what the proxy has confirmed, or nil.
func (s *slot) good() *made {
	if len(s.versions) > 0 && s.versions[0].nonce <= max(s.ackedAt, 0) {
		return s.versions[0].made
	}
	return nil
}

// last is what the proxy was sent last on this stream, or nil.
func (s *slot) last() *made {
	if n := len(s.versions); n > 0 && s.versions[n-1].made.resource.Version == s.have {
		return s.versions[n-1].made
	}
	return nil
}

// settledForever is a revision that nobody waits for.
const settledForever = math.MaxInt64

// open returns the first revision of which the proxy has not confirmed its part. What was sent with responses before
// nonce counts as confirmed.
func (s *slot) open(nonce int64) int64 {
	return min(cmp.Or(s.since, settledForever), s.travelling(nonce))
}

// travelling is the same, of what was sent.
func (s *slot) travelling(nonce int64) int64 {
	first := int64(settledForever)
	for _, c := range s.versions {
		if c.nonce > max(s.ackedAt, nonce) {
			first = min(first, c.since)
		}
	}
	return first
}

// asksFor returns the kind that a listener which the proxy has asks for by name, beside routes.
func (s *slot) asksFor() (view.Kind, bool) {
	if s.want == nil || s.acked != s.want.resource.Version {
		return "", false
	}
	switch v := s.want.view.(type) {
	case view.LocalListener:
		return view.KindFilter, !v.Protocol.IsHTTP()
	case view.DoorListener:
		return view.KindSecret, len(v.TLS) > 0
	default:
		return "", false
	}
}

// foundBy returns until when routes wait for a cluster whose endpoints the proxy looks up: zero for one that is confirmed,
// which is when they are found or known to be missing, and for every other cluster.
func (s *slot) foundBy() time.Time {
	if s.want == nil || !s.want.finds || s.have == "" || s.ackedAt >= s.sentAt {
		return time.Time{}
	}
	return s.few().sentWhen.Add(findGrace)
}

// carried tells whether a response carried this slot, and not one of the same name that was dropped before.
func (s *slot) carried(nonce int64) bool { return s.firstSent >= 0 && nonce >= s.firstSent }

// unsent notes that the response that carried the slot last was refused: the proxy has what it was sent before, or is about to.
func (s *slot) unsent() {
	s.have, s.sentAt = s.acked, s.ackedAt
	if n := len(s.versions); n > 0 && s.versions[n-1].nonce > s.ackedAt {
		s.have, s.sentAt = s.versions[n-1].made.resource.Version, s.versions[n-1].nonce
	}
}

// slotSet is a set of slots. It gives its memory back when it is empty: what a proxy that connects has to be sent must not be
// walked over at each later change.
type slotSet struct {
	slots map[*slot]struct{}
	peak  int // most that it held since it was empty last
}

// small is how many slots a set may have held and keep its memory.
const small = 64

func (set *slotSet) add(s *slot) {
	if set.slots == nil {
		set.slots = map[*slot]struct{}{}
	}
	set.slots[s] = struct{}{}
	set.peak = max(set.peak, len(set.slots))
}

func (set *slotSet) remove(s *slot) {
	delete(set.slots, s)
	if len(set.slots) == 0 {
		if set.peak > small {
			set.slots = nil
		}
		set.peak = 0
	}
}

// slotsByKind are sets of slots.
type slotsByKind map[view.Kind]*slotSet

func (k slotsByKind) add(s *slot) {
	if k[s.id.Kind] == nil {
		k[s.id.Kind] = &slotSet{}
	}
	k[s.id.Kind].add(s)
}

func (k slotsByKind) remove(s *slot) {
	if set := k[s.id.Kind]; set != nil {
		set.remove(s)
	}
}

// of returns the slots of a kind.
func (k slotsByKind) of(kind view.Kind) map[*slot]struct{} {
	if set := k[kind]; set != nil {
		return set.slots
	}
	return nil
}

// empty tells whether there is no slot of any kind.
func (k slotsByKind) empty() bool {
	for _, set := range k {
		if len(set.slots) > 0 {
			return false
		}
	}
	return true
}
