// Package process runs child processes that do not outlive this program and take their own children with them.
//
// A child gets a process group of its own, so that a signal from the terminal does not reach it and one call ends it
// with everything that it started. The kernel kills it (PDEATHSIG) when this program dies, even by SIGKILL. When it
// ends by itself, what is left of its group is killed at once, before the group's number can be used again.
//
// Its output goes through [Lines]: whole lines, bounded in length, the last ones kept for error messages.
//
// What this package cannot do: when this program is killed, the children of its children live on (package guard ends
// those), and a process that leaves its group is never seen again. Linux only.
package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// outputWait bounds how long a process that has ended may keep its output open, through others that inherited it.
const outputWait = 500 * time.Millisecond

// ErrKilled tells that somebody killed the process, so that it could not say why it ended.
var ErrKilled = errors.New("signal: killed")

// Command says what to start.
type Command struct {
	Path   string   // of the program
	Args   []string // without the program's name
	Dir    string
	Env    []string
	Files  []*os.File // become its descriptors 3, 4 and so on
	Stdout *Lines     // may be the same as Stderr; nil: discarded
	Stderr *Lines
	Groups Groups // told about the process group; nil: nobody
}

// Groups is told which process groups there are, so that somebody else can end them should this program be killed.
type Groups interface {
	Add(pgid int)
	Remove(pgid int)
}

// Process is a child that was started. Its process ID is also the ID of its process group.
type Process struct {
	PID  int
	done chan struct{}
	exit error // set before done is closed

	mu   sync.Mutex
	gone bool // reaped: the PID may mean another process by now
	stop bool // the end was asked for
}

// Start starts the command and returns when it runs.
//
// A goroutine of its own starts the child and waits for it on one operating-system thread, since PDEATHSIG means the
// death of the thread that forked.
func Start(c Command) (*Process, error) {
	p := &Process{done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		p.run(c, started)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

func (p *Process) run(c Command, started chan<- error) {
	defer close(p.done) // after the output was flushed
	cmd := exec.Command(c.Path, c.Args...)
	cmd.Dir, cmd.Env, cmd.ExtraFiles = c.Dir, c.Env, c.Files
	if c.Stdout != nil {
		cmd.Stdout = c.Stdout
		defer c.Stdout.flush()
	}
	if c.Stderr != nil {
		cmd.Stderr = c.Stderr
		defer c.Stderr.flush()
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = outputWait
	if err := cmd.Start(); err != nil {
		started <- err
		return
	}
	p.PID = cmd.Process.Pid
	if c.Groups != nil {
		c.Groups.Add(p.PID)
	}
	started <- nil

	awaitExit(p.PID)
	p.endGroup()
	if c.Groups != nil {
		c.Groups.Remove(p.PID)
	}
	p.mu.Lock()
	p.gone = true
	p.mu.Unlock()
	err := cmd.Wait()
	if exit := (*exec.ExitError)(nil); err == nil || errors.As(err, &exit) || errors.Is(err, exec.ErrWaitDelay) {
		err = errors.New(cmd.ProcessState.String())
		if cmd.ProcessState.Success() {
			err = nil
		} else if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signal() == unix.SIGKILL {
			err = ErrKilled
		}
	}
	p.exit = err
}

// Done is closed when the process has ended, its output is complete and its group is gone.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err returns how the process ended, nil for exit status 0. It must not be called before Done is closed.
func (p *Process) Err() error { return p.exit }

// Stop asks the group to end (SIGTERM), kills it after the bound or when ctx ends, and returns when it is gone.
func (p *Process) Stop(ctx context.Context, bound time.Duration) {
	p.mu.Lock()
	p.stop = true
	p.mu.Unlock()
	p.signal(unix.SIGTERM)
	timer := time.NewTimer(bound)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		p.Kill()
	case <-ctx.Done():
		p.Kill()
	}
}

// Kill ends the group at once and returns when it is gone.
func (p *Process) Kill() {
	p.mu.Lock()
	p.stop = false
	p.mu.Unlock()
	p.signal(unix.SIGKILL)
	<-p.done
}

func (p *Process) signal(s unix.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.gone {
		_ = unix.Kill(-p.PID, s) // ESRCH: just ended
	}
}

// endGroup ends what the process left behind in its group. Those who were asked to end with it may still be at it:
// they get the time that Stop gives.
func (p *Process) endGroup() {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for p.stopping() && groupAlive(p.PID) {
		<-tick.C
	}
	p.signal(unix.SIGKILL)
}

func (p *Process) stopping() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stop
}

// awaitExit returns when the process has ended, and leaves it unreaped: so long its number belongs to nobody else.
func awaitExit(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// Describe returns how a process ended as a word for people.
func Describe(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return fmt.Sprint(err)
}
