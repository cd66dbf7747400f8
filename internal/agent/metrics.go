package agent

import (
	"context"
	"fmt"
	"io"
	"net/http"
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

// statistics answers with the agent's metrics, and with Envoy's behind them while there is one.
func (a *Agent) statistics(w http.ResponseWriter, r *http.Request) {
	a.metrics(w, r)
	if a.config.Proxyless {
		return
	}
	if err := a.admin.statistics(r.Context(), w); err != nil {
		a.config.Log.Debug("statistics of envoy not told", "proxy", a.config.Name, "err", err)
	}
}

// mostStatistics bounds what is handed on of Envoy's statistics, in bytes.
const mostStatistics = 64 << 20

// statistics writes Envoy's statistics, those that were ever used, in the text format of Prometheus.
func (a *admin) statistics(ctx context.Context, w io.Writer) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://envoy/stats/prometheus?usedonly", nil)
	if err != nil {
		return err
	}
	response, err := a.http.Do(request)
	if err != nil {
		return fmt.Errorf("envoy admin: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("envoy admin %s: %s", request.URL.Path, response.Status)
	}
	_, err = io.Copy(w, io.LimitReader(response.Body, mostStatistics))
	return err
}

func number(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
