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

	"github.com/lateen-mesh/lateen/internal/places"
	"github.com/lateen-mesh/lateen/internal/unixsocket"
)

// health is what others may know of an agent.
type health struct {
	starts, crashes atomic.Int64
	draining        atomic.Bool
}

// servePages tells others how Envoy is until the returned function is called.
func (a *Agent) servePages(ctx context.Context) (stop func(), err error) {
	health, metrics := http.NewServeMux(), http.NewServeMux()
	health.HandleFunc("GET /healthz", a.tell)
	health.HandleFunc("GET /healthz/ready", a.readiness)
	health.HandleFunc("GET /metrics", a.metrics)
	metrics.HandleFunc("GET /metrics", a.metrics)
	metrics.HandleFunc("GET /stats/prometheus", a.statistics)
	stopHealth, err := a.serve(ctx, a.config.Health, health)
	if err != nil {
		return nil, fmt.Errorf("listen for health: %w", err)
	}
	stopMetrics, err := a.serve(ctx, a.config.Metrics, metrics)
	if err != nil {
		stopHealth()
		return nil, fmt.Errorf("listen for metrics: %w", err)
	}
	return func() {
		stopHealth()
		stopMetrics()
	}, nil
}

// serve answers at an address ("": nowhere) until the returned function is called.
func (a *Agent) serve(ctx context.Context, address string, pages http.Handler) (stop func(), err error) {
	if address == "" {
		return func() {}, nil
	}
	var listener net.Listener
	if strings.Contains(address, "/") {
		listener, err = unixsocket.Listen(ctx, address)
	} else {
		listener, err = new(net.ListenConfig).Listen(ctx, "tcp", address)
	}
	if err != nil {
		return nil, err
	}
	return a.answer(listener, pages), nil
}

// answer answers on a listener until the returned function is called.
func (a *Agent) answer(listener net.Listener, pages http.Handler) (stop func()) {
	listener = places.Listen(listener, mostConnections, eachConnections)
	server := &http.Server{
		Handler: pages, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(a.config.Log.Handler(), slog.LevelWarn),
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			a.config.Log.Error("pages not served", "proxy", a.config.Name, "err", err)
		}
	})
	return func() {
		_ = server.Close() // who asks now learns that nobody is there
		serving.Wait()
	}
}

const (
	// mostConnections bounds those at one address: in a pod the whole cluster can make them. Further ones wait.
	mostConnections = 1024
	// eachConnections bounds those from one address. Further ones are closed.
	eachConnections = 32

	readTimeout  = 5 * time.Second
	idleTimeout  = 10 * time.Second
	writeTimeout = adminWait + 5*time.Second
)

// state tells whether Envoy takes requests, or a program without one has its certificate, and says it in a word. An Envoy whose
// certificate has expired takes requests still: what it does with them depends on who calls.
func (a *Agent) state(ctx context.Context) (ready bool, word string) {
	switch {
	case a.health.draining.Load():
		return false, "draining"
	case a.config.Proxyless && a.certificateGood() <= 0, a.config.ControlPlane != "" && !a.hasCertificate(), !a.config.Proxyless && !a.admin.ready(ctx):
		return false, "not ready"
	default:
		return true, "ready"
	}
}

// hasCertificate tells whether there was a certificate, once.
func (a *Agent) hasCertificate() bool {
	s := a.status.Load()
	return s != nil && !s.NotAfter.IsZero()
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
