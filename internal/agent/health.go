package agent

import (
	"context"
	"encoding/json"
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
		{"lateen_agent_certificate_expiry_seconds", "gauge", "How long the certificate of the workload is still good; 0: there is none yet, less: it has expired."},
		{"lateen_agent_certificate_renewals_total", "counter", "Certificates received."},
		{"lateen_agent_certificate_failures_total", "counter", "Attempts to get a certificate that failed."},
		{"lateen_agent_certificate_failing", "gauge", "Whether the last attempt to get a certificate failed, 0 or 1."},
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
	mux.HandleFunc("GET /healthz", a.tell)
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

// state tells whether Envoy takes requests, or a program without one has its certificate, and says it in a word.
func (a *Agent) state(ctx context.Context) (ready bool, word string) {
	switch {
	case a.health.draining.Load():
		return false, "draining"
	case a.config.Proxyless && a.certificateGood() <= 0, !a.config.Proxyless && !a.admin.ready(ctx):
		return false, "not ready"
	default:
		return true, "ready"
	}
}

// certificateGood returns for how long the certificate is still good; 0: there is none.
func (a *Agent) certificateGood() time.Duration {
	s := a.status.Load()
	if s == nil || s.NotAfter.IsZero() {
		return 0
	}
	return s.NotAfter.Sub(a.config.Clock().Add(time.Duration(s.SkewSeconds * float64(time.Second))))
}

// tell answers with everything that is known, for people: it is no judgement.
func (a *Agent) tell(w http.ResponseWriter, r *http.Request) {
	var all struct {
		State       string  `json:"state"`
		Certificate *Status `json:"certificate,omitempty"` // of an agent with an identity
	}
	_, all.State = a.state(r.Context())
	if s := a.status.Load(); s != nil {
		brief := *s
		brief.Chain, brief.Roots = "", ""
		all.Certificate = &brief
	}
	text, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, "%s\n", text)
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

// metrics answers in the text format of Prometheus. An agent without an identity has no metrics of certificates.
func (a *Agent) metrics(w http.ResponseWriter, r *http.Request) {
	ready, _ := a.state(r.Context())
	values := []float64{float64(a.health.starts.Load()), float64(a.health.crashes.Load()), number(ready)}
	if a.config.ControlPlane != "" {
		var s Status
		if known := a.status.Load(); known != nil {
			s = *known
		}
		values = append(values, a.certificateGood().Seconds(), float64(s.Renewals), float64(s.Failures), number(s.LastError != ""))
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	for i, m := range Metrics()[:len(values)] {
		fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n%s %v\n", m.Name, m.Help, m.Name, m.Kind, m.Name, values[i])
	}
}

func number(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
