package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const patience = 30 * time.Second

// TestMain makes the test binary the command that runs an agent, for the test that kills it.
func TestMain(m *testing.M) {
	if len(os.Args) < 2 || os.Args[1] != "agent" {
		os.Exit(m.Run())
	}
	c := Config{Domain: "cluster.local", Log: slog.New(slog.NewTextHandler(os.Stderr, nil)), Events: os.Stdout}
	flags := flag.NewFlagSet("agent", flag.ExitOnError)
	c.Flags(flags)
	err := flags.Parse(os.Args[2:])
	if err == nil {
		err = New(c).Run(context.Background()) //nolint:forbidigo // this is a program's main
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// static is an Envoy that sends everything from one port to another.
const static = `{
  "admin": {"address": {"pipe": {"path": %q, "mode": 384}}},
  "static_resources": {
    "listeners": [{
      "address": {"socket_address": {"address": "127.0.0.1", "port_value": %d}},
      "filter_chains": [{"filters": [{
        "name": "hcm",
        "typed_config": {
          "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
          "stat_prefix": "in",
          "access_log": [{"name": "log", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog", "path": "access.log"}}],
          "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "route": {"cluster": "app", "timeout": "0s"}}]}]},
          "http_filters": [{"name": "router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]
        }
      }]}]
    }],
    "clusters": [{"name": "app", "load_assignment": {"cluster_name": "app", "endpoints": [{"lb_endpoints": [
      {"endpoint": {"address": {"socket_address": {"address": %q, "port_value": %s}}}}]}]}}]
  }
}`

// proxy is an agent's Envoy in front of a handler.
type proxy struct {
	config Config
	url    string
	events chan Event
}

func (p *proxy) Write(line []byte) (int, error) {
	var e Event
	if err := json.Unmarshal(line, &e); err != nil {
		return 0, err
	}
	p.events <- e
	return len(line), nil
}

func newProxy(t testing.TB, app http.Handler) *proxy {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent") //nolint:usetesting // TempDir holds the test's name, and paths of sockets are short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	server := httptest.NewServer(app)
	t.Cleanup(server.Close)
	host, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	p := &proxy{url: "http://" + l.Addr().String() + "/", events: make(chan Event, 100)}
	p.config = Config{
		Name: "test", Envoy: envoyPath(t), Dir: dir, DrainTime: time.Second, Events: p, Log: slog.New(slog.DiscardHandler),
		Bootstrap: filepath.Join(dir, "bootstrap.json"), AdminSocket: filepath.Join(dir, "admin.sock"),
	}
	p.bootstrap(t, fmt.Sprintf(static, p.config.AdminSocket, l.Addr().(*net.TCPAddr).Port, host, port))
	return p
}

func (p *proxy) bootstrap(t testing.TB, text string) {
	t.Helper()
	if err := os.WriteFile(p.config.Bootstrap, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func envoyPath(t testing.TB) string {
	t.Helper()
	dir, err := filepath.Abs("../../bin")
	if err != nil {
		t.Fatal(err)
	}
	path, err := FindEnvoy(t.Context(), Lookup{Env: os.Getenv("LATEEN_ENVOY"), Dir: dir, Path: os.Getenv("PATH")})
	if err != nil {
		t.Fatalf("this test needs an Envoy: %v (`make envoy` fetches one)", err)
	}
	return path
}

// run runs an agent until the test ends or the returned function is called, which returns when the agent has ended.
func (p *proxy) run(t *testing.T) (stop func(), done <-chan error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		ended <- New(p.config).Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-closed
	})
	return cancel, ended
}

func await[T any](t testing.TB, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("waited %v for %s", patience, what)
		panic("unreachable")
	}
}

func (p *proxy) await(t testing.TB, want string) Event {
	t.Helper()
	e := await(t, p.events, want)
	if e.Event != want {
		t.Fatalf("event %+v, want %s", e, want)
	}
	return e
}

func get(url string) (string, error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	response, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.Status + " " + string(body), err
}

func awaitGone(t *testing.T, pid int) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); running(pid); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("process %d runs", pid)
		}
	}
}

// running tells whether a process runs. One that is dead and not reaped does not.
func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

// Envoy gets its configuration, takes requests, and finishes the one that it has when it is to end.
func TestDrain(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	p := newProxy(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-release
		fmt.Fprint(w, "done")
	}))
	stop, done := p.run(t)
	pid := p.await(t, Ready).PID
	answer := make(chan string, 1)
	go func() {
		got, err := get(p.url)
		answer <- fmt.Sprint(got, err)
	}()
	await(t, entered, "the request")
	stop()
	select {
	case err := <-done:
		t.Fatalf("the agent did not wait for the request: %v", err)
	case e := <-p.events:
		t.Fatalf("the agent did not wait for the request: %+v", e)
	case <-time.After(500 * time.Millisecond):
	}
	close(release)
	if got := await(t, answer, "the answer"); got != "200 OK done<nil>" {
		t.Errorf("the request that was under way got %s", got)
	}
	p.await(t, Drained)
	if err := await(t, done, "the agent"); err != nil {
		t.Error(err)
	}
	awaitGone(t, pid)
}

// A request that never ends does not hold up the end for ever.
func TestDrainIsBounded(t *testing.T) {
	entered := make(chan struct{})
	p := newProxy(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
	}))
	stop, done := p.run(t)
	p.await(t, Ready)
	go func() { _, _ = get(p.url) }()
	await(t, entered, "the request")
	stop()
	if err := await(t, done, "the agent"); err != nil {
		t.Error(err)
	}
}

// An Envoy that was ready and crashes is started again.
func TestCrash(t *testing.T) {
	p := newProxy(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hi") }))
	stop, done := p.run(t)
	pid := p.await(t, Ready).PID
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if e := p.await(t, Exited); e.PID != pid || !strings.Contains(e.Error, "signal: killed") {
		t.Errorf("event %+v", e)
	}
	if again := p.await(t, Ready).PID; again == pid {
		t.Error("the same Envoy is ready again")
	}
	if got, err := get(p.url); got != "200 OK hi" {
		t.Errorf("got %q %v", got, err)
	}
	stop()
	if err := await(t, done, "the agent"); err != nil {
		t.Error(err)
	}
}

// An Envoy that was never ready is an error with its own words.
func TestBadConfiguration(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*proxy)
		want   string
	}{
		"configuration": {func(p *proxy) { p.bootstrap(t, `{"admin": {"colour": "blue"}}`) }, "colour"},
		"no program":    {func(p *proxy) { p.config.Envoy = filepath.Join(p.config.Dir, "nonesuch") }, "start envoy: "},
		"no socket":     {func(p *proxy) { p.config.AdminSocket = filepath.Join(p.config.Bootstrap, "x") }, "not a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProxy(t, http.NotFoundHandler())
			c.change(p)
			_, done := p.run(t)
			if err := await(t, done, "the agent"); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q in it", err, c.want)
			}
		})
	}
}

// A socket that a killed Envoy left is no obstacle.
func TestStaleSocket(t *testing.T) {
	p := newProxy(t, http.NotFoundHandler())
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: p.config.AdminSocket})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	p.run(t)
	p.await(t, Ready)
	if file, err := os.Stat(p.config.AdminSocket); err != nil || file.Mode().Perm() != 0o600 {
		t.Errorf("the admin socket is %v %v, want mode 0600", file.Mode(), err)
	}
}

// An agent that is killed takes its Envoy with it.
func TestKilled(t *testing.T) {
	p := newProxy(t, http.NotFoundHandler())
	agent := exec.Command(os.Args[0], append([]string{"agent"}, p.config.Args()...)...)
	out, err := agent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	var ready Event
	if err := json.Unmarshal(line, &ready); err != nil || ready.Event != Ready || !running(ready.PID) {
		t.Fatalf("event %s %v", line, err)
	}
	if err := agent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = agent.Wait() // killed
	awaitGone(t, ready.PID)
}

// A large access log is set aside, and Envoy begins a new one.
func TestRotate(t *testing.T) {
	p := newProxy(t, http.NotFoundHandler())
	p.run(t)
	p.await(t, Ready)
	a := New(p.config)
	if err := a.prepare(); err != nil {
		t.Fatal(err)
	}
	defer a.admin.close()
	for _, path := range []string{"first", "second"} {
		if _, err := get(p.url + path); err != nil {
			t.Fatal(err)
		}
		awaitLog(t, p.config.AccessLog(), path)
		if err := a.rotate(t.Context(), 1<<20); err != nil {
			t.Fatal(err)
		}
		awaitLog(t, p.config.AccessLog(), path) // not yet
		if err := a.rotate(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		awaitLog(t, p.config.AccessLog()+".1", path)
	}
}

// The access log is a file, or leads to standard output: what was there of another run is replaced.
func TestAccessLogLeads(t *testing.T) {
	c := Config{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)}
	if err := os.WriteFile(c.AccessLog(), []byte("of before\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		c.AccessLogStdout = true
		inherited, err := New(c).leadAccessLog()
		if to, _ := os.Readlink(c.AccessLog()); err != nil || to != "/proc/self/fd/3" || !slices.Equal(inherited, []*os.File{os.Stdout}) {
			t.Errorf("it leads to %q, with %v (%v)", to, inherited, err)
		}
	}
	c.AccessLogStdout = false
	inherited, err := New(c).leadAccessLog()
	if _, missing := os.Lstat(c.AccessLog()); err != nil || !os.IsNotExist(missing) || inherited != nil {
		t.Errorf("what led to standard output is left: %v, with %v (%v)", missing, inherited, err)
	}
}

func awaitLog(t *testing.T, path, want string) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; <-tick.C {
		text, err := os.ReadFile(path)
		if strings.Contains(string(text), want) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s has %q (%v), want %q in it", path, text, err, want)
		}
	}
}

func TestArgs(t *testing.T) {
	want := Config{
		Name: "a.b", Envoy: "/e", Bootstrap: "/b c", Dir: "/d", AdminSocket: "/s", DrainTime: 3 * time.Second, Health: "127.0.0.1:15021",
		Node: "a.default", Type: "sidecar", Address: "127.0.0.2", PlainXDS: "unix:/x", Proxyless: true,
		ControlPlane: "127.0.0.1:15012", TrustDomain: "mesh", RootCert: "/r", TokenFile: "/t", InheritToken: true, Metrics: "/m",
		Domain: "example.org", AccessLogStdout: true, ServiceAccountToken: "/a", Concurrency: 2, ProxyLogLevel: "debug",
	}
	var got Config
	flags := flag.NewFlagSet("agent", flag.ContinueOnError)
	got.Flags(flags)
	if err := flags.Parse(want.Args()); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v (%v), want %+v", got, err, want)
	}
	flags.VisitAll(func(f *flag.Flag) {
		if !slices.Contains(want.Args(), "--"+f.Name) {
			t.Errorf("Args leaves out --%s", f.Name)
		}
	})
}

func TestCountActive(t *testing.T) {
	for name, c := range map[string]struct {
		stats string
		want  int
	}{
		"nothing":             {"", 0},
		"idle connections":    {"http.in.downstream_cx_active: 3\nhttp.in.downstream_rq_active: 0\n", 0},
		"requests":            {"http.in.downstream_rq_active: 2\nhttp.out.downstream_rq_active: 1\n", 3},
		"our own question":    {"http.admin.downstream_rq_active: 1\nlistener.admin.downstream_cx_active: 1\n", 0},
		"HTTP listener":       {"listener.127.0.0.1_80.downstream_cx_active: 4\nhttp.in.downstream_cx_active: 4\n", 0},
		"TCP and HTTP":        {"listener.127.0.0.1_80.downstream_cx_active: 4\nhttp.in.downstream_cx_active: 1\n", 3},
		"once, not by worker": {"listener.127.0.0.1_80.downstream_cx_active: 4\nlistener.127.0.0.1_80.worker_0.downstream_cx_active: 4\n", 4},
		"something else":      {"http.in.downstream_rq_total: 9\nhistogram: No recorded values\n", 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := countActive(c.stats); got != c.want {
				t.Errorf("counted %d, want %d", got, c.want)
			}
		})
	}
}

func TestParseLog(t *testing.T) {
	for line, want := range map[string]string{
		"warning config no such thing":   "WARN config no such thing",
		"critical main out of luck":      "ERROR main out of luck",
		"error upstream cannot":          "ERROR upstream cannot",
		"info main starting":             "INFO main starting",
		"debug x y":                      "DEBUG x y",
		"  \"@type\": of a long message": "WARN   \"@type\": of a long message",
		"":                               "WARN ",
	} {
		level, text := parseLog(line)
		if got := level.String() + " " + text; got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}
