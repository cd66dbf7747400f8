package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lateen-mesh/lateen/internal/unixsocket"
)

// Metric describes one metric of an agent.
type Metric struct{ Name, Kind, Help string }

// Metrics lists the metrics of an agent.
func Metrics() []Metric {
	return []Metric{
		{"lateen_agent_envoy_starts_total", "counter", "Envoys started."},
		{"lateen_agent_envoy_crashes_total", "counter", "Envoys that ended by themselves."},
		{"lateen_agent_ready", "gauge", "Whether Envoy takes requests and is not draining, 0 or 1."},
	}
}

// health is what others may know of an agent.
type health struct {
	starts, crashes atomic.Int64
	draining        atomic.Bool
}

// serveHealth tells others how Envoy is until the returned function is called.
func (a *Agent) serveHealth(ctx context.Context) (stop func(), err error) {
	if a.config.Health == "" {
		return func() {}, nil
	}
	var listener net.Listener
	if strings.Contains(a.config.Health, "/") {
		listener, err = unixsocket.Listen(ctx, a.config.Health)
	} else {
		listener, err = new(net.ListenConfig).Listen(ctx, "tcp", a.config.Health)
	}
	if err != nil {
		return nil, fmt.Errorf("listen for health: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz/ready", a.readiness)
	mux.HandleFunc("GET /metrics", a.metrics)
	server := &http.Server{
		Handler: mux, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(a.config.Log.Handler(), slog.LevelWarn),
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			a.config.Log.Error("health not served", "proxy", a.config.Name, "err", err)
		}
	})
	return func() {
		_ = server.Close() // who asks now learns that nobody is there
		serving.Wait()
	}, nil
}

const (
	readTimeout  = 5 * time.Second
	writeTimeout = adminWait + 5*time.Second
)

// state tells whether Envoy takes requests, and says it in a word.
func (a *Agent) state(ctx context.Context) (ready bool, word string) {
	switch {
	case a.health.draining.Load():
		return false, "draining"
	case !a.admin.ready(ctx):
		return false, "not ready"
	default:
		return true, "ready"
	}
}

func (a *Agent) readiness(w http.ResponseWriter, r *http.Request) {
	status := http.StatusOK
	ready, word := a.state(r.Context())
	if !ready {
		status = http.StatusServiceUnavailable
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprintln(w, word)
}

// metrics answers in the text format of Prometheus.
func (a *Agent) metrics(w http.ResponseWriter, r *http.Request) {
	var ready int64
	if is, _ := a.state(r.Context()); is {
		ready = 1
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	values := []int64{a.health.starts.Load(), a.health.crashes.Load(), ready}
	for i, m := range Metrics() {
		fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n%s %d\n", m.Name, m.Help, m.Name, m.Kind, m.Name, values[i])
	}
}
