package agent

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// pair returns what asks for tokens, what ends that, and the other end.
func pair(t *testing.T) (tokenSource, io.Closer, net.Conn) {
	t.Helper()
	agents, ours, err := TokenPair()
	if err != nil {
		t.Fatal(err)
	}
	descriptor, err := syscall.Dup(int(agents.Fd())) // inheritedTokens closes it
	if err != nil {
		t.Fatal(err)
	}
	agents.Close()
	tokens, closer, err := inheritedTokens(uintptr(descriptor)) //nolint:gosec // a descriptor is not negative
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = closer.Close()
		_ = ours.Close()
	})
	return tokens, closer, ours
}

// give answers at the other end until the test ends.
func give(t *testing.T, ours net.Conn, fresh func(context.Context) (string, error)) <-chan error {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	var giving sync.WaitGroup
	giving.Go(func() { done <- GiveTokens(ctx, ours, fresh) })
	t.Cleanup(func() {
		cancel()
		giving.Wait()
	})
	return done
}

// Each question gets an answer: a token, or that there is none now.
func TestInheritedTokens(t *testing.T) {
	t.Parallel()
	tokens, _, ours := pair(t)
	answers := []string{"lateen1.pin.one", "", "lateen1.pin.two"}
	give(t, ours, func(context.Context) (token string, err error) {
		token, answers = answers[0], answers[1:]
		if token == "" {
			return "lateen1.pin.never", errors.New("the authority is away")
		}
		return token, nil
	})
	for _, want := range []string{"lateen1.pin.one", "", "lateen1.pin.two"} {
		got, err := tokens(t.Context())
		if got != want || errors.Is(err, errNoToken) != (want == "") {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
}

// Who waits too long for an answer takes it the next time, and does not get the answers mixed up.
func TestLateToken(t *testing.T) {
	t.Parallel()
	tokens, closer, ours := pair(t)
	var asked atomic.Int32
	release := make(chan struct{})
	done := give(t, ours, func(context.Context) (string, error) {
		<-release
		return "lateen1.pin." + strings.Repeat("x", int(asked.Add(1))), nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if got, err := tokens(ctx); err == nil {
		t.Fatalf("%q without an answer", got)
	}
	close(release)
	for _, want := range []string{"lateen1.pin.x", "lateen1.pin.xx"} {
		if got, err := tokens(t.Context()); got != want || err != nil {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
	if err := errors.Join(closer.Close(), await(t, done, "the end")); err != nil {
		t.Error(err)
	}
	if n := asked.Load(); n != 2 {
		t.Errorf("%d tokens were made for 2", n)
	}
}

// An end that is closed, and nonsense from either side, are errors and no tokens.
func TestBadTokens(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"nonsense": "a token\n", "control characters": "lateen1.\x00.b\n", "too long": strings.Repeat("x", 2*maxToken) + "\n", "closed": "",
	} {
		tokens, _, ours := pair(t)
		if _, err := ours.Write([]byte(answer)); err != nil {
			t.Fatal(err)
		}
		ours.Close()
		if got, err := tokens(t.Context()); err == nil || got != "" {
			t.Errorf("%s: %q", name, got)
		}
	}
	for _, question := range []string{"tokens\n", "\n", strings.Repeat("x", 100)} {
		agents, ours, err := TokenPair()
		if err != nil {
			t.Fatal(err)
		}
		done := give(t, ours, func(context.Context) (string, error) { return "lateen1.pin.secret", nil })
		if _, err := agents.WriteString(question); err != nil {
			t.Fatal(err)
		}
		if err := await(t, done, "the end"); err == nil {
			t.Errorf("%q is answered", question)
		}
		agents.Close()
	}
	agents, ours, err := TokenPair()
	if err != nil {
		t.Fatal(err)
	}
	done := give(t, ours, nil)
	agents.Close()
	if err := await(t, done, "the end"); err != nil {
		t.Errorf("when the agent is gone: %v", err)
	}
}

// A descriptor that is no such pair is told before anything starts.
func TestNoDescriptor(t *testing.T) {
	t.Parallel()
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	descriptor, err := syscall.Dup(int(file.Fd()))
	file.Close()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := inheritedTokens(uintptr(descriptor)); err == nil { //nolint:gosec // a descriptor is not negative
		t.Error("a file gives tokens")
	}
	if err := syscall.Close(descriptor); err == nil {
		t.Error("the descriptor is left open")
	}
}

// The token of a file is read anew each time, since somebody may have put another one there.
func TestFileTokens(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "token")
	var log strings.Builder
	tokens := fileTokens(path, slogTo(&log))
	if _, err := tokens(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a file: %v", err)
	}
	for text, want := range map[string]string{"lateen1.a.b\n": "lateen1.a.b", "  lateen1.c.d": "lateen1.c.d", "\n": "", "a\nb": "", strings.Repeat("x", 2000): ""} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := tokens(t.Context()); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	if log.Len() > 0 {
		t.Errorf("told is %s", &log)
	}
	if err := errors.Join(os.WriteFile(path, []byte("lateen1.e.f"), 0o600), os.Chmod(path, 0o640)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got, err := tokens(t.Context()); got != "lateen1.e.f" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	}
	if text := log.String(); strings.Count(text, "others can read the join token") != 1 || !strings.Contains(text, path) || strings.Contains(text, "lateen1.e") {
		t.Errorf("told is %s", text)
	}
}
