package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// People are told what happened, without what gRPC wraps around it.
func TestInnermost(t *testing.T) {
	t.Parallel()
	own := errors.New("read join token: no such file")
	for _, c := range []struct {
		err  error
		want string
	}{
		{own, own.Error()},
		{status.Error(codes.PermissionDenied, `"a" is not b: desc = c`), `"a" is not b: desc = c`},
		{
			status.Error(codes.Unavailable, `connection error: desc = "transport: Error while dialing: dial tcp 127.0.0.1:1: connect: connection refused"`),
			"dial tcp 127.0.0.1:1: connect: connection refused",
		},
		{
			status.Error(codes.Unavailable, `last connection error: connection error: desc = "transport: authentication handshake failed: \"x\" expired"`),
			`authentication handshake failed: "x" expired`,
		},
		{status.Error(codes.Unavailable, `connection error: desc = "cut off`), `connection error: desc = "cut off`},
	} {
		if got := innermost(c.err).Error(); got != c.want {
			t.Errorf("%v is told as %q, want %q", c.err, got, c.want)
		}
	}
	if !errors.Is(innermost(fmt.Errorf("a: %w", own)), own) {
		t.Error("an error of ours is not what it was")
	}
}

// An agent that nobody answers says so in the words of who dialled.
func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	from := newPlane(t, 0)
	p := newProxyless(t, from)
	p.config.ControlPlane = freeAddress(t)
	p.run(t)
	awaitStatus(t, p.config.Dir, func(s Status) bool {
		return strings.HasPrefix(s.LastError, "ask for a certificate: dial tcp ") || strings.HasPrefix(s.LastError, "dial tcp ")
	})
}

// What Envoy says of its own streams when it ends is no warning; while it runs it is.
func TestFarewell(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		line     string
		draining bool
		warns    bool
	}{
		{"warning config StreamSecrets gRPC config stream to sds closed: 13, upstream_reset", true, false},
		{"warning config DeltaAggregatedResources gRPC config stream to xds closed: 13, upstream_reset", true, false},
		{"warning config StreamSecrets gRPC config stream to sds closed: 13, upstream_reset", false, true},
		{"warning config something is wrong", true, true},
	} {
		var log strings.Builder
		a := New(Config{Log: slog.New(slog.NewTextHandler(&log, nil))})
		a.health.draining.Store(c.draining)
		a.logLine(t.Context(), c.line)
		if warns := strings.Contains(log.String(), "level=WARN"); warns != c.warns {
			t.Errorf("%s (draining: %t) warns: %t", c.line, c.draining, warns)
		}
	}
}
