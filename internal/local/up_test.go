package local

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/agent"
	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/source/file"
	"github.com/lateen-mesh/lateen/internal/testkit"
)

const patience = 30 * time.Second

// town is a mesh under test: a supervisor with a folder and a Mesh file.
type town struct {
	t         *testing.T
	config    Config
	file      string
	elsewhere string // address of something that runs without the mesh
	out       *testkit.Output
	err       *testkit.Output
	stop      context.CancelFunc
	done      chan error
}

// markName is a variable in the environment of every process of a town, by which those that are left over are found.
const markName = "LATEEN_TEST_TOWN"

// elsewhere returns the address of something that runs without the mesh and takes connections.
func elsewhere(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

// newTown describes a mesh, which is started with start.
func newTown(t *testing.T, meshFile string) *town {
	t.Helper()
	dir, err := os.MkdirTemp("", "up") //nolint:usetesting // TempDir holds the test's name, and paths of sockets are short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	w := &town{t: t, file: filepath.Join(dir, "mesh.yaml"), out: &testkit.Output{}, err: &testkit.Output{}}
	w.elsewhere = elsewhere(t)
	w.write(meshFile)
	w.config = townConfig(dir)
	w.config.Stdout, w.config.Stderr = w.out, w.err
	w.config.Kill = make(chan struct{})
	return w
}

// townConfig is the configuration of a mesh whose folder, with its Mesh file, is dir.
func townConfig(dir string) Config {
	state := filepath.Join(dir, "state")
	bin, err := filepath.Abs("../../bin")
	if err != nil {
		panic(err)
	}
	log := slog.New(slog.DiscardHandler)
	return Config{
		Name: filepath.Base(dir), StateDir: state, Executable: os.Args[0], ServeArgs: []string{"serve", state},
		Source: func(ctx context.Context, sink func(context.Context, []config.Object, []mesh.Problem) error) error {
			s, err := file.New(file.Config{Paths: []string{filepath.Join(dir, "mesh.yaml")}, Check: Check, Beside: Beside, Sink: sink, Log: log})
			if err != nil {
				return err
			}
			return s.Run(ctx)
		},
		Envoy:   agent.Lookup{Env: os.Getenv("LATEEN_ENVOY"), Dir: bin, Path: os.Getenv("PATH")},
		Environ: append(os.Environ(), markName+"="+dir, "GORACE=atexit_sleep_ms=0"),
		API:     api.NewClient(filepath.Join(state, toldSocket)),
		URLs: func(d Door) []string {
			return []string{fmt.Sprintf("the door is %d, with TLS %d", d.Port, d.HTTPSPort)}
		},
		Stdout: os.Stdout, Stderr: os.Stderr, Log: log,
	}
}

// runUp is a supervisor of its own, for tests that kill it.
func runUp(ctx context.Context, args []string) error { return New(townConfig(args[0])).Run(ctx) }

// write writes the Mesh file as editors do: a new file takes the place of the old one. APP stands for the application.
func (w *town) write(meshFile string) {
	w.t.Helper()
	text := strings.NewReplacer("APP", os.Args[0]+", app", "ELSEWHERE", w.elsewhere).Replace(meshFile)
	if err := os.WriteFile(w.file+".new", []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Rename(w.file+".new", w.file); err != nil {
		w.t.Fatal(err)
	}
}

// start starts the supervisor; the test's end ends it, and fails if a process is left over.
func (w *town) start() {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	w.stop, w.done = cancel, make(chan error, 1)
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		w.done <- New(w.config).Run(ctx)
	}()
	w.t.Cleanup(func() {
		cancel()
		<-closed
		if left := survivors(w.dir()); len(left) > 0 {
			w.t.Errorf("processes are left over: %v", left)
		}
		if w.t.Failed() {
			w.t.Logf("output:\n%s\nerrors:\n%s", w.out, w.err)
			select {
			case err := <-w.done:
				w.t.Logf("it returned %v", err)
			default:
			}
		}
	})
}

func (w *town) dir() string { return filepath.Dir(w.config.StateDir) }

// end ends the supervisor and returns what it returned.
func (w *town) end() error {
	w.t.Helper()
	w.stop()
	return w.ended()
}

func (w *town) ended() error {
	w.t.Helper()
	select {
	case err := <-w.done:
		return err
	case <-time.After(patience):
		w.t.Fatalf("waited %v for the supervisor to end", patience)
		return nil
	}
}

// await waits for a condition that nobody announces.
func (w *town) await(what string, is func() bool) {
	w.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !is(); <-tick.C {
		if time.Now().After(end) {
			w.t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

func (w *town) awaitText(in *testkit.Output, want string) {
	w.t.Helper()
	w.await(strconv.Quote(want), func() bool { return strings.Contains(in.String(), want) })
}

// running starts the mesh and waits until all of it runs.
func (w *town) running() {
	w.t.Helper()
	w.start()
	w.awaitText(w.out, "the door is")
}

// told returns what the control plane was told so far.
func (w *town) told() []told {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join(w.config.StateDir, toldFile))
	if err != nil {
		w.t.Fatal(err)
	}
	var all []told
	for line := range bytes.Lines(data) {
		var t told
		if bytes.HasSuffix(line, []byte("\n")) && json.Unmarshal(line, &t) == nil {
			all = append(all, t)
		}
	}
	return all
}

// last returns what the control plane knows now, as far as it was told.
func (w *town) last() mesh.Registry {
	w.t.Helper()
	all := w.told()
	for _, t := range slices.Backward(all) {
		if t.Registry != nil {
			return *t.Registry
		}
	}
	return mesh.Registry{}
}

// endpoints spells the endpoints of a service: "web-v1-0 healthy".
func endpoints(r mesh.Registry, service string) []string {
	var list []string
	for _, set := range r.Endpoints {
		if set.Host != mesh.ServiceHost(service, "default", domain) {
			continue
		}
		for _, e := range set.Endpoints {
			list = append(list, e.Workload+" "+string(e.Health))
		}
	}
	slices.Sort(list)
	return list
}

func (w *town) awaitEndpoints(service string, want ...string) {
	w.t.Helper()
	w.await(fmt.Sprint(want), func() bool { return slices.Equal(endpoints(w.last(), service), want) })
}

// url returns where the Envoy of an instance answers for a service.
func (w *town) url(service, instance, path string) string {
	w.t.Helper()
	for _, set := range w.last().Endpoints {
		for _, e := range set.Endpoints {
			if e.Workload == instance && set.Host == mesh.ServiceHost(service, "default", domain) {
				return "http://" + net.JoinHostPort(e.Address, strconv.Itoa(e.Ports["http"])) + path
			}
		}
	}
	w.t.Fatalf("service %s has no endpoint %s", service, instance)
	return ""
}

func (w *town) get(url string) string {
	w.t.Helper()
	got, err := get(url)
	if err != nil {
		w.t.Fatal(err)
	}
	return got
}

func get(url string) (string, error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	response, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s %s", url, response.Status, body)
	}
	return string(body), err
}

// awaitFile waits until a file is there.
func awaitFile(ctx context.Context, path string) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(path); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// survivors returns the processes of a town that run.
func survivors(mark string) []string {
	var left []string
	folders, _ := filepath.Glob("/proc/[0-9]*") // the pattern is good
	for _, folder := range folders {
		env, err := os.ReadFile(filepath.Join(folder, "environ"))
		if err != nil || !bytes.Contains(env, []byte(markName+"="+mark+"\x00")) {
			continue // a zombie has no environment any more
		}
		command, err := os.ReadFile(filepath.Join(folder, "cmdline"))
		if err == nil {
			left = append(left, filepath.Base(folder)+" "+strings.ReplaceAll(string(command), "\x00", " "))
		}
	}
	return left
}

// A control plane that cannot start since its root is lost says why once, and then only that it is so still.
func TestLostRootIsToldOnce(t *testing.T) {
	t.Parallel()
	w := newTown(t, twoServices)
	w.running()
	root := filepath.Join(w.config.StateDir, "ca", "root.pem")
	kept, err := os.ReadFile(root)
	if err != nil {
		t.Fatal(err)
	}
	pid := w.process("serve", w.config.StateDir)
	for _, do := range []func() error{
		func() error { return syscall.Kill(pid, syscall.SIGSTOP) }, // it would put the file back
		func() error { return os.Remove(root) },
		func() error { return syscall.Kill(pid, syscall.SIGKILL) },
	} {
		if err := do(); err != nil {
			t.Fatal(err)
		}
	}
	w.awaitText(w.err, "the control plane still does not run, after 4 attempts")
	if err := os.WriteFile(root, kept, 0o600); err != nil {
		t.Fatal(err)
	}
	w.awaitText(w.out, "the control plane is back")
	const why = "cannot be read from "
	if errs, outs := strings.Count(w.err.String(), why), strings.Count(w.out.String(), why); errs != 1 || outs != 1 {
		t.Errorf("why is told %d times, and handed on %d times", errs, outs)
	}
	if n := strings.Count(w.err.String(), "still does not run"); n < 2 || n > 4 {
		t.Errorf("that it is still so is told %d times", n)
	}
}

// What `settings` say of policies is told on the terminal: that it changes, and that it is in force.
func TestPolicyIsInForce(t *testing.T) {
	t.Parallel()
	w := newTown(t, twoServices)
	w.running()
	w.write(strings.Replace(twoServices, "spec:\n", "spec:\n  settings: {authPolicy: MUTUAL_TLS}\n", 1))
	w.awaitText(w.out, "settings: 3 services change to MUTUAL_TLS")
	w.awaitText(w.out, "settings: the change of 3 services to MUTUAL_TLS is in force")
	if n := strings.Count(w.out.String(), "settings: "); n != 2 {
		t.Errorf("%d lines are told of it", n)
	}
}
