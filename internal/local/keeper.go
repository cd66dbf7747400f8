package local

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/internal/process"
)

// keeper keeps a process running: it starts it again when it ends, after a pause that doubles each time and begins
// anew when the process has run for longer than the longest pause.
type keeper struct {
	start    func() (*process.Process, error)
	attend   func(ctx context.Context, p *process.Process) error // beside the process until ctx ends; an error ends the process; may be nil
	ended    func(err error, pause time.Duration)                // it ended by itself, and is started again after the pause
	pause    time.Duration
	longest  time.Duration
	stopWait time.Duration // from asking it to end to killing it
}

// run keeps the process until ctx ends, and then stops it, at once when kill has ended.
func (k keeper) run(ctx, kill context.Context) {
	pause := k.pause
	for {
		began := time.Now()
		err := k.once(ctx, kill)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > k.longest {
			pause = k.pause
		}
		k.ended(err, pause)
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		pause = min(2*pause, k.longest)
	}
}

// once returns why the process ended, or could not be started.
func (k keeper) once(ctx, kill context.Context) error {
	p, err := k.start()
	if err != nil {
		return err
	}
	var beside sync.WaitGroup
	defer beside.Wait()
	attending, cancel := context.WithCancel(ctx)
	defer cancel()
	gaveUp := make(chan error, 1)
	if k.attend != nil {
		beside.Go(func() {
			if err := k.attend(attending, p); err != nil {
				gaveUp <- err
			}
		})
	}
	select {
	case <-p.Done():
		return exitOf(p)
	case <-ctx.Done():
		p.Stop(kill, k.stopWait)
		return nil
	case err := <-gaveUp:
		p.Stop(kill, k.stopWait)
		return err
	}
}

func exitOf(p *process.Process) error {
	return &exit{process.Describe(p.Err()), errors.Is(p.Err(), process.ErrKilled)}
}

// exit is the error that a process ended by itself.
type exit struct {
	how    string
	killed bool // by somebody else, so that it could not say why
}

func (e *exit) Error() string { return e.how }
