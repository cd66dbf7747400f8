package local

import (
	"fmt"
	"strings"
	"time"
)

// mayStart tells whether an instance that is missing may start now, as far as the services that its workload depends
// on are concerned. One that may not is held; one that has waited long enough may, and that is told.
func (c *crew) mayStart(s start) bool {
	now := time.Now()
	var late []string
	holding := false
	for _, host := range s.workload.DependsOn {
		for _, d := range c.wanted {
			if d.Host != host || d.external() {
				continue
			}
			ready, until := c.ready(d)
			switch {
			case ready:
			case until.IsZero():
				holding = true
			case now.Before(until):
				holding = true
				if c.wake.IsZero() || until.Before(c.wake) {
					c.wake = until
				}
			default:
				late = append(late, fmt.Sprintf("%s is not ready after %s", d.Name, d.Ready.Timeout))
			}
		}
	}
	name := instanceName(s.workload, s.ordinal)
	if holding {
		c.held = append(c.held, name)
		return false
	}
	if len(late) > 0 {
		c.site.console.say("%s is started, though %s", name, strings.Join(late, ", "))
	}
	return true
}

// ready tells whether all replicas of a workload take requests, and if not, until when those that depend on it wait
// for them: its own time to get ready, from its start. The time is zero while not all replicas have been started.
func (c *crew) ready(d *Workload) (bool, time.Time) {
	ready, started := 0, 0
	var until time.Time
	for _, m := range c.members {
		if m.leaving || m.instance.Workload.key() != d.key() {
			continue
		}
		started++
		if m.is == inForce {
			ready++
		} else if end := m.began.Add(d.Ready.Timeout); end.After(until) {
			until = end
		}
	}
	if ready >= d.Replicas {
		return true, time.Time{}
	}
	if started < d.Replicas {
		return false, time.Time{}
	}
	return false, until
}

// alarm returns a channel that has a value when the first held instance stops waiting, whatever happens.
func (c *crew) alarm() <-chan time.Time {
	if c.wake.IsZero() {
		return nil
	}
	return time.After(time.Until(c.wake))
}
