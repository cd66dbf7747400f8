package netns

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// meetingVariable names the folder in which the two tests of TestSamePort meet. Those in the namespaces find it set.
const meetingVariable = "LATEEN_NETNS_MEETING"

// TestSamePort shows that two tests have port 8080 at the same time: each holds it until the other does, too.
func TestSamePort(t *testing.T) {
	dir := os.Getenv(meetingVariable)
	if dir == "" {
		dir = t.TempDir()
		t.Setenv(meetingVariable, dir)
		for _, name := range []string{"port", "starboard"} {
			if err := unix.Mkfifo(filepath.Join(dir, name), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Run("sides", func(t *testing.T) { // it ends when both have ended
		t.Run("port", func(t *testing.T) { side(t, dir, "port", "starboard") })
		t.Run("starboard", func(t *testing.T) { side(t, dir, "starboard", "port") })
	})
}

func side(t *testing.T, dir, name, other string) {
	t.Parallel()
	Run(t, func(t *testing.T) {
		listener, err := net.Listen("tcp", "127.0.0.1:8080")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		meet(t, filepath.Join(dir, name), filepath.Join(dir, other))
		if got := exchange(t, listener, name); got != name {
			t.Errorf("port 8080 said %q, want %q", got, name)
		}
	})
}

// meet returns when the other side has called it as well. A pipe that is open for reading and writing can be opened at once.
func meet(t *testing.T, mine, others string) {
	t.Helper()
	var pipes [2]*os.File
	for i, path := range []string{mine, others} {
		pipe, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer pipe.Close()
		pipes[i] = pipe
	}
	if _, err := pipes[1].WriteString("."); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(pipes[0], make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
}

// exchange dials port 8080 and returns what it hears there from a listener that says text once.
func exchange(t *testing.T, listener net.Listener, text string) string {
	t.Helper()
	served := make(chan error, 1)
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			_, err = io.WriteString(conn, text)
			conn.Close()
		}
		served <- err
	}()
	conn, err := net.Dial("tcp", "localhost:8080")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	heard, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	return string(heard)
}

// TestUnprivileged runs TestSamePort as a user who is not root, in a folder in which that user may do nothing.
func TestUnprivileged(t *testing.T) {
	cmd := again(t, "^TestSamePort$")
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		cmd.Env = append(cmd.Env, "TMPDIR=/tmp")
	}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestSamePort/sides/starboard") {
		t.Errorf("%v\n%s", err, out)
	}
}

// again is a command that runs some tests of this program.
func again(t *testing.T, tests string, env ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.v", "-test.run="+tests)
	cmd.Env = append(append(os.Environ(), noExitSleep), env...)
	return cmd
}

// deedVariable names what TestDeed does in its namespace. Other tests run it to look at it from outside.
const deedVariable = "LATEEN_NETNS_DEED"

// TestDeed passes when it is run by itself.
func TestDeed(t *testing.T) {
	Run(t, func(t *testing.T) {
		switch os.Getenv(deedVariable) {
		case "fail":
			t.Run("part", func(t *testing.T) { t.Error("sunk") })
		case "panic":
			panic("overboard")
		case "exit":
			os.Exit(3)
		case "nest":
			Run(t, func(t *testing.T) { t.Run("deeper", func(t *testing.T) { Run(t, func(*testing.T) {}) }) })
		case "hang":
			fmt.Printf("pid %d.\n", os.Getpid())
			select {}
		case "freeze":
			_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		case "leave in a pod":
			pod := NewNetwork(t).Pod("web")
			sleep := pod.Command(1337, "sleep", "1000")
			if err := pod.Start(sleep); err != nil {
				t.Fatal(err)
			}
			t.Logf("pid %d.", sleep.Process.Pid)
		case "leave":
			sleep := exec.Command("sleep", "1000")
			if err := sleep.Start(); err != nil {
				t.Fatal(err)
			}
			t.Logf("pid %d.", sleep.Process.Pid)
		}
	})
}

func TestVerdict(t *testing.T) {
	tests := []struct {
		deed, timeout string
		want          []string // parts of the output
	}{
		{"none", "1m", []string{"\n--- PASS: TestDeed"}},
		{"fail", "1m", []string{"sunk", "--- FAIL: TestDeed/part", "\n--- FAIL: TestDeed"}},
		{"panic", "1m", []string{"panic: overboard", "\n--- FAIL: TestDeed"}},
		{"exit", "1m", []string{"netns: the test in the namespace ended with exit status 3", "\n--- FAIL: TestDeed"}},
		{"nest", "1m", []string{"netns: TestDeed/deeper runs in the namespace of TestDeed already", "\n--- FAIL: TestDeed"}},
		{"hang", "2s", []string{"panic: test timed out after 1.4", "netns.TestDeed", "\n--- FAIL: TestDeed"}},
		{"freeze", "2s", []string{"did not end before its deadline and was killed", "\n--- FAIL: TestDeed"}},
	}
	for _, test := range tests {
		t.Run(test.deed, func(t *testing.T) {
			t.Parallel()
			cmd := again(t, "^TestDeed$", deedVariable+"="+test.deed)
			cmd.Args = append(cmd.Args, "-test.timeout="+test.timeout)
			out, err := cmd.CombinedOutput()
			if passed := err == nil; passed != (test.deed == "none") {
				t.Errorf("ended with %v", err)
			}
			for _, part := range test.want {
				if !strings.Contains(string(out), part) {
					t.Errorf("the output lacks %q:\n%s", part, out)
				}
			}
		})
	}
}

func TestNobodySurvives(t *testing.T) {
	for name, deed := range map[string]string{"the test": "leave", "the pod": "leave in a pod"} {
		t.Run(name, func(t *testing.T) {
			out, err := again(t, "^TestDeed$", deedVariable+"="+deed).CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			ends(t, process(t, strings.NewReader(string(out))))
		})
	}
	t.Run("the process outside", func(t *testing.T) {
		cmd := again(t, "^TestDeed$", deedVariable+"=hang")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		pid := process(t, out)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		ends(t, pid)
		_ = cmd.Wait() // it was killed
	})
}

// process returns the process ID that a test prints.
func process(t *testing.T, out io.Reader) int {
	t.Helper()
	var pid int
	var seen strings.Builder
	for one := make([]byte, 1); ; {
		if _, err := out.Read(one); err != nil {
			t.Fatalf("no process ID: %v\n%s", err, seen.String())
		}
		seen.Write(one)
		_, after, _ := strings.Cut(seen.String(), "pid ")
		if n, _ := fmt.Sscanf(after, "%d.", &pid); n == 1 && strings.HasSuffix(after, ".") {
			return pid
		}
	}
}

// ends waits until a process that need not be ours has ended.
func ends(t *testing.T, pid int) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err == unix.ESRCH {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 10_000)
	for err == unix.EINTR {
		n, err = unix.Poll(fds, 10_000)
	}
	if n != 1 || err != nil {
		t.Errorf("process %d is alive after 10 s (%v)", pid, err)
	}
}

// TestReadLog shows that the go command learns what the test in the namespace read: else it would reuse an old result.
func TestReadLog(t *testing.T) {
	read := filepath.Join(t.TempDir(), "read")
	cmd := again(t, "^TestDeed$", deedVariable+"=none")
	cmd.Args = append(cmd.Args, "-test.testlogfile="+read)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(read)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), "getenv "+deedVariable+"\n"); n != 1 {
		t.Errorf("the log names %s %d times:\n%s", deedVariable, n, text)
	}
}

// BenchmarkDeed does as it is told, by TestBenchmarkVerdict.
func BenchmarkDeed(b *testing.B) {
	RunBenchmark(b, func(b *testing.B) {
		b.Helper()
		links, err := net.Interfaces()
		if err != nil || len(links) != 1 {
			b.Fatalf("the interfaces are %v: %v", links, err)
		}
		if os.Getenv(deedVariable) == "fail" {
			b.Fatal("sunk")
		}
		b.ReportMetric(7, "knots")
	})
}

// A benchmark in a namespace runs there once, tells what it has measured, and fails outside when it fails there.
func TestBenchmarkVerdict(t *testing.T) {
	for deed, want := range map[string]string{"none": " 7.000 knots", "fail": "sunk"} {
		t.Run(deed, func(t *testing.T) {
			t.Parallel()
			cmd := again(t, "^$", deedVariable+"="+deed)
			cmd.Args = append(cmd.Args, "-test.bench=^BenchmarkDeed$", "-test.benchtime=1x")
			out, err := cmd.CombinedOutput()
			if passed := err == nil; passed != (deed == "none") || !strings.Contains(string(out), want) {
				t.Errorf("ended with %v, want %q:\n%s", err, want, out)
			}
		})
	}
}
