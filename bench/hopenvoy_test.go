package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/lateen-mesh/lateen/internal/agent"
	"github.com/lateen-mesh/lateen/internal/meshtest"
)

// handWritten is the least with which an Envoy passes requests on, by listeners that each have one cluster.
var handWritten = template.Must(template.New("envoy.yaml").Parse(`
admin: {address: {pipe: {path: {{.Admin}}, mode: 384}}}
static_resources:
  listeners:
  {{- range .Legs}}
  - name: {{.Name}}
    address: {socket_address: {address: 127.0.0.1, port_value: {{.Port}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: {{.Name}}
          route_config:
            virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: {{.Name}}}}]}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  {{- end}}
  clusters:
  {{- range .Legs}}
  - name: {{.Name}}
    type: STATIC
    load_assignment:
      cluster_name: {{.Name}}
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: {{.ToHost}}, port_value: {{.ToPort}}}}}}]}]
    {{- if .HTTP2}}
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    {{- end}}
  {{- end}}
`))

// leg is what a hand-written Envoy does for one port.
type leg struct {
	Name   string
	Port   int
	ToHost string
	ToPort string
	HTTP2  bool
}

// at is where the leg takes requests.
func (l leg) at() string { return fmt.Sprintf("127.0.0.1:%d", l.Port) }

func newLeg(b *testing.B, name, protocol, to string) leg {
	b.Helper()
	host, port, err := net.SplitHostPort(to)
	if err != nil {
		b.Fatal(err)
	}
	return leg{Name: name + "-" + protocol, Port: freePort(b), ToHost: host, ToPort: port, HTTP2: protocol != "http"}
}

// hopDir returns a folder whose path is short enough for a socket in it.
func hopDir(b *testing.B) string {
	b.Helper()
	dir, err := os.MkdirTemp("", "hop") //nolint:usetesting // TempDir holds the test's name, and paths of sockets are short
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// startHandWritten starts a hand-written Envoy and returns its folder.
func startHandWritten(b *testing.B, legs []leg) (dir string) {
	b.Helper()
	dir = hopDir(b)
	var text strings.Builder
	if err := handWritten.Execute(&text, map[string]any{"Admin": filepath.Join(dir, "admin.sock"), "Legs": legs}); err != nil {
		b.Fatal(err)
	}
	startEnvoy(b, dir, "envoy.yaml", []byte(text.String()))
	return dir
}

// startEnvoy starts an Envoy as Lateen starts its own, with a configuration in a folder, and returns when it is ready.
func startEnvoy(b *testing.B, dir, name string, config []byte) {
	b.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, config, 0o600); err != nil {
		b.Fatal(err)
	}
	ready, failed := make(hopEvents, 8), make(chan error, 1)
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.Context()))
	a := agent.New(agent.Config{
		Name: name, Envoy: meshtest.Envoy(b), Bootstrap: path, Dir: dir, AdminSocket: filepath.Join(dir, "admin.sock"),
		DrainTime: time.Second, Log: slog.New(slog.DiscardHandler), Events: ready,
	})
	go func() { failed <- a.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-failed; err != nil {
			b.Errorf("envoy in %s: %v", dir, err)
		}
	})
	select {
	case <-ready:
	case err := <-failed:
		failed <- nil // told once
		b.Fatal(err)
	case <-time.After(meshtest.Patience):
		b.Fatalf("envoy in %s is not ready after %v", dir, meshtest.Patience)
	}
}

// hopEvents takes an agent's events and hands on that its Envoy is ready.
type hopEvents chan struct{}

func (e hopEvents) Write(line []byte) (int, error) {
	var event agent.Event
	if err := json.Unmarshal(line, &event); err != nil {
		return 0, err
	}
	if event.Event == agent.Ready {
		e <- struct{}{}
	}
	return len(line), nil
}

// envoyIn returns the process that runs in a folder.
func envoyIn(b *testing.B, dir string) (proc string) {
	b.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		b.Fatal(err)
	}
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil && to == dir {
			return filepath.Dir(link)
		}
	}
	b.Fatalf("no process runs in %s", dir)
	return ""
}

// cpuOf returns the time that all threads of processes have run, in user and system mode.
func cpuOf(procs []string) (time.Duration, error) {
	var sum time.Duration
	for _, proc := range procs {
		threads, err := filepath.Glob(proc + "/task/*/schedstat")
		if err != nil || len(threads) == 0 {
			return 0, fmt.Errorf("%s has no threads: %w", proc, err)
		}
		for _, thread := range threads {
			text, err := os.ReadFile(thread)
			if err != nil {
				return 0, err
			}
			var ran, waited, slices int64
			if _, err := fmt.Sscan(string(text), &ran, &waited, &slices); err != nil {
				return 0, fmt.Errorf("%s: %w", thread, err)
			}
			sum += time.Duration(ran)
		}
	}
	return sum, nil
}

// freePort returns a port of 127.0.0.1 that is free.
func freePort(tb testing.TB) int {
	tb.Helper()
	l, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
