package agent

import "time"

// moment is what two clocks show: the one on the wall, which may be wrong and may be set, and one that only counts, but not
// while the machine sleeps. What must not be late is due when either of them says so.
type moment struct{ wall, steady time.Time }

// at returns the moment at which a wall clock shows what it does.
func at(clock func() time.Time) moment {
	return moment{wall: clock().Round(0), steady: time.Now()}
}

// after returns the moment so much later.
func (m moment) after(d time.Duration) moment {
	return moment{wall: m.wall.Add(d), steady: m.steady.Add(d)}
}

// reached tells whether one of the clocks has come to another moment.
func (m moment) reached(o moment) bool { return !m.wall.Before(o.wall) || !m.steady.Before(o.steady) }
