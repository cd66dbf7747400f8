// Package guard ends process groups when the program that started them was killed.
//
// The kernel kills direct children with their parent, but not the children's children. So a program that starts
// others has a guard: a process of its own session, which is told the numbers of all process groups through a pipe
// and, when the pipe ends (also by SIGKILL of the program), kills every group that is still listed.
//
// What escapes: a process that left its group (setsid, setpgid), a group that was made in the very moment of the
// kill, and everything if the guard is killed together with the program. The guard is started as /proc/self/exe, so
// that a kill by the program's name does not reach it.
package guard

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
)

// Arg is the command-line argument with which the guard's program is started; it must then call [Run] with standard input.
const Arg = "guard"

// Run reads one group per line, "+PGID" when it starts and "-PGID" when it is gone, until the input ends. Then it
// kills the groups that are left.
func Run(r io.Reader) error {
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM)
	groups := map[int]bool{}
	var bad []error
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		pgid, err := strconv.Atoi(lines.Text())
		switch {
		case err != nil || pgid == 0 || pgid == 1 || pgid == -1:
			bad = append(bad, fmt.Errorf("%q is not a process group", lines.Text()))
		case pgid > 0:
			groups[pgid] = true
		default:
			delete(groups, -pgid)
		}
	}
	for pgid := range groups {
		if err := syscall.Kill(-pgid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			bad = append(bad, fmt.Errorf("kill group %d: %w", pgid, err))
		}
	}
	return errors.Join(append(bad, lines.Err())...)
}

// Guard is a running guard, seen from the program that started it.
type Guard struct {
	cmd *exec.Cmd

	mu   sync.Mutex
	pipe *os.File
}

// Start starts a guard: this very program with the argument [Arg].
func Start() (*Guard, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start guard: %w", err)
	}
	defer r.Close()
	cmd := exec.Command("/proc/self/exe", Arg)
	cmd.Stdin = r
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start guard: %w", err), w.Close())
	}
	return &Guard{cmd: cmd, pipe: w}, nil
}

// Add tells the guard of a new group.
func (g *Guard) Add(pgid int) { g.tell("+", pgid) }

// Remove tells the guard that a group is gone.
func (g *Guard) Remove(pgid int) { g.tell("-", pgid) }

// Close ends the guard, which kills the groups that are left, and waits for it.
func (g *Guard) Close() error {
	g.mu.Lock()
	err := g.pipe.Close()
	g.mu.Unlock()
	if err := errors.Join(err, g.cmd.Wait()); err != nil {
		return fmt.Errorf("end guard: %w", err)
	}
	return nil
}

func (g *Guard) tell(sign string, pgid int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	// A guard that was killed is no reason to stop: only what it guards against is then unguarded.
	_, _ = g.pipe.WriteString(sign + strconv.Itoa(pgid) + "\n")
}
