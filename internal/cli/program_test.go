package cli

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/serve"
)

// program runs commands against one control plane.
type program struct {
	*testing.T
	dir string
}

// newProgram starts a control plane for a test, without proxies.
func newProgram(t *testing.T, paths ...string) program {
	t.Helper()
	p := program{t, t.TempDir()}
	t.Cleanup(startPlane(t, p.dir, paths...))
	return p
}

// startPlane starts a control plane, and returns what ends it.
func startPlane(t *testing.T, dir string, paths ...string) (end func()) {
	t.Helper()
	plane, err := serve.New(serve.Config{StateDir: dir, Paths: paths, PlainXDS: meshtest.PlainXDS(t, dir), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- plane.Run(ctx) }()
	socket, err := api.Socket(dir)
	if err != nil {
		t.Fatal(err)
	}
	for !answers(ctx, socket) {
	}
	if _, err := api.NewClient(socket).PutRegistry(ctx, mesh.Registry{}); err != nil {
		t.Fatal(err)
	}
	return func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// run runs a command and returns what it wrote and its exit code.
func (p program) run(stdin string, args ...string) (stdout, stderr string, code int) {
	p.Helper()
	var out, errs bytes.Buffer
	root := newRootCommand(nil)
	root.SetArgs(append(args, "--state-dir", p.dir))
	root.SetIn(strings.NewReader(stdin))
	root.SetOut(&out)
	root.SetErr(&errs)
	code = report(&errs, root.ExecuteContext(p.Context()))
	return out.String(), errs.String(), code
}

// wants runs a command, which must succeed and print a line.
func (p program) wants(line, stdin string, args ...string) {
	p.Helper()
	stdout, stderr, code := p.run(stdin, args...)
	if code != 0 || stdout != line+"\n" {
		p.Errorf("%v: exit code %d, printed %q, want %q\n%s", args, code, stdout, line, stderr)
	}
}

// refuses runs a command, which must fail and say why.
func (p program) refuses(why, stdin string, args ...string) {
	p.Helper()
	stdout, stderr, code := p.run(stdin, args...)
	if code == 0 || stdout != "" || !strings.Contains(stderr, why) {
		p.Errorf("%v: exit code %d, printed %q, said\n%s\nwant %s", args, code, stdout, stderr, why)
	}
}
