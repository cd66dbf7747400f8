package ca

import (
	"runtime"
	"sync"
	"time"
)

// Bounds of who shakes hands at the same time.
const (
	turnsEach = 16                     // for each processor
	turnTakes = 500 * time.Millisecond // at most; whoever takes longer goes on beside the others
	turnBound = 3 * time.Second        // for which somebody waits at most
)

// turns has those who connect at the same time, as all proxies do when a control plane comes back, shake hands few at a time. A handshake
// that has begun takes memory until it ends, and it is as fast as the processors are: a thousand at once would all end late. Who says
// nothing keeps nobody out for long.
type turns chan struct{}

func newTurns() turns { return make(turns, turnsEach*runtime.GOMAXPROCS(0)) }

// take waits for a turn. It ends with what is returned, or by itself.
func (t turns) take() (end func()) {
	bound := time.NewTimer(turnBound)
	defer bound.Stop()
	select {
	case t <- struct{}{}:
	case <-bound.C:
		return func() {}
	}
	once := sync.OnceFunc(func() { <-t })
	over := time.AfterFunc(turnTakes, once)
	return func() {
		over.Stop()
		once()
	}
}
