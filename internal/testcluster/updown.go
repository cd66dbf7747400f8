package testcluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Arguments with which Up starts this program again; they call [Init] and [Run].
const (
	ArgInit = "init"
	ArgRun  = "run"
)

// Descriptors of the first process and of its child.
const (
	lifelineFD = 3 // its end before the cluster is ready means that whoever asked for it has gone
	reportFD   = 4 // takes one line for each step, and readyLine
)

const (
	readyLine = "ready"
	readyFile = "ready"          // is there once the cluster is ready
	endTime   = 30 * time.Second // bounds the end of what was killed
	logTail   = 30               // lines of a log that an error shows
)

var (
	errDown = errors.New("the cluster is not up: `make cluster` starts it")
	errRoot = errors.New("a cluster needs root, for namespaces, mounts and cgroups; or let KUBECONFIG name a cluster that is there")
)

// Up starts the cluster and returns when its node and DNS are ready; progress goes to out. It returns false if the cluster was
// up already. What a start that was killed has left is removed first. The program must call [Init] and [Run] when it is
// started with [ArgInit] or [ArgRun].
func (c Cluster) Up(ctx context.Context, out io.Writer) (started bool, err error) {
	if os.Geteuid() != 0 {
		return false, errRoot
	}
	if _, err := c.programs(); err != nil {
		return false, err
	}
	unlock, err := c.lock()
	if err != nil {
		return false, err
	}
	defer unlock()
	if _, up := c.up(); up {
		return false, nil
	}
	if err := c.clear(ctx); err != nil { // nobody else starts one, so what is there was killed
		return false, err
	}
	if err := c.start(ctx, out); err != nil {
		return false, errors.Join(err, c.end(context.WithoutCancel(ctx)))
	}
	return true, nil
}

// start starts the first process and listens to what it reports.
func (c Cluster) start(ctx context.Context, out io.Writer) error {
	if err := os.MkdirAll(c.Logs(), 0o755); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(c.Logs(), "cluster"))
	if err != nil {
		return err
	}
	defer log.Close()
	lifeline, lifelineOurs, err := os.Pipe()
	if err != nil {
		return err
	}
	defer lifelineOurs.Close()
	reportOurs, report, err := os.Pipe()
	if err != nil {
		return errors.Join(err, lifeline.Close())
	}
	defer reportOurs.Close()
	cmd := exec.Command("/proc/self/exe", ArgInit, c.Root, c.Dir)
	cmd.Dir = c.Dir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{lifeline, report}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid: true, Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWIPC,
	}
	err = cmd.Start()
	_ = lifeline.Close()
	_ = report.Close()
	if err != nil {
		return fmt.Errorf("start in namespaces of its own: %w", err)
	}
	pid := cmd.Process.Pid
	if err := os.WriteFile(c.path("pid"), fmt.Appendf(nil, "%d %s\n", pid, bornAt(pid)), 0o644); err != nil {
		return errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	lines := bufio.NewScanner(reportOurs)
	for lines.Scan() {
		if lines.Text() == readyLine {
			return cmd.Process.Release()
		}
		fmt.Fprintln(out, "cluster: "+lines.Text())
	}
	_ = cmd.Process.Kill()
	ended := cmd.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("%w\n%s", ended, tailOf(filepath.Join(c.Logs(), "cluster")))
}

// Down ends the cluster and removes everything that it has left. It is no error if there is none.
func (c Cluster) Down(ctx context.Context) error {
	if _, err := os.Stat(c.Dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if os.Geteuid() != 0 {
		return errRoot
	}
	if pid, runs := c.running(); runs { // before the lock: a start under way ends with it
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	unlock, err := c.lock()
	if err != nil {
		return err
	}
	defer unlock()
	return c.end(ctx)
}

// end ends the cluster and removes its folder.
func (c Cluster) end(ctx context.Context) error {
	if err := c.clear(ctx); err != nil {
		return err
	}
	return os.Remove(c.Dir)
}

// clear kills the first process, waits until all others are gone with it, and removes what is left.
func (c Cluster) clear(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, endTime)
	defer cancel()
	if err := poll(ctx, "the end of the processes", func() error {
		pid, runs := c.running()
		if !runs {
			return nil
		}
		_ = unix.Kill(pid, unix.SIGKILL)
		return fmt.Errorf("process %d is still there", pid)
	}); err != nil {
		return err
	}
	return c.remove(ctx)
}

// remove removes the cgroups, and what is in the folder. The kernel may take a moment to let go of what was killed.
func (c Cluster) remove(ctx context.Context) error {
	return poll(ctx, "what the cluster has left", func() error {
		if err := c.removeCgroups(); err != nil {
			return err
		}
		entries, err := os.ReadDir(c.Dir)
		for _, entry := range entries {
			err = errors.Join(err, os.RemoveAll(c.path(entry.Name())))
		}
		return err
	})
}

// lock keeps others from starting or ending this cluster at the same time. It makes the folder.
func (c Cluster) lock() (unlock func(), err error) {
	for {
		if err := os.MkdirAll(c.Dir, 0o755); err != nil {
			return nil, err
		}
		dir, err := os.Open(c.Dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue // somebody has just removed it
		}
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", c.Dir, err), dir.Close())
		}
		locked, err := dir.Stat()
		if err != nil {
			return nil, errors.Join(err, dir.Close())
		}
		if now, err := os.Stat(c.Dir); err == nil && os.SameFile(locked, now) {
			return func() { _ = dir.Close() }, nil
		}
		_ = dir.Close()
	}
}

// tailOf returns the last lines of a file.
func tailOf(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-logTail):], "\n")
}
