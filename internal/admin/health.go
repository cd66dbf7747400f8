package admin

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const page = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>Lateen</title>
<style>body { font: 1rem/1.6 system-ui, sans-serif; max-width: 34rem; margin: 3rem auto; padding: 0 1rem }</style>
<h1>Lateen</h1>
<p>This is the control plane of a mesh.</p>
<ul>
<li><a href="healthz">healthz</a>: it runs</li>
<li><a href="readyz">readyz</a>: it knows the whole mesh</li>
<li><a href="metrics">metrics</a>: what it counts, for Prometheus</li>
<li><a href="cache_stats">cache_stats</a>: how often a resource was known</li>
<li><a href="debug/">debug</a>: proxies, problems, profiles and the API, for who knows the token: the URL that <code>lateen up</code> prints has it</li>
</ul>
</html>
`

// health returns what is served to everybody on the machine.
func (s *Server) health() http.Handler {
	mux := http.NewServeMux()
	s.open(mux)
	guarded := s.guarded()
	mux.Handle("/debug/", guarded)
	mux.Handle("/v1/", guarded)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, page) // who asked may have gone
	})
	return mux
}

// open adds what everybody on the machine may see.
func (s *Server) open(mux *http.ServeMux) {
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, "ok\n") })
	mux.HandleFunc("GET /readyz", s.ready)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.config.Metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /cache_stats", s.cacheStats)
}

func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	if missing := s.config.Store.Missing(); len(missing) > 0 {
		text(w, http.StatusServiceUnavailable, "not ready: waiting for "+strings.Join(missing, ", ")+"\n"+s.config.awaited(missing))
		return
	}
	var body strings.Builder
	body.WriteString("ready\n")
	for _, s := range s.config.Store.Stale() {
		fmt.Fprintf(&body, "%s has not reported: what it said %v ago counts\n", s.Source, time.Since(s.Saved).Round(time.Second))
	}
	text(w, http.StatusOK, body.String())
}

// awaited says how a source that has not reported can be made to.
func (c Config) awaited(missing []string) string {
	if !slices.Contains(missing, RegistrySource) {
		return ""
	}
	return "hint: " + RegistrySource + " is what runs; " + c.Await + "\n"
}

func text(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body) // who asked may have gone
}
