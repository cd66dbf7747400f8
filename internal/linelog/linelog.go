// Package linelog writes a log for people: a line for each record.
//
// What comes in are records of log/slog, what goes out are lines of level, message and values. The time is left to whoever collects
// the lines. The text of a problem stands alone, as everywhere else.
package linelog

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
)

// New returns a logger that writes the records of a level and those above.
func New(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(&lineHandler{out: w, level: level, mu: &sync.Mutex{}})
}

// lineHandler writes a record as "warning: proxy refused a resource proxy=reviews-v1-0.default".
type lineHandler struct {
	out    io.Writer
	level  slog.Level
	before string // attributes of all records
	mu     *sync.Mutex
}

// problemKey is the key of a problem's text among the values of a record.
const problemKey = "problem"

func (h *lineHandler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level }

func (h *lineHandler) Handle(_ context.Context, r slog.Record) error {
	var values strings.Builder
	values.WriteString(h.before)
	problem := ""
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == problemKey {
			problem = a.Value.String()
		}
		values.WriteString(format(a))
		return true
	})
	line := word(r.Level) + ": " + r.Message + values.String() + "\n"
	if problem != "" {
		line = problem + "\n"
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := io.WriteString(h.out, line)
	return err
}

func (h *lineHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	for _, a := range attrs {
		with.before += format(a)
	}
	return &with
}

// WithGroup returns the handler itself: no part of Lateen groups its values.
func (h *lineHandler) WithGroup(string) slog.Handler { return h }

// format writes a value as " key=value", quoted where it must be.
func format(a slog.Attr) string {
	text := a.Value.String()
	if text == "" || strings.ContainsAny(text, " \"\n\t=") {
		text = fmt.Sprintf("%q", text)
	}
	return " " + a.Key + "=" + text
}

// word names a level as problems do.
func word(level slog.Level) string {
	switch {
	case level >= slog.LevelError:
		return "error"
	case level >= slog.LevelWarn:
		return "warning"
	case level >= slog.LevelInfo:
		return "info"
	default:
		return "debug"
	}
}
