// Package testkit has what the tests of many packages need: a log that is read while it is written, and waiting.
//
// Only tests import it. What takes a real component stands in packages of its own: meshtest has Envoys, kubetest an API server.
package testkit

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
)

// Patience bounds how long something may take that is expected to happen. It is long, since the machine may be busy: what does not
// happen at all is what fails a test.
const Patience = 5 * time.Minute

// look is the time between two looks.
const look = 5 * time.Millisecond

// Await returns when something holds, and ends the test when it does not come about that it does.
func Await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for end := time.After(Patience); !holds(); {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("after %v it has not come about that %s", Patience, what)
		}
	}
}

// Output is what somebody writes while others read it: a log, or what a process prints. The zero value is empty and ready.
type Output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements [io.Writer].
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

// String returns what was written so far.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// Contains tells whether a text was written so far.
func (o *Output) Contains(text string) bool { return strings.Contains(o.String(), text) }

// Lines returns the whole lines so far, without what has no end yet.
func (o *Output) Lines() string {
	text := o.String()
	return text[:strings.LastIndexByte(text, '\n')+1]
}

// Log returns a logger of all levels that writes there, as text.
func (o *Output) Log() *slog.Logger {
	return slog.New(slog.NewTextHandler(o, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
