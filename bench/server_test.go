package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/serve"
)

// probeVariable names the socket on which a server tells how it is.
const probeVariable = "LATEEN_BENCH_PROBE"

// TestMain removes the program that benchmarks have built.
func TestMain(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// built is the program that is measured: `lateen` with a probe, built as the product is, once.
var built struct {
	once sync.Once
	dir  string
	err  error
}

// makeTags is the line of the Makefile that says with which tags the product is built.
var makeTags = regexp.MustCompile(`(?m)^TAGS += (\S+)$`)

var errNoTags = errors.New("the Makefile does not say with which tags it builds")

func program(tb testing.TB) string {
	tb.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "lateen-bench-"); built.err != nil { //nolint:usetesting // it outlives who builds it
			return
		}
		var text []byte
		if text, built.err = os.ReadFile("../Makefile"); built.err != nil {
			return
		}
		tags := makeTags.FindSubmatch(text)
		if tags == nil {
			built.err = errNoTags
			return
		}
		//nolint:noctx // it ends by itself
		cmd := exec.Command("go", "build", "-trimpath", "-tags", string(tags[1]), "-o", built.dir, "./lateen")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	if built.err != nil {
		tb.Fatal(built.err)
	}
	return filepath.Join(built.dir, "lateen")
}

// size is what a server takes after its garbage is collected.
type size struct {
	Heap       int64 `json:"heap"` // bytes of objects that are alive
	Goroutines int   `json:"goroutines"`
}

// server is a control plane in a process of its own, on one processor.
type server struct {
	tb      testing.TB
	program string
	dir     string
	cpu     int      // -1: any
	flags   []string // beside those that all servers have
	secure  string   // where it answers over mutual TLS, HOST:PORT
	cmd     *exec.Cmd
	api     *api.Client
	probe   *http.Client
}

// newServer starts a control plane that knows nothing and waits until it answers.
func newServer(tb testing.TB, cpu int) *server {
	tb.Helper()
	s := notStarted(tb, cpu)
	s.flags = []string{"--admin-port", "0", "--plain-xds=unix:" + s.socket()}
	s.start()
	s.answers()
	return s
}

// notStarted returns a control plane that is to be told its flags and started. It ends with the test.
func notStarted(tb testing.TB, cpu int) *server {
	tb.Helper()
	s := &server{tb: tb, program: program(tb), dir: tb.TempDir(), cpu: cpu, secure: ownAddress() + ":15012"}
	socket, err := api.Socket(s.dir)
	if err != nil {
		tb.Fatal(err)
	}
	s.api = api.NewClient(socket)
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(s.dir, "probe.sock"))
	}
	s.probe = &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	tb.Cleanup(s.kill)
	return s
}

// ownAddress returns an address of 127.0.0.0/8 that nobody else uses: a port of 127.0.0.1 could become that of a connection while
// the server is away.
func ownAddress() string {
	return fmt.Sprintf("127.%d.%d.%d", 130+rand.IntN(64), rand.IntN(256), 1+rand.IntN(254))
}

// socket is where proxies without an identity connect.
func (s *server) socket() string { return serve.XDSSocket(s.dir) }

// start starts the process. It does not wait.
func (s *server) start() {
	s.tb.Helper()
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.tb.Fatal(err)
	}
	defer log.Close()
	probe := filepath.Join(s.dir, "probe.sock")
	if err := os.Remove(probe); err != nil && !os.IsNotExist(err) {
		s.tb.Fatal(err)
	}
	//nolint:noctx // it is killed in a clean-up, and by the kernel if this process is
	s.cmd = exec.Command(s.program, append([]string{"serve", "--state-dir", s.dir, "--secure-address", s.secure}, s.flags...)...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.Env = append(os.Environ(), "GOMAXPROCS=1", probeVariable+"="+probe)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := startOn(s.cmd, s.cpu); err != nil {
		s.tb.Fatal(err)
	}
}

// kill ends the process at once.
func (s *server) kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	if s.tb.Failed() {
		if log, err := os.ReadFile(filepath.Join(s.dir, "log")); err == nil {
			s.tb.Logf("the server's log ends with:\n%s", log[max(0, len(log)-4000):])
		}
	}
}

// answers waits until the API does.
func (s *server) answers() {
	s.tb.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; <-tick.C {
		_, err := s.api.Status(s.tb.Context())
		if err == nil {
			return
		}
		if time.Now().After(end) {
			s.tb.Fatal(err)
		}
	}
}

// cpuTime returns the processor time that the server has taken.
func (s *server) cpuTime() time.Duration {
	s.tb.Helper()
	return cpuTimeOf(s.tb, s.cmd.Process.Pid)
}

// cpuTimeOf returns the processor time that a process has taken.
func cpuTimeOf(tb testing.TB, pid int) time.Duration {
	tb.Helper()
	// The clock of another process, as in clock_getcpuclockid(3).
	clock := ^int32(pid)<<3 | 2
	var used unix.Timespec
	if err := unix.ClockGettime(clock, &used); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(used.Nano())
}

// resident returns the server's resident memory in bytes, now and at its highest since the start.
func (s *server) resident() (now, highest int64) {
	s.tb.Helper()
	return residentOf(s.tb, s.cmd.Process.Pid)
}

// residentOf returns the resident memory of a process in bytes, now and at its highest since the start.
func residentOf(tb testing.TB, pid int) (now, highest int64) {
	tb.Helper()
	proc := fmt.Sprintf("/proc/%d", pid)
	return int64(statusLine(tb, proc, "VmRSS:") * (1 << 20)), int64(statusLine(tb, proc, "VmHWM:") * (1 << 20))
}

// size has the server collect its garbage and tells what is left.
func (s *server) size() size {
	s.tb.Helper()
	var answer size
	if err := json.Unmarshal(s.ask("/size"), &answer); err != nil {
		s.tb.Fatal(err)
	}
	return answer
}

// ask asks the probe in the server's process.
func (s *server) ask(path string) []byte {
	s.tb.Helper()
	request, err := http.NewRequestWithContext(s.tb.Context(), http.MethodGet, "http://server"+path, nil)
	if err != nil {
		s.tb.Fatal(err)
	}
	response, err := s.probe.Do(request)
	if err != nil {
		s.tb.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		s.tb.Fatalf("%s: %s %v", path, response.Status, err)
	}
	return body
}
