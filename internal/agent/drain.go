package agent

import (
	"context"
	"time"

	"github.com/lateen-mesh/lateen/internal/process"
)

const (
	drainPoll = 50 * time.Millisecond
	idlePolls = 2 // in a row, before Envoy counts as drained: a request may just be on its way
)

// drain lets Envoy finish what it has, and stops it. Connections are asked to go; after the drain time new ones are
// refused, and what is still open gets as long again. An idle Envoy stops at once.
func (a *Agent) drain(ctx context.Context, envoy *process.Process) {
	bounded, cancel := context.WithTimeout(ctx, 2*a.config.DrainTime)
	defer cancel()
	if err := a.admin.drain(bounded); err != nil {
		a.config.Log.Warn("envoy not drained", "proxy", a.config.Name, "err", err)
	} else {
		a.awaitIdle(bounded, envoy)
	}
	envoy.Stop(ctx, stopBound)
}

// awaitIdle returns when Envoy is idle, has ended, or ctx is over.
func (a *Agent) awaitIdle(ctx context.Context, envoy *process.Process) {
	tick := time.NewTicker(drainPoll)
	defer tick.Stop()
	for idle := 0; idle < idlePolls; {
		if active, err := a.admin.active(ctx); err == nil && active == 0 {
			idle++
		} else {
			idle = 0
		}
		select {
		case <-ctx.Done():
			return
		case <-envoy.Done():
			return
		case <-tick.C:
		}
	}
}
