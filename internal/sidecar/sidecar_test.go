package sidecar_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/sidecar"
)

// TestCommands shows what commands print where, and how they end.
func TestCommands(t *testing.T) {
	t.Parallel()
	tests := []struct {
		args     string
		out, err string // parts; "": nothing at all
		code     int
	}{
		{"", "lateen-agent capture   Redirect", "", 0},
		{"--help", "lateen-agent agent     Run", "", 0},
		{"version", "lateen-agent dev\n", "", 0},
		{"capture --dry-run -i 10.0.0.0/8", "ip daddr 10.0.0.0/8", "", 0},
		{"capture --help", "-proxy-uid", "", 0},
		{"drain --dir /nonesuch", "", "lateen-agent: error: envoy admin: ", 1},
		{"look --page=identity --dir=/nonesuch", "", "lateen-agent: error: stat /nonesuch/identity.json: no such file or directory\n", 1},
		{"look --page=keys", "", "lateen-agent: hint: there are config, certificates and identity\n", 2},
		{"serve", "", "lateen-agent: error: unknown command \"serve\"\nlateen-agent: hint: `lateen-agent --help` lists the commands\n", 2},
		{"capture now", "", "lateen-agent: error: unexpected argument \"now\"\nlateen-agent: hint: `lateen-agent capture --help` lists the flags\n", 2},
		{"capture --nonesuch", "", "flag provided but not defined: -nonesuch", 2},
		{"capture --dry-run --check", "", "hint: give one of --dry-run and --check\n", 2},
		{"capture --inbound-port=15001", "", "hint: give --outbound-port and --inbound-port different ports\n", 2},
		{"agent --envoy /nonesuch", "", "lateen-agent: error: nothing says which proxy this is\n", 2},
		{"agent --node=web --envoy=/nonesuch --address=10.0.0.1 --token-file=x --dir=" + t.TempDir(), "", "hint: --node takes NAME.NAMESPACE", 2},
	}
	for _, test := range tests {
		var out, err strings.Builder
		code := sidecar.Main(t.Context(), strings.Fields(test.args), sidecar.Output{Out: &out, Err: &err})
		if code != test.code {
			t.Errorf("%q: exit code %d, want %d", test.args, code, test.code)
		}
		for _, p := range [][2]string{{out.String(), test.out}, {err.String(), test.err}} {
			if got, want := p[0], p[1]; !strings.Contains(got, want) || want == "" && got != "" {
				t.Errorf("%q: printed %q, want %q", test.args, got, want)
			}
		}
	}
}

// A drain waits also while Envoy does not answer as it should, asks it again meanwhile, and fails if it never does.
func TestDrainAsksUntilItIsAnswered(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		what    string
		answers []int // of Envoy, the last ones for ever
		code    int
	}{
		{"at once", []int{http.StatusOK}, 0},
		{"later", []int{http.StatusServiceUnavailable, http.StatusServiceUnavailable, http.StatusOK}, 0},
		{"never", []int{http.StatusServiceUnavailable, http.StatusServiceUnavailable}, 1},
	} {
		t.Run(test.what, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			listener, err := new(net.ListenConfig).Listen(t.Context(), "unix", filepath.Join(dir, "admin.sock"))
			if err != nil {
				t.Fatal(err)
			}
			var asked atomic.Int32
			answered := make(chan struct{})
			envoy := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.RequestURI != "/drain_listeners?graceful" {
					t.Errorf("asked for %s", r.RequestURI)
				}
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				n := int(asked.Add(1))
				fmt.Fprintf(conn, "HTTP/1.1 %d what\r\nContent-Length: 0\r\n\r\n", test.answers[min(n, len(test.answers))-1])
				_, _ = io.Copy(io.Discard, conn) // until it has read the answer
				if n == len(test.answers) {
					close(answered)
				}
			})}
			go func() { _ = envoy.Serve(listener) }()
			defer envoy.Close()
			ctx, end := context.WithCancel(t.Context())
			ended := make(chan int, 1)
			var said strings.Builder
			go func() {
				ended <- sidecar.Main(ctx, []string{"drain", "--dir", dir, "--wait", "10m"}, sidecar.Output{Out: io.Discard, Err: &said})
			}()
			select {
			case code := <-ended:
				t.Fatalf("it ended with %d before it had waited: %s", code, said.String())
			case <-answered:
			}
			end()
			if code := <-ended; code != test.code {
				t.Errorf("exit code %d, want %d: %s", code, test.code, said.String())
			}
		})
	}
}
