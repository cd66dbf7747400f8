package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const patience = 20 * time.Second

// TestMain makes the test binary a program that starts a process and waits, for the tests that kill it.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "parent" {
		parent(os.Args[2])
		return
	}
	os.Exit(m.Run())
}

func parent(script string) {
	p, err := Start(Command{Path: "/bin/sh", Args: []string{"-c", script}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(p.PID)
	<-p.Done()
}

// start starts a shell script and returns what it says, line by line.
func start(t *testing.T, script string, groups Groups) (*Process, <-chan string) {
	t.Helper()
	said := make(chan string, 100)
	output := NewLines(func(line string) { said <- line })
	p, err := Start(Command{
		Path: "/bin/sh", Args: []string{"-c", script}, Dir: t.TempDir(), Env: os.Environ(),
		Stdout: output, Stderr: output, Groups: groups,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p, said
}

func await[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("waited %v for %s", patience, what)
		panic("unreachable")
	}
}

// hear waits for a line; others are passed over, since shells have things to say too.
func hear(t *testing.T, said <-chan string, want string) {
	t.Helper()
	for await(t, said, strconv.Quote(want)) != want {
	}
}

func awaitDead(t *testing.T, pgid int) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); groupAlive(pgid); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("group %d lives", pgid)
		}
	}
}

func TestExit(t *testing.T) {
	for _, c := range []struct{ script, want string }{
		{"exit 0", "exit status 0"},
		{"exit 3", "exit status 3"},
		{"kill -SEGV $$", "signal: segmentation fault"},
	} {
		p, _ := start(t, c.script, nil)
		await(t, p.Done(), "the end")
		if got := Describe(p.Err()); !strings.HasPrefix(got, c.want) || errors.Is(p.Err(), ErrKilled) {
			t.Errorf("%s: %s, want %s", c.script, got, c.want)
		}
	}
}

func TestStartError(t *testing.T) {
	if _, err := Start(Command{Path: filepath.Join(t.TempDir(), "nonesuch")}); err == nil {
		t.Fatal("a program that is not there was started")
	}
}

// The output is whole when Done is closed, also a last line without an end.
func TestOutput(t *testing.T) {
	p, said := start(t, "echo one; echo two >&2; printf three", nil)
	await(t, p.Done(), "the end")
	var lines []string
	for range 3 {
		lines = append(lines, await(t, said, "a line"))
	}
	if got := strings.Join(lines, " "); got != "one two three" {
		t.Errorf("got %q", got)
	}
}

func TestStopAsks(t *testing.T) {
	p, said := start(t, `trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.01; done`, nil)
	await(t, said, "ready")
	p.Stop(t.Context(), patience)
	hear(t, said, "bye")
	if p.Err() != nil {
		t.Errorf("ended with %v", p.Err())
	}
}

func TestStopKillsWhatDoesNotEnd(t *testing.T) {
	for name, stop := range map[string]func(*Process){
		"after the bound":   func(p *Process) { p.Stop(context.WithoutCancel(t.Context()), time.Millisecond) },
		"when the ctx ends": func(p *Process) { p.Stop(ended(t), patience) },
	} {
		t.Run(name, func(t *testing.T) {
			p, said := start(t, `trap '' TERM; echo ready; while :; do sleep 0.01; done`, nil)
			await(t, said, "ready")
			stop(p)
			if got := Describe(p.Err()); got != "signal: killed" || !errors.Is(p.Err(), ErrKilled) {
				t.Errorf("ended with %s", got)
			}
		})
	}
}

func ended(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// A process that ends by itself takes with it what it left in its group.
func TestOrphansEnd(t *testing.T) {
	p, said := start(t, `sleep 1000 & echo ready; exit 1`, nil)
	await(t, said, "ready")
	await(t, p.Done(), "the end")
	awaitDead(t, p.PID)
}

// A shell that was asked to end leaves the program that it started the time to end well.
func TestStopLetsOrphansFinish(t *testing.T) {
	p, said := start(t, `(trap 'sleep 0.2; echo saved; exit' TERM; echo ready; while :; do sleep 0.01; done) & trap 'exit 0' TERM; wait`, nil)
	await(t, said, "ready")
	p.Stop(t.Context(), patience)
	hear(t, said, "saved")
	awaitDead(t, p.PID)
}

type groups chan string

func (g groups) Add(pgid int)    { g <- "+" + strconv.Itoa(pgid) }
func (g groups) Remove(pgid int) { g <- "-" + strconv.Itoa(pgid) }

func TestGroupsAreTold(t *testing.T) {
	g := make(groups, 2)
	p, _ := start(t, "exit 0", g)
	await(t, p.Done(), "the end")
	if added, removed := await(t, g, "Add"), await(t, g, "Remove"); added != fmt.Sprint("+", p.PID) || removed != fmt.Sprint("-", p.PID) {
		t.Errorf("told %s and %s of %d", added, removed, p.PID)
	}
}

// The kernel kills a child with the program that started it.
func TestChildDiesWithParent(t *testing.T) {
	cmd := exec.Command(os.Args[0], "parent", "exec sleep 1000")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	if !groupAlive(child) {
		t.Fatalf("%d does not run", child)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	awaitDead(t, child)
}

// A process has a group of its own: what a terminal sends to this program's group does not reach it.
func TestOwnGroup(t *testing.T) {
	p, said := start(t, `echo ready; sleep 1000`, nil)
	await(t, said, "ready")
	if pgid, err := syscall.Getpgid(p.PID); err != nil || pgid != p.PID {
		t.Errorf("group of %d is %d (%v)", p.PID, pgid, err)
	}
}

func TestLines(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	for name, c := range map[string]struct {
		writes []string
		want   []string
	}{
		"pieces":        {[]string{"a", "b\nc", "\n"}, []string{"ab", "c"}},
		"rest at end":   {[]string{"a\nb"}, []string{"a", "b"}},
		"empty lines":   {[]string{"\n\na\n"}, []string{"", "", "a"}},
		"carriage":      {[]string{"a\r\nb\r\n"}, []string{"a", "b"}},
		"as long":       {[]string{long + "\n"}, []string{long}},
		"too long":      {[]string{long + "y\n"}, []string{long, "y"}},
		"never an end":  {[]string{long, long, "z"}, []string{long, long, "z"}},
		"nothing":       {[]string{""}, nil},
		"several lines": {[]string{"1\n2\n3\n"}, []string{"1", "2", "3"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			l := NewLines(func(line string) { got = append(got, line) })
			for _, w := range c.writes {
				if _, err := io.WriteString(l, w); err != nil {
					t.Fatal(err)
				}
			}
			l.flush()
			if !slices.Equal(got, c.want) {
				t.Errorf("got %d lines %.40q, want %d", len(got), got, len(c.want))
			}
		})
	}
}

func TestLastLines(t *testing.T) {
	l := NewLines(nil)
	for i := range 25 {
		fmt.Fprintf(l, "%d\n\n", i)
	}
	if got := l.Last(); len(got) != keptLines || got[0] != "15" || got[keptLines-1] != "24" {
		t.Errorf("kept %q", got)
	}
}

func TestReadStat(t *testing.T) {
	for stat, want := range map[string]string{
		"12 (sh) S 1 34 34 0":            "S 34",
		"12 (a) Z 9 9 (x) R 1 56 56 0":   "R 56",
		"12 ()) Z 1 78 78 0 -1 4194560":  "Z 78",
		"":                               "\x00 0",
		"12 (sh":                         "\x00 0",
		"12 (sh) S 1 notanumber 34 0 -1": "\x00 0",
	} {
		if state, pgid := readStat([]byte(stat)); fmt.Sprintf("%c %d", state, pgid) != want {
			t.Errorf("%q: %c %d, want %q", stat, state, pgid, want)
		}
	}
}

// A child has the files that it was given, and no child has those of another.
func TestFiles(t *testing.T) {
	t.Parallel()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	said := make(chan string, 100)
	output := NewLines(func(line string) { said <- line })
	p, err := Start(Command{
		Path: "/bin/sh", Args: []string{"-c", "echo given >&3; exec 3>&-; echo done"}, Stdout: output, Stderr: output, Files: []*os.File{write},
	})
	if err != nil {
		t.Fatal(err)
	}
	hear(t, said, "done")
	_, other := start(t, "for fd in /proc/$$/fd/*; do readlink $fd; done; echo done", nil)
	for line := await(t, other, "the files of another"); line != "done"; line = await(t, other, "the files of another") {
		if strings.HasPrefix(line, "pipe:") {
			var pipe syscall.Stat_t
			if err := syscall.Fstat(int(read.Fd()), &pipe); err != nil {
				t.Fatal(err)
			}
			if line == fmt.Sprintf("pipe:[%d]", pipe.Ino) {
				t.Error("a child has the file of another")
			}
		}
	}
	if err := write.Close(); err != nil {
		t.Error("the file of the parent was closed")
	}
	await(t, p.Done(), "the end")
	if text, err := io.ReadAll(read); err != nil || string(text) != "given\n" {
		t.Errorf("the child wrote %q, %v", text, err)
	}
}
