package push

import (
	"testing"
	"testing/synctest"
	"time"
)

// Few proxies are given everything at a time, the others one after the other as these have it. Whoever takes nothing keeps a turn for a moment only, and nobody
// waits for long.
func TestTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const places = 2
		turns := make(turns, places)
		var ends []func()
		for range places {
			ends = append(ends, turns.take(t.Context()))
		}
		took := make(chan func())
		want := func(what string, free bool) func() {
			t.Helper()
			go func() { took <- turns.take(t.Context()) }()
			synctest.Wait()
			select {
			case end := <-took:
				if !free {
					t.Errorf("%s: there is a turn", what)
				}
				return end
			default:
				if free {
					t.Errorf("%s: there is no turn", what)
				}
				return nil
			}
		}
		want("while all have theirs", false)
		ends[0]()
		synctest.Wait()
		end := <-took
		want("when one has ended and another one has begun", false)
		end()
		end() // twice is once
		(<-took)()
		begun := time.Now()
		turns.take(t.Context()) // of the one that is free, and takes nothing
		want("behind two that take nothing", false)
		end = <-took
		if waited := time.Since(begun); waited > turnTakes {
			t.Errorf("somebody waited %v for those who take nothing, want at most %v", waited, turnTakes)
		}
		end()
		ends[1]() // much too late, and it takes nobody's turn
		synctest.Wait()
		<-time.After(turnTakes)
		if n := len(turns); n != 0 {
			t.Errorf("%d turns are not given back", n)
		}
	})
}

// Behind many who take nothing somebody goes on without a turn.
func TestNobodyWaitsForLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		turns := make(turns) // none is ever free
		begun := time.Now()
		turns.take(t.Context())()
		if waited := time.Since(begun); waited != turnBound {
			t.Errorf("somebody waited for %v, want %v", waited, turnBound)
		}
	})
}
