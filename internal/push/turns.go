package push

import (
	"context"
	"runtime"
	"sync"
	"time"
)

// Bounds of who is given everything at the same time.
const (
	turnsEach = 16                     // for each processor
	turnTakes = 500 * time.Millisecond // at most; whoever takes longer goes on beside the others
	turnBound = 3 * time.Second        // for which a proxy waits at most
)

// turns has proxies that come at the same time, as all do when a control plane comes back, be given all that they need a few at a time. What
// is on its way to a proxy takes memory until it is there, and is there as fast as the processors are: given to a thousand at once it
// would come late to all. A proxy that takes nothing keeps nobody out for long.
type turns chan struct{}

func newTurns() turns { return make(turns, turnsEach*runtime.GOMAXPROCS(0)) }

// take waits for a turn, not longer than until ctx ends. It ends with what is returned, or by itself.
func (t turns) take(ctx context.Context) (end func()) {
	select {
	case t <- struct{}{}: // as nearly always
	default:
		bound := time.NewTimer(turnBound)
		defer bound.Stop()
		select {
		case t <- struct{}{}:
		case <-bound.C:
			return func() {}
		case <-ctx.Done():
			return func() {}
		}
	}
	once := sync.OnceFunc(func() { <-t })
	over := time.AfterFunc(turnTakes, once)
	return func() {
		over.Stop()
		once()
	}
}
