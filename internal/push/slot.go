package push

import (
	"time"

	"github.com/lateen-mesh/lateen/internal/view"
)

// slot is what one proxy has, and is to have, of one resource.
type slot struct {
	id      view.ID
	want    *made  // the newest; nil: there is none
	have    string // version that was sent last, or that the proxy brought from an earlier stream
	acked   string // version that the proxy confirmed last
	refused string // version that the proxy refused alone: not sent again
	reason  string // in the proxy's own words

	from, to int64 // revisions of which one made the newest version what it is

	sentAt      int64     // nonce of the response that carried it last; -1: none on this stream
	firstSent   int64     // nonce of the first response that carried it; -1: none
	ackedAt     int64     // nonce of the response that was confirmed with it last; -1: none
	confirmedAt int64     // nonce of the last response with it that was confirmed; -1: none
	sentWhen    time.Time // when that was
	again       bool      // to be sent even though the version is the same
	alone       bool      // to be sent in a response of its own, to find out who is refused
	retryAt     time.Time // not before, when it was refused for a reason that passes

	// Of a cluster: how many routes lead to it, and since when none does.
	uses int
	idle time.Time

	// Of routes: the clusters that its versions lead to.
	aimed []view.ID // those of want
	leads []leadsTo // those of versions that were sent and not superseded, oldest first
}

// leadsTo are the clusters of a version that was sent with a response.
type leadsTo struct {
	nonce    int64
	clusters []view.ID
}

func newSlot(id view.ID) *slot {
	return &slot{id: id, sentAt: -1, firstSent: -1, ackedAt: -1, confirmedAt: -1}
}

// stale tells whether the proxy should be sent the newest version.
func (s *slot) stale() bool {
	if s.want == nil {
		return false
	}
	v := s.want.resource.Version
	return v != s.refused && (v != s.have || s.again)
}

// isRefused tells whether the proxy refused the newest version.
func (s *slot) isRefused() bool { return s.want != nil && s.want.resource.Version == s.refused }

// sent notes that the newest version left with a response.
func (s *slot) sent(nonce int64) {
	if s.firstSent < 0 {
		s.firstSent = nonce
	}
	s.have, s.sentAt, s.again = s.want.resource.Version, nonce, false
}

// foundBy returns until when routes wait for a cluster whose endpoints the proxy looks up: zero for one that is confirmed,
// which is when they are found or known to be missing, and for every other cluster.
func (s *slot) foundBy() time.Time {
	if s.want == nil || !s.want.finds || s.have == "" || s.ackedAt >= s.sentAt {
		return time.Time{}
	}
	return s.sentWhen.Add(findGrace)
}

// carried tells whether a response carried this slot, and not one of the same name that was dropped before.
func (s *slot) carried(nonce int64) bool { return s.firstSent >= 0 && nonce >= s.firstSent }

// unsent notes that a response with the slot's version was refused: the proxy has what it had before.
func (s *slot) unsent() { s.have, s.sentAt = s.acked, s.ackedAt }
