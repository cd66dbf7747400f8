// Package netns gives a test a network of its own, in which it may use fixed ports and addresses.
//
// [Run] starts the test's binary again for that one test, in a fresh network namespace whose loopback interface is up and
// where nothing else listens, and hands what it prints and its verdict on to the test. No root is needed: without it, the
// namespace belongs to a user namespace in which the test is root. Nothing reaches out of the namespace but files and Unix
// sockets.
//
// A test in a namespace can have pods: further namespaces that a [Network] joins, with processes of several users. These take root.
//
// What was started there ends with the test: with its deadline, and also when the first process is killed. What leaves
// the process group escapes this. A machine that allows no namespaces fails the test. Linux only.
package netns

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// variable names, in the environment of a process in a namespace, the test that runs there.
const variable = "LATEEN_NETNS_TEST"

// noExitSleep keeps the race detector from sleeping for a second at the end of each process.
const noExitSleep = "GORACE=atexit_sleep_ms=0"

// Run runs f in a network namespace of its own. What the test does before it is done twice, in and out of the namespace, so
// call it first, but for t.Parallel. The deadline of t in the namespace is a little earlier than that outside. A test that
// runs in a namespace cannot call Run again.
func Run(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	run(t, []string{"-test.run=" + only(t.Name())}, func() { f(t) })
}

// RunBenchmark is [Run] for a benchmark, whose function runs once. What it reports is printed by the process in the namespace.
func RunBenchmark(b *testing.B, f func(b *testing.B)) {
	b.Helper()
	run(b, []string{"-test.run=^$", "-test.bench=" + only(b.Name()), "-test.benchtime=1x"}, func() { f(b) })
}

// run runs f in the namespace, of a process with these flags.
func run(t testing.TB, flags []string, f func()) {
	t.Helper()
	switch inside := os.Getenv(variable); inside {
	case "":
		outside(t, flags)
	case t.Name():
		if err := loopbackUp(); err != nil {
			t.Fatalf("netns: bring up the loopback interface: %v", err)
		}
		f()
	default:
		t.Fatalf("netns: %s runs in the namespace of %s already", t.Name(), inside)
	}
}

// outside runs the test t in a namespace and reports what became of it.
func outside(t testing.TB, flags []string) {
	t.Helper()
	ctx, inner := t.Context(), time.Duration(0)
	if deadline, ok := deadlineOf(t); ok {
		// The test inside gives up first, since it can say where it hangs.
		left := time.Until(deadline)
		inner = left - min(left/4, 10*time.Second)
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, left-min(left/8, 5*time.Second))
		defer cancel()
	}
	log := readLog{path: t.TempDir() + "/read"}
	out := &filter{t: t, out: t.Output()}
	if _, ok := t.(*testing.B); ok {
		out.out = os.Stdout // of what a benchmark logs only the beginning is shown
	}
	defer out.Close()
	err := start(ctx, out, t.Name(), slices.Concat(flags, arguments(inner, log.path)))
	out.Close()
	switch {
	case errors.Is(err, errNoNamespace):
		t.Fatalf("netns: %v\nhint: run the tests as root, or allow user namespaces: sysctl kernel.unprivileged_userns_clone, "+
			"kernel.apparmor_restrict_unprivileged_userns, user.max_user_namespaces", err)
	case ctx.Err() != nil:
		t.Fatal("netns: the test in the namespace did not end before its deadline and was killed")
	case err != nil && !out.failed:
		t.Fatalf("netns: the test in the namespace ended with %v", err)
	case err != nil:
		t.FailNow()
	case !out.passed:
		t.Fatal("netns: the test in the namespace neither passed nor failed: was it skipped?")
	}
	log.replay()
}

// deadlineOf returns when a test is killed. Benchmarks are not told.
func deadlineOf(tb testing.TB) (time.Time, bool) {
	tb.Helper()
	if t, ok := tb.(*testing.T); ok {
		return t.Deadline()
	}
	return time.Time{}, false
}

// only is a pattern that only the named test matches.
func only(name string) string {
	elements := strings.Split(name, "/")
	for i, element := range elements {
		elements[i] = "^" + regexp.QuoteMeta(element) + "$"
	}
	return strings.Join(elements, "/")
}

// arguments are the other flags of the test's binary in the namespace. The program's own flags are handed on.
func arguments(timeout time.Duration, readLog string) []string {
	args := []string{"-test.v", "-test.count=1", "-test.paniconexit0", "-test.timeout=" + timeout.String(), "-test.testlogfile=" + readLog}
	flag.Visit(func(f *flag.Flag) {
		if !strings.HasPrefix(f.Name, "test.") {
			args = append(args, fmt.Sprintf("-%s=%s", f.Name, f.Value))
		}
	})
	return append(append(args, "--"), flag.Args()...)
}

var errNoNamespace = errors.New("this machine allows no network namespace")

// start runs this program in a new network namespace until it ends, and ends everything that it left behind in its process
// group.
func start(ctx context.Context, out *filter, name string, args []string) error {
	// The kernel sends the parent's death signal when the thread dies that started the child, so the thread has to stay.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var refused error
	for _, attributes := range []*syscall.SysProcAttr{asRoot(), asUser()} {
		// /proc/self/exe is this program even when its path is not accessible to this user.
		cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
		cmd.Args[0] = os.Args[0]
		cmd.Env = append(os.Environ(), noExitSleep, variable+"="+name)
		cmd.Stdout, cmd.Stderr = out, out
		cmd.SysProcAttr = attributes
		cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
		cmd.WaitDelay = 5 * time.Second // for leftovers that hold the output open
		switch err := cmd.Start(); {
		case err == nil:
			err = cmd.Wait()
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // there may be no leftovers
			return err
		case ctx.Err() != nil:
			return err
		default:
			refused = err
		}
	}
	return fmt.Errorf("%w: %w", errNoNamespace, refused)
}

// asRoot makes a network namespace, which takes CAP_SYS_ADMIN.
func asRoot() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// asUser makes a user namespace first, in which this user is root.
func asUser() *syscall.SysProcAttr {
	attributes := asRoot()
	attributes.Cloneflags |= syscall.CLONE_NEWUSER
	attributes.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
	attributes.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	return attributes
}

// filter takes the output of the test in the namespace, hands the lines on that the test outside does not print itself,
// and reads the verdict.
type filter struct {
	t              testing.TB
	out            io.Writer
	rest           []byte
	passed, failed bool
}

// Write implements [io.Writer].
func (f *filter) Write(text []byte) (int, error) {
	f.rest = append(f.rest, text...)
	for {
		line, rest, found := bytes.Cut(f.rest, []byte("\n"))
		if !found {
			return len(text), nil
		}
		f.line(string(line))
		f.rest = rest
	}
}

// Close hands on a last line that has no newline.
func (f *filter) Close() {
	if len(f.rest) > 0 {
		f.line(string(f.rest))
		f.rest = nil
	}
}

// verdict is how package testing ends a test.
var verdict = regexp.MustCompile(`^ *--- (PASS|FAIL|SKIP): (\S+) \(`)

// result is how it ends a benchmark that has not failed.
var result = regexp.MustCompile(`^(Benchmark\S*?)(-\d+)?\s+\d+\s`)

func (f *filter) line(line string) {
	if end := verdict.FindStringSubmatch(line); end != nil {
		if end[2] == f.t.Name() {
			f.passed, f.failed = end[1] == "PASS", end[1] == "FAIL"
		}
		if strings.HasPrefix(f.t.Name()+"/", end[2]+"/") {
			return
		}
	}
	if end := result.FindStringSubmatch(line); end != nil && end[1] == f.t.Name() {
		f.passed = true
	}
	if !strings.HasPrefix(line, "=== ") && line != "PASS" && line != "FAIL" {
		fmt.Fprintln(f.out, line)
	}
}
