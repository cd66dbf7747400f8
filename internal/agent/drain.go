package agent

import (
	"context"
	"path/filepath"
	"time"

	"github.com/lateen-mesh/lateen/internal/process"
)

const (
	// oldWays is how long connections live on that came by a way into Envoy which has changed since, such as before a port
	// took mutual TLS only. Those for requests are asked to go with the next answer; what is under way is finished.
	oldWays   = time.Hour
	drainPoll = 50 * time.Millisecond
	idlePolls = 2 // in a row, before Envoy counts as drained: a request may just be on its way
)

// AskToGo makes the Envoy that runs in a folder ask its clients to go, with each answer, and take new ones nevertheless: for a
// workload that is still there but will end, so that by then its clients have found another one.
func AskToGo(ctx context.Context, dir string) error {
	a := newAdmin(filepath.Join(dir, adminName))
	defer a.close()
	return a.drain(ctx)
}

// drain lets Envoy finish what it has, and stops it. Connections are asked to go; after the drain time new ones are
// refused, and what is still open gets as long again. An idle Envoy stops at once.
func (a *Agent) drain(ctx context.Context, envoy *process.Process) {
	for _, step := range []func(context.Context) error{a.admin.drain, a.admin.refuse} {
		bounded, cancel := context.WithTimeout(ctx, a.config.DrainTime)
		err := step(bounded)
		if err != nil {
			a.config.Log.Warn("envoy not drained", "proxy", a.config.Name, "err", err)
		}
		idle := err != nil || a.awaitIdle(bounded, envoy)
		cancel()
		if idle {
			break
		}
	}
	envoy.Stop(ctx, stopBound)
}

// awaitIdle returns when Envoy is idle, has ended, or ctx is over, and tells whether it is one of the first two.
func (a *Agent) awaitIdle(ctx context.Context, envoy *process.Process) bool {
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
			return false
		case <-envoy.Done():
			return true
		case <-tick.C:
		}
	}
	return true
}
