package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/lateen-mesh/lateen/internal/places/placestest"
)

// healthy asks an agent, and returns status and answer.
func healthy(t *testing.T, socket, path string) string {
	t.Helper()
	client := http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://agent"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(response.StatusCode, " ", string(body))
}

// Others learn whether Envoy takes requests, how often it was started, and that it drains, until it has ended.
func TestHealth(t *testing.T) {
	entered, release := make(chan struct{}, 1), make(chan struct{})
	p := newProxy(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		entered <- struct{}{}
		<-release
	}))
	p.config.Health = filepath.Join(p.config.Dir, "health.sock")
	stop, done := p.run(t)
	pid := p.await(t, Ready).PID
	if got := healthy(t, p.config.Health, "/healthz/ready"); got != "200 ready\n" {
		t.Errorf("an Envoy that is ready: %s", got)
	}
	if info, err := os.Stat(p.config.Health); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket is %v %v, want mode 0600", info, err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p.await(t, Exited)
	if got := healthy(t, p.config.Health, "/healthz/ready"); got != "503 not ready\n" {
		t.Errorf("an Envoy that was killed: %s", got)
	}
	p.await(t, Ready)
	text := healthy(t, p.config.Health, "/metrics")
	for _, want := range []string{"lateen_agent_envoy_starts_total 2\n", "lateen_agent_envoy_crashes_total 1\n", "lateen_agent_ready 1\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	problems, err := promlint.New(strings.NewReader(strings.TrimPrefix(text, "200 "))).Lint()
	if err != nil || len(problems) != 0 {
		t.Errorf("Prometheus's linter says %v %v", problems, err)
	}

	go func() { _, _ = get(p.url) }()
	await(t, entered, "the request")
	stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); healthy(t, p.config.Health, "/healthz/ready") != "503 draining\n"; <-tick.C {
		if time.Now().After(end) {
			t.Fatal("an agent that drains does not say so")
		}
	}
	close(release)
	if err := await(t, done, "the agent"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(p.config.Health); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}

// An address that is taken, or is none, is an error before Envoy starts.
func TestHealthAddress(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, address := range []string{taken.Addr().String(), "nonsense", "/nonesuch/health.sock"} {
		p := newProxy(t, http.NotFoundHandler())
		p.config.Health = address
		_, done := p.run(t)
		if err := await(t, done, "the agent"); err == nil || !strings.Contains(err.Error(), "listen for health: ") {
			t.Errorf("%s: error %v", address, err)
		}
	}
}

// An agent that is told who its proxy is writes what Envoy starts with, and Envoy takes it. Without a control plane it
// is not ready.
func TestWritesBootstrap(t *testing.T) {
	p := newProxy(t, http.NotFoundHandler())
	p.config.Name, p.config.Bootstrap, p.config.AdminSocket = "", "", ""
	p.config.Node, p.config.Type, p.config.Address, p.config.Domain = "web-v1-0.default", "sidecar", "127.0.0.2", "cluster.local"
	p.config.PlainXDS, p.config.Health = "unix:"+filepath.Join(p.config.Dir, "xds.sock"), filepath.Join(p.config.Dir, "health.sock")
	stop, done := p.run(t)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	admin := newAdmin(filepath.Join(p.config.Dir, "admin.sock"))
	defer admin.close()
	for end := time.Now().Add(patience); ; <-tick.C {
		if info, err := admin.do(t.Context(), http.MethodGet, "/server_info"); err == nil {
			if !strings.Contains(info, "sidecar~127.0.0.2~web-v1-0.default~default.svc.cluster.local") {
				t.Errorf("Envoy says it is\n%s", info)
			}
			break
		}
		if time.Now().After(end) {
			t.Fatal("Envoy does not answer")
		}
	}
	if got := healthy(t, p.config.Health, "/healthz/ready"); got != "503 not ready\n" {
		t.Errorf("an Envoy without a control plane: %s", got)
	}
	path := filepath.Join(p.config.Dir, "bootstrap.json")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%s is %v %v, want mode 0600", path, info, err)
	}
	output, err := exec.CommandContext(t.Context(), p.config.Envoy, "--mode", "validate", "-c", path, "-l", "warning").CombinedOutput()
	if err != nil {
		t.Errorf("envoy --mode validate: %v\n%s", err, output)
	}
	stop()
	if err := await(t, done, "the agent"); err != nil {
		t.Error(err)
	}
}

// Whoever holds connections open keeps others from asking only until they are closed for being idle.
func TestHealthIsBounded(t *testing.T) {
	t.Parallel()
	p := newProxy(t, http.NotFoundHandler())
	p.config.Health = filepath.Join(p.config.Dir, "health.sock")
	p.run(t)
	p.await(t, Ready)
	for range mostConnections {
		conn, err := new(net.Dialer).DialContext(t.Context(), "unix", p.config.Health)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	conn, err := new(net.Dialer).DialContext(t.Context(), "unix", p.config.Health)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /healthz/ready HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(readTimeout / 2)); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("one more than there may be is answered: %d bytes, %v", n, err)
	}
	if got := healthy(t, p.config.Health, "/healthz/ready"); got != "200 ready\n" {
		t.Errorf("when the others were silent for too long: %s", got)
	}
}

// One who holds connections open takes its share of a port of the agent and no more: others are answered.
func TestPagesHaveShares(t *testing.T) {
	t.Parallel()
	p := newProxy(t, http.NotFoundHandler())
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pages := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "here") })
	t.Cleanup(New(p.config).answer(placestest.Abroad(l), pages))
	connect := func(host string) net.Conn {
		c, err := placestest.Dialer(host).DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	answered := func(host string) bool {
		c := connect(host)
		_, _ = io.WriteString(c, "GET / HTTP/1.0\r\n\r\n") // what cannot be written is not answered
		text, _ := io.ReadAll(c)
		return strings.HasSuffix(string(text), "here")
	}
	for range eachConnections {
		connect("127.1.1.1")
	}
	if answered("127.1.1.1") {
		t.Error("one more is answered")
	}
	if !answered("127.1.1.2") {
		t.Error("another one is not answered")
	}
}
