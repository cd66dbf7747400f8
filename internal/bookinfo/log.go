package bookinfo

import (
	"log/slog"
	"net/http"
	"time"
)

// maxLoggedPath bounds the one thing in a log line that a client chooses.
const maxLoggedPath = 200

// logged writes one line per request. Probes come every few seconds and are
// logged for debugging only.
func logged(next http.Handler, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		seen := &watchedWriter{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(seen, r)
		level := slog.LevelInfo
		if r.URL.Path == "/health" {
			level = slog.LevelDebug
		}
		log.Log(r.Context(), level, "request",
			"method", r.Method,
			"path", bounded(r.URL.Path, maxLoggedPath),
			"status", seen.status,
			"duration", time.Since(start))
	})
}

// watchedWriter remembers the status that was sent.
type watchedWriter struct {
	http.ResponseWriter
	status int
}

func (w *watchedWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the writer below.
func (w *watchedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// bounded cuts a text to at most n characters.
func bounded(s string, n int) string {
	count := 0
	for i := range s {
		if count == n {
			return s[:i] + "…"
		}
		count++
	}
	return s
}
