package guard

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const patience = 20 * time.Second

// TestMain makes the test binary a guard, and a program that has one.
func TestMain(m *testing.M) {
	var err error
	switch {
	case len(os.Args) == 2 && os.Args[1] == Arg:
		err = Run(os.Stdin)
	case len(os.Args) > 2 && os.Args[1] == "guarded":
		err = guarded(os.Args[2:])
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// guarded tells a guard what the arguments say, prints its process ID, and waits to be killed.
func guarded(groups []string) error {
	g, err := Start()
	if err != nil {
		return err
	}
	for _, group := range groups {
		pgid, err := strconv.Atoi(group)
		if err != nil {
			return err
		}
		if pgid > 0 {
			g.Add(pgid)
		} else {
			g.Remove(-pgid)
		}
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGUSR1) // never sent; a program that waits for nothing at all is ended by Go itself
	fmt.Println(g.cmd.Process.Pid)
	<-end
	return nil
}

// group starts a shell with a child in a group of its own.
func group(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", "sleep 1000 & echo ready; wait")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	})
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

// members returns the processes of a group that run; the dead that wait for their parent do not.
func members(pgid int) []string {
	out, _ := exec.Command("ps", "-eo", "pgid=,stat=,pid=").Output() // none: no members
	var pids []string
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == strconv.Itoa(pgid) && !strings.HasPrefix(f[1], "Z") {
			pids = append(pids, f[2])
		}
	}
	return pids
}

func awaitEmpty(t *testing.T, pgid int) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); len(members(pgid)) > 0; <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("group %d still has %v", pgid, members(pgid))
		}
	}
}

// run runs a guard with the input.
func run(input string) ([]byte, error) {
	guard := exec.Command(os.Args[0], Arg)
	guard.Stdin = strings.NewReader(input)
	guard.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0") // the race detector sleeps for a second otherwise
	return guard.CombinedOutput()
}

// When the input ends, the groups that are still listed are killed, and no others.
func TestRun(t *testing.T) {
	left, removed, never := group(t), group(t), group(t)
	if len(members(left)) != 2 {
		t.Fatalf("group %d has %v, want a shell and its child", left, members(left))
	}
	input := fmt.Sprintf("+%d\n+%d\n-%d\n", left, removed, removed)
	if out, err := run(input); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	awaitEmpty(t, left)
	for _, pgid := range []int{removed, never} {
		if len(members(pgid)) != 2 {
			t.Errorf("group %d has %v, want both to live", pgid, members(pgid))
		}
	}
}

// What is no group never becomes a signal to everybody.
func TestRunRefuses(t *testing.T) {
	for _, line := range []string{"0", "1", "-1", "x", "+", "99999999999999999999", ""} {
		if out, err := run(line + "\n"); err == nil || !strings.Contains(string(out), "is not a process group") {
			t.Errorf("%q: %v %s", line, err, out)
		}
	}
}

// A program that is killed takes its groups with it, and its guard ends after that.
func TestKilled(t *testing.T) {
	pgid := group(t)
	program := exec.Command(os.Args[0], "guarded", strconv.Itoa(pgid))
	out, err := program.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	watchdog, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	if sid, err := syscall.Getpgid(watchdog); err != nil || sid != watchdog {
		t.Errorf("the guard's group is %d (%v), want its own", sid, err)
	}
	if !slices.Equal(members(watchdog), []string{strconv.Itoa(watchdog)}) {
		t.Fatalf("the guard %d does not run", watchdog)
	}
	if err := program.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = program.Wait() // killed
	awaitEmpty(t, pgid)
	awaitEmpty(t, watchdog)
}

func TestClose(t *testing.T) {
	pgid := group(t)
	g, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	g.Add(pgid)
	g.Remove(pgid)
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	if len(members(pgid)) != 2 {
		t.Errorf("group %d has %v, want both to live", pgid, members(pgid))
	}
}
