package agent

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
)

// What an [Event] tells.
const (
	Ready   = "ready"   // Envoy has its configuration and takes requests
	Exited  = "exited"  // Envoy has ended by itself
	Drained = "drained" // Envoy was drained and stopped, as asked
)

// Event is something that happened to Envoy.
type Event struct {
	Event string `json:"event"`
	PID   int    `json:"pid"`             // Envoy's
	Error string `json:"error,omitempty"` // how it ended, with its last words
}

func (a *Agent) emit(e Event) {
	line, err := json.Marshal(e)
	if err != nil {
		return // an Event is always written
	}
	if _, err := a.config.Events.Write(append(line, '\n')); err != nil {
		a.config.Log.Warn("event not written", "proxy", a.config.Name, "err", err)
	}
}

// logFormat makes Envoy write level, logger and message.
const logFormat = "%l %n %v"

// logLine hands on a message of Envoy's at its level.
func (a *Agent) logLine(ctx context.Context, line string) {
	level, text := parseLog(line)
	if a.health.draining.Load() && isFarewell(text) {
		level = slog.LevelDebug
	}
	a.config.Log.Log(ctx, level, "envoy says", "proxy", a.config.Name, "text", text)
}

// isFarewell tells whether a message is one that Envoy ends with: that it has closed its own streams, as if something were wrong.
func isFarewell(text string) bool {
	return strings.Contains(text, " gRPC config stream to ") && strings.Contains(text, " closed: 13")
}

// parseLog reads a line of Envoy's log. Lines that do not begin with a level continue a message: they are warnings.
func parseLog(line string) (slog.Level, string) {
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "trace", "debug":
		return slog.LevelDebug, rest
	case "info":
		return slog.LevelInfo, rest
	case "warning":
		return slog.LevelWarn, rest
	case "error", "critical":
		return slog.LevelError, rest
	default:
		return slog.LevelWarn, line
	}
}
