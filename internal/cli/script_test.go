package cli

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/lateen-mesh/lateen/internal/admin"
	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/golden"
	"github.com/lateen-mesh/lateen/internal/handover"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/serve"
	"github.com/lateen-mesh/lateen/internal/source/state"
	"github.com/lateen-mesh/lateen/internal/store"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"lateen": lateen})
}

func lateen() { os.Exit(report(os.Stderr, newRootCommand(nil).Execute())) }

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           filepath.Join("testdata", "script"),
		UpdateScripts: golden.Updating(),
		Setup: func(e *testscript.Env) error {
			e.Setenv("XDG_STATE_HOME", filepath.Join(e.WorkDir, "s"))
			e.Setenv("GORACE", "atexit_sleep_ms=0") // the race detector would have each command end a second later
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"fails": fails,
			"mesh":  func(ts *testscript.TestScript, _ bool, args []string) { startMesh(t.Context(), ts, args) },
		},
	})
}

// fails runs "fails CODE COMMAND…", which must exit with the code.
func fails(ts *testscript.TestScript, _ bool, args []string) {
	code, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.ExitCode() != code {
		ts.Fatalf("%v: %v, want exit code %d", args[1:], err, code)
	}
}

// startMesh runs "mesh NAME PROXIES": the control plane of a mesh that watches the file watched.yaml if there is one.
// PROXIES says what becomes of a change: "none" uses it, it is "confirmed", "waiting", "refused" or "moving".
func startMesh(ctx context.Context, ts *testscript.TestScript, args []string) {
	dir := filepath.Join(ts.Getenv("XDG_STATE_HOME"), "lateen", args[0])
	ts.Check(os.MkdirAll(dir, 0o700))
	log := slog.New(slog.DiscardHandler)
	kinds := serve.Kinds()
	known := store.New(store.Config{
		Kinds: kinds, Domain: serve.Domain, Sources: []string{"state"}, Log: log, Publish: func(*mesh.Snapshot, []mesh.Key) {},
	})
	objects, err := state.Open(state.Config{
		Dir: filepath.Join(dir, "objects"), Kinds: kinds, Log: log,
		Sink: func(ctx context.Context, objects []config.Object, problems []mesh.Problem) (int64, error) {
			return known.SetObjects(ctx, "state", objects, problems)
		},
	})
	ts.Check(err)
	socket, err := api.Socket(dir)
	ts.Check(err)
	server := admin.New(admin.Config{
		Watch:  push.NewEngine(push.Config{Log: slog.New(slog.DiscardHandler)}),
		Socket: socket, Mesh: args[0], Kinds: kinds, Objects: objects, Files: watchedFile(ts.MkAbs("watched.yaml")),
		Store: known, Registry: known, Proxies: fate(args[1]), Handovers: fate(args[1]), Metrics: prometheus.NewRegistry(), Log: log,
	})
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{known.Run, objects.Run, server.Run} {
		running.Go(func() { _ = run(ctx) })
	}
	ts.Defer(func() { cancel(); running.Wait() })
	for !answers(ctx, socket) {
	}
}

// watchedFile is a file of objects that belong to it.
type watchedFile string

func (f watchedFile) Objects() []config.Object {
	text, err := os.ReadFile(string(f))
	if err != nil {
		return nil
	}
	objects, _ := config.Parse(filepath.Base(string(f)), text, "")
	return objects
}

// fate is what becomes of every change in two proxies.
type fate string

func (fate) Connected() []push.Connected { return nil }

func (fate) Problems() []mesh.Problem { return nil }

func (fate) Uses() []push.Use { return nil }

func (fate) NextIsGiven(mesh.ProxyID) []string { return nil }

func (fate) Moving() []handover.Moving { return nil }

func (f fate) Await(ctx context.Context, _ int64, wait time.Duration) []handover.Moving {
	if f != "moving" {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	both := &mesh.Stance{Ports: []mesh.PortStance{{Port: 9080, Policy: mesh.AuthMutualTLS, Accept: mesh.Both, Speak: mesh.Plain}}}
	return []handover.Moving{{
		Course: &handover.Course{Host: "reviews", Now: both, Want: handover.Target{Ports: []mesh.PortStance{
			{Port: 9080, Policy: mesh.AuthMutualTLS, Accept: mesh.TLS, Speak: mesh.TLS},
		}}},
		Standing: handover.Standing{Reached: true, Proxies: 2, Waiting: []mesh.ProxyID{"reviews-v1-0.default"}},
	}}
}

func (f fate) Progress(ctx context.Context, revision int64, wait time.Duration) push.Progress {
	p := push.Progress{Revision: revision, Reached: true, Concerned: 2, Confirmed: 1}
	switch f {
	case "none":
		return push.Progress{Revision: revision, Reached: true}
	case "confirmed", "moving":
		p.Confirmed = 2
	case "refused":
		p.Refusals = []push.Refusal{{Proxy: "reviews-v1-0.default", Reason: "route: bad regex"}}
	case "waiting":
		p.Waiting = []mesh.ProxyID{"reviews-v1-0.default"}
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	return p
}
