package ca_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/identity"
)

// TestMain makes the test binary also a control plane that can be killed: `open FOLDER` opens the authority and waits.
func TestMain(m *testing.M) {
	if len(os.Args) != 3 || os.Args[1] != "open" {
		os.Exit(m.Run())
	}
	fmt.Println("opens")
	a, err := ca.Open(ca.Config{State: os.Args[2], TrustDomain: domain, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(identity.Fingerprint(a.Bundle().Roots[0]))
	select {}
}

// A control plane that is killed at any moment of its first start leaves a folder that the next start takes. What it has shown
// to anybody stays the root.
func TestKilledAtTheFirstStart(t *testing.T) {
	t.Parallel()
	const kills = 40
	whole := 0
	for i := range kills {
		dir := filepath.Join(t.TempDir(), "state")
		shown := killed(t, dir, time.Duration(i)*250*time.Microsecond)
		r := newRig(t, func(c *ca.Config) { c.State = dir })
		first := r.fingerprint()
		if shown != "" {
			whole++
			if shown != first {
				t.Errorf("it has shown root %s, and the next start has %s", shown, first)
			}
		}
		r.stop()
		must(t, r.start())
		if r.fingerprint() != first {
			t.Error("the start after that has another root")
		}
		r.stop()
	}
	t.Logf("%d of %d were whole", whole, kills)
}

// killed kills a control plane so long after it began to open its authority, and returns the root that it has shown.
func killed(t *testing.T, dir string, after time.Duration) string {
	t.Helper()
	ctx, kill := context.WithCancel(t.Context())
	defer kill()
	program := exec.CommandContext(ctx, os.Args[0], "open", dir)
	out, err := program.StdoutPipe()
	must(t, err)
	must(t, program.Start())
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "opens" {
		t.Fatalf("it says %q, %v", lines.Text(), lines.Err())
	}
	<-time.After(after)
	kill()
	var said []string
	for lines.Scan() {
		said = append(said, lines.Text())
	}
	_ = program.Wait() // it was killed
	return strings.Join(said, "\n")
}
