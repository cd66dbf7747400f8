package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/cli"
	"github.com/lateen-mesh/lateen/internal/meshtest"
)

const (
	// actAs makes the test's own program act as lateen, also where lateen starts itself, or as one of the applications.
	actAs = "LATEEN_TEST_ACT_AS_LATEEN"
	// mark stands in the environment of everything that a test starts, and of what that starts.
	mark = "LATEEN_TEST_MARK"
	// patience bounds everything that a test waits for.
	patience = 60 * time.Second
)

func TestMain(m *testing.M) {
	switch program := os.Getenv(actAs); {
	case program == "":
		os.Exit(m.Run())
	case applications[program] != nil:
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM) //nolint:forbidigo // this is main
		defer stop()
		if err := applications[program](ctx, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	default:
		os.Exit(cli.Main(context.Background(), os.Args[1:])) //nolint:forbidigo // this is main
	}
}

// program is lateen as a user runs it: a process with its output.
type program struct {
	t    *testing.T
	cmd  *exec.Cmd
	mark string
	done chan struct{}

	mu      sync.Mutex
	output  bytes.Buffer // both streams
	errors  bytes.Buffer // standard error alone
	changed chan struct{}
}

// home is a folder for one test's state, with a short path.
func home(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lt") //nolint:usetesting // TempDir holds the test's name, and paths of sockets are short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// environ is the environment of lateen in a test.
func environ(dir, mark string) []string {
	return append(os.Environ(), actAs+"=1", mark, "XDG_STATE_HOME="+dir, "GORACE=atexit_sleep_ms=0")
}

// start starts lateen in dir. It is killed, with all that it started, when the test ends.
func start(t *testing.T, dir string, args ...string) *program {
	t.Helper()
	return startOf(t, os.Args[0], dir, args...)
}

// startOf is start with another program than the test's own.
func startOf(t *testing.T, path, dir string, args ...string) *program {
	t.Helper()
	p := &program{
		t: t, mark: fmt.Sprintf("%s=%d-%d", mark, os.Getpid(), time.Now().UnixNano()),
		done: make(chan struct{}), changed: make(chan struct{}),
	}
	p.cmd = exec.CommandContext(context.WithoutCancel(t.Context()), path, args...) //nolint:gosec // what the test has built
	p.cmd.Dir, p.cmd.Env = dir, append(environ(dir, p.mark), "LATEEN_ENVOY="+meshtest.Envoy(t))
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.Stdout, p.cmd.Stderr = sink{p, io.Discard}, sink{p, &p.errors}
	p.cmd.WaitDelay = time.Second
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.done
		p.gone()
		if t.Failed() {
			t.Logf("lateen %s printed:\n%s", strings.Join(args, " "), p.text())
		}
	})
	return p
}

// sink takes what a process prints.
type sink struct {
	p    *program
	also io.Writer
}

func (s sink) Write(text []byte) (int, error) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	s.p.output.Write(text)
	_, _ = s.also.Write(text)
	close(s.p.changed)
	s.p.changed = make(chan struct{})
	return len(text), nil
}

func (p *program) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String()
}

// prints waits until the program has printed a text.
func (p *program) prints(text string) {
	p.t.Helper()
	timeout := time.After(patience)
	for {
		p.mu.Lock()
		found, changed := strings.Contains(p.output.String(), text), p.changed
		p.mu.Unlock()
		if found {
			return
		}
		select {
		case <-changed:
		case <-p.done:
			if !strings.Contains(p.text(), text) {
				p.t.Fatalf("lateen has ended without printing %q:\n%s", text, p.text())
			}
			return
		case <-timeout:
			p.t.Fatalf("lateen has not printed %q in %v:\n%s", text, patience, p.text())
		}
	}
}

// interrupt sends SIGINT, as Ctrl-C does, and returns the exit code.
func (p *program) interrupt() int {
	p.t.Helper()
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		p.t.Fatal(err)
	}
	return p.exit()
}

// exit waits until the program has ended and returns its exit code.
func (p *program) exit() int {
	p.t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		p.t.Fatalf("lateen has not ended in %v:\n%s", patience, p.text())
		return 0
	}
}

// gone waits until nothing runs any more that the program or its children have started.
func (p *program) gone() {
	p.t.Helper()
	until(p.t, "all processes to end", func() bool { return len(p.processes("")) == 0 })
}

// processes lists the running processes that the program and its children have started, by PID, of those whose
// command line contains a text.
func (p *program) processes(text string) []int {
	p.t.Helper()
	folders, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		p.t.Fatal(err)
	}
	var pids []int
	for _, folder := range folders {
		environ, err := os.ReadFile(filepath.Join(folder, "environ")) // empty when it has ended
		if err != nil || !slices.Contains(strings.Split(string(environ), "\x00"), p.mark) {
			continue
		}
		command, err := os.ReadFile(filepath.Join(folder, "cmdline"))
		if err != nil || !strings.Contains(strings.ReplaceAll(string(command), "\x00", " "), text) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(folder))
		if err != nil {
			p.t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	slices.Sort(pids)
	return pids
}

// only returns the one process whose command line contains a text.
func (p *program) only(text string) int {
	p.t.Helper()
	pids := p.processes(text)
	if len(pids) != 1 {
		p.t.Fatalf("%d processes run %q, want one", len(pids), text)
	}
	return pids[0]
}

// until waits for what nobody announces.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !is(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// run runs a command of lateen to its end and returns what it printed and its exit code.
func run(t *testing.T, dir string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	return runWith(t, dir, []string{"LATEEN_ENVOY=" + meshtest.Envoy(t)}, args...)
}

// runWith is run with an environment that may lack an Envoy.
func runWith(t *testing.T, dir string, more []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], args...) //nolint:gosec // the test's own program
	var out, errs bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, append(environ(dir, mark+"=none"), more...), &out, &errs
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// must runs a command of lateen that has to succeed and returns what it printed.
func must(t *testing.T, dir string, args ...string) string {
	t.Helper()
	stdout, stderr, code := run(t, dir, args...)
	if code != 0 {
		t.Fatalf("lateen %s: exit code %d\n%s%s", strings.Join(args, " "), code, stdout, stderr)
	}
	return stdout
}

// write writes a file into dir and returns its path.
func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// page fetches a page, which must come with status 200.
func page(t *testing.T, url string) string {
	t.Helper()
	body, err := fetch(t, url)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// lines counts the lines of a text.
func lines(text string) int {
	n := 0
	for s := bufio.NewScanner(strings.NewReader(text)); s.Scan(); {
		n++
	}
	return n
}

// fetch fetches a page that may fail.
func fetch(t *testing.T, url string) (string, error) {
	t.Helper()
	return meshtest.Fetch(t.Context(), &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}, url)
}

// hammer fetches a page over and over, over new and over kept connections, until the returned function is called.
// No request may fail.
func hammer(t *testing.T, url string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	var sent atomic.Int64
	for i := range 4 {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: i%2 == 0}, Timeout: patience}
		running.Go(func() {
			defer client.CloseIdleConnections()
			for ctx.Err() == nil {
				if _, err := meshtest.Fetch(context.WithoutCancel(ctx), client, url); err != nil {
					t.Errorf("request %d: %v", sent.Load(), err)
				}
				sent.Add(1)
			}
		})
	}
	stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		t.Logf("%d requests", sent.Load())
	})
	t.Cleanup(stop)
	return stop
}
