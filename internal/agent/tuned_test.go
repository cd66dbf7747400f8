package agent

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"

	"github.com/lateen-mesh/lateen/internal/testkit"
)

// Envoy has as many threads as it was given, and its messages are told from the level on that was asked for.
func TestTuned(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		threads, want int
		level, tells  string
		debug         bool
	}{
		"as usual": {0, 1, "", "warning", false},
		"tuned":    {2, 2, "debug", "debug", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log testkit.Output
			p := newProxy(t, http.NotFoundHandler())
			p.config.Concurrency, p.config.ProxyLogLevel = c.threads, c.level
			p.config.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: p.config.LogLevel()}))
			p.run(t)
			p.await(t, Ready)
			var info struct {
				Options struct {
					Concurrency int    `json:"concurrency"`
					LogLevel    string `json:"log_level"`
				} `json:"command_line_options"`
			}
			client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", p.config.AdminSocket)
			}}}
			response, err := client.Get("http://envoy/server_info")
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(body, &info); err != nil || info.Options.Concurrency != c.want || info.Options.LogLevel != c.tells {
				t.Errorf("Envoy has %+v (%v), want %d threads and level %s", info.Options, err, c.want, c.tells)
			}
			if log.Contains("level=DEBUG") != c.debug {
				t.Errorf("messages for debugging are told: %v, want %v", !c.debug, c.debug)
			}
		})
	}
}
