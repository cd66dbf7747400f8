package handover

import (
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// There is one clock: a pause begins at the moment that was looked at, not at a later one.
func TestDueTakesOneClock(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	r := &round{since: map[mesh.Host]time.Time{}}
	courses, standing := []*Course{{Host: "web"}}, &Standing{Reached: true}
	if hosts, _, left := r.due(courses, standing, now, time.Second/2); len(hosts) > 0 || left != time.Second/2 {
		t.Errorf("at once: %v, look again in %s", hosts, left)
	}
	if hosts, _, left := r.due(courses, standing, now.Add(time.Second/5), time.Second/2); len(hosts) > 0 || left != 3*time.Second/10 {
		t.Errorf("later: %v, look again in %s", hosts, left)
	}
	if hosts, _, _ := r.due(courses, standing, now.Add(time.Second/2), time.Second/2); len(hosts) != 1 {
		t.Errorf("after the pause: %v", hosts)
	}
	r = &round{since: map[mesh.Host]time.Time{}}
	if hosts, _, _ := r.due(courses, standing, now, 0); len(hosts) != 1 {
		t.Errorf("without a pause: %v", hosts)
	}
}
