// Package meshtest runs a whole mesh in one test: the real control plane, real xDS streams and real Envoys, with
// applications that are HTTP handlers of the test.
//
// [New] starts a control plane in a folder of its own; [Mesh.Start] puts an application with an Envoy beside it into
// the mesh, on an address of its own; [Mesh.Apply] writes objects as a command would and returns when they are in
// force. Everything ends with the test. Any number of meshes run side by side, in one test binary or in several.
//
// [FakeProxy] stands in for an Envoy where a test needs a hundred of them and no traffic.
package meshtest

import (
	"bytes"
	"cmp"
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
	"sync"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/agent"
	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/local"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/netns"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/serve"
	"github.com/lateen-mesh/lateen/internal/view"
)

// securePort is the port of the control plane, on the first address of the mesh.
const securePort = 15012

// Patience bounds everything that a test waits for.
const Patience = 30 * time.Second

// Mesh is a running mesh.
type Mesh struct {
	API    *api.Client
	Dir    string // state folder
	Secure string // HOST:PORT where the control plane answers over mutual TLS

	t      testing.TB
	envoy  string
	subnet *local.Subnet

	config    Config
	plane     *serve.Plane // nil when Config.Serve runs the control plane
	stopPlane func()

	mu       sync.Mutex
	registry mesh.Registry
	taken    int             // addresses
	ports    map[string]bool // "IP:PORT" that were given away

	addresses map[string]string // that services had last, by name
}

// New starts a control plane for the test.
func New(t testing.TB) *Mesh {
	t.Helper()
	return NewWith(t, Config{Version: "test"})
}

// NewWith starts a control plane as the configuration says.
func NewWith(t testing.TB, config Config) *Mesh {
	t.Helper()
	dir, err := os.MkdirTemp("", "lateen") //nolint:usetesting // TempDir holds the test's name, and paths of sockets are short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	subnet, err := local.ClaimSubnet(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(subnet.Close)
	m := &Mesh{
		t: t, Dir: dir, config: config, subnet: subnet, envoy: Envoy(t), API: api.NewClient(filepath.Join(dir, api.SocketName)),
		Secure: net.JoinHostPort(subnet.Address(0).String(), strconv.Itoa(securePort)), taken: 1,
		ports: map[string]bool{}, addresses: map[string]string{},
	}
	if config.network != nil {
		m.Secure = net.JoinHostPort(netns.NodeAddress, strconv.Itoa(securePort))
	}
	m.startPlane()
	m.put()
	return m
}

// startPlane starts a control plane on the mesh's state folder.
func (m *Mesh) startPlane() {
	m.t.Helper()
	m.startPlaneAs(serve.Config{})
}

// startPlaneAs starts a control plane with the paths, patience and listener of a configuration.
func (m *Mesh) startPlaneAs(c serve.Config) {
	m.t.Helper()
	if m.config.Serve != nil {
		m.stopPlane = m.config.Serve(m.Dir, m.Secure)
	} else {
		c.StateDir, c.Namespace, c.Version, c.Log = m.Dir, Namespace, m.config.Version, m.log("serve")
		c.PlainXDS, c.Secure, c.CertTTL = PlainXDS(m.t, m.Dir), m.listenSecure(), m.config.CertTTL
		c.XDS = m.config.XDS
		c.Push = push.Config{Grace: time.Second, Alter: m.config.Alter}
		plane, err := serve.New(c)
		if err != nil {
			m.t.Fatal(err)
		}
		m.plane = plane
		m.stopPlane = m.run("control plane", plane.Run)
	}
	Await(m.t, "the control plane", func() bool { _, err := m.API.Status(m.t.Context()); return err == nil })
}

// listenSecure listens where agents and Envoys with an identity find the control plane.
func (m *Mesh) listenSecure() net.Listener {
	m.t.Helper()
	address := m.Secure
	if m.config.network != nil { // pods may know one family only
		address = ":" + strconv.Itoa(securePort)
	}
	l, err := new(net.ListenConfig).Listen(context.WithoutCancel(m.t.Context()), "tcp", address)
	if err != nil {
		m.t.Fatal(err)
	}
	return l
}

// Restart stops the control plane, starts another on the same state folder, and returns when all proxies are back.
func (m *Mesh) Restart() {
	m.t.Helper()
	m.RestartWith(func(*mesh.Registry) {})
}

// RestartWith is Restart with a registry that changes while no control plane runs.
func (m *Mesh) RestartWith(edit func(*mesh.Registry)) {
	m.t.Helper()
	m.Stop()
	m.startPlane()
	m.Edit(edit)
}

// StartPlane starts a control plane, of another version if one is given, and returns when all proxies are back.
func (m *Mesh) StartPlane(version string) {
	m.t.Helper()
	m.config.Version = cmp.Or(version, m.config.Version)
	m.startPlane()
	m.put()
}

// Stop stops the control plane, with a SIGKILL where it is a process of its own. [Mesh.Restart] and [Mesh.StartPlane] bring
// one back.
func (m *Mesh) Stop() { m.stopPlane() }

// RestartAlone stops the control plane and starts another, with the paths, patience and listener of a configuration, to
// which nobody says what runs before [Mesh.Edit] does. It returns when the new one answers.
func (m *Mesh) RestartAlone(c serve.Config) {
	m.t.Helper()
	m.stopPlane()
	m.startPlaneAs(c)
}

// Sent counts the resources that the control plane has sent since it started.
func (m *Mesh) Sent() int64 { return m.plane.Engine().Counters().Sends.Load() }

// Bytes counts the bytes of the resources of a kind that the control plane has sent since it started.
func (m *Mesh) Bytes(kind view.Kind) int64 { return m.plane.Engine().Counters().Bytes.Of(string(kind)) }

// Opened counts the streams of proxies that the control plane has answered since it started.
func (m *Mesh) Opened() int64 { return m.plane.Engine().Counters().Opened.Load() }

// run runs a part until the test ends or the returned function is called.
func (m *Mesh) run(name string, part func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(m.t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := part(ctx); err != nil {
			m.t.Errorf("%s: %v", name, err)
		}
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	m.t.Cleanup(stop)
	return stop
}

// Await waits for a condition that nobody announces.
func Await(t testing.TB, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(Patience); !is(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("waited %v for %s", Patience, what)
		}
	}
}

// AddRegistry makes services, endpoints and workloads known that the test does not run.
func (m *Mesh) AddRegistry(more mesh.Registry) {
	m.t.Helper()
	m.Edit(func(r *mesh.Registry) {
		r.Services = append(r.Services, more.Services...)
		r.Endpoints = append(r.Endpoints, more.Endpoints...)
		r.Workloads = append(r.Workloads, more.Workloads...)
	})
}

// Set changes the settings of the mesh and returns when they are in force.
func (m *Mesh) Set(edit func(*mesh.Settings)) {
	m.t.Helper()
	m.Edit(func(r *mesh.Registry) {
		settings := mesh.DefaultSettings
		if r.Settings != nil {
			settings = *r.Settings
		}
		edit(&settings)
		r.Settings = &settings
	})
}

// Edit edits what there is and what runs, and returns when that is in force. What the edit changes must be made anew: the
// registry before it shares all that did not change.
func (m *Mesh) Edit(edit func(*mesh.Registry)) {
	m.t.Helper()
	m.InForce(m.TryEdit(edit))
}

// TryEdit is Edit without waiting for proxies.
func (m *Mesh) TryEdit(edit func(*mesh.Registry)) (revision int64) {
	m.t.Helper()
	m.mu.Lock()
	next := mesh.Registry{
		Services: slices.Clone(m.registry.Services), Endpoints: slices.Clone(m.registry.Endpoints),
		Workloads: slices.Clone(m.registry.Workloads), Settings: m.registry.Settings,
		Certificates: slices.Clone(m.registry.Certificates),
	}
	edit(&next)
	m.registry = next
	m.mu.Unlock()
	return m.hand()
}

// put hands the registry over and waits until it is in force.
func (m *Mesh) put() {
	m.t.Helper()
	m.InForce(m.hand())
}

// hand hands the registry over.
func (m *Mesh) hand() (revision int64) {
	m.t.Helper()
	m.mu.Lock()
	registry := m.registry
	m.mu.Unlock()
	ctx, cancel := context.WithTimeout(m.t.Context(), Patience)
	defer cancel()
	revision, err := m.API.PutRegistry(ctx, registry)
	if err != nil {
		m.t.Fatal(err)
	}
	return revision
}

// RefusedOf waits until nobody is waited for, and returns what proxies refuse of a revision: "PROXY: its own words".
func (m *Mesh) RefusedOf(revision int64) []string {
	m.t.Helper()
	p, err := m.API.Progress(m.t.Context(), revision, Patience)
	if err != nil || !p.Done() {
		m.t.Fatalf("revision %d: waiting for %v: %v", revision, p.Waiting, err)
	}
	return p.Refused
}

// InForce waits until a revision is in force in every proxy that it concerns, and returns their number.
func (m *Mesh) InForce(revision int64) int {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 2*Patience)
	defer cancel()
	var p api.Progress
	Await(m.t, "the proxies that have lost their streams", func() (back bool) {
		var err error
		if p, err = m.API.Progress(ctx, revision, Patience); err != nil {
			m.t.Fatal(err)
		}
		return len(p.Away) == 0
	})
	if !p.Done() || len(p.Refused) > 0 {
		m.t.Fatalf("revision %d is not in force: waiting for %v, refused %v, on the way: %v", revision, p.Waiting, p.Refused, p.Handovers)
	}
	return p.Concerned
}

// Apply writes objects and returns when they are in force. Any problem fails the test, but a warning of one of the
// codes, which must be there.
func (m *Mesh) Apply(yaml string, warnings ...string) {
	m.t.Helper()
	written := m.TryApply(yaml)
	told := map[string]bool{}
	for _, p := range written.Problems {
		told[p.Code] = true
		if p.Severity != mesh.Warning || !slices.Contains(warnings, p.Code) {
			m.t.Errorf("%v", p)
		}
	}
	for _, code := range warnings {
		if !told[code] {
			m.t.Errorf("there is no warning %q", code)
		}
	}
	m.InForce(written.Revision)
}

// TryApply writes objects and returns what came of it, without waiting for proxies.
func (m *Mesh) TryApply(yaml string) api.Written {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), Patience)
	defer cancel()
	written, err := m.API.Write(ctx, api.Write{
		Op: api.Apply, Files: []api.File{{Name: "test.yaml", Text: yaml}},
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return written
}

// Delete deletes an object and returns when that is in force.
func (m *Mesh) Delete(kind, name string) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), Patience)
	defer cancel()
	written, err := m.API.Delete(ctx, api.Delete{Objects: []mesh.Ref{{Kind: kind, Namespace: Namespace, Name: name}}})
	if err != nil || len(written.Problems) > 0 {
		m.t.Fatalf("delete %s %s: %v %v", kind, name, err, written.Problems)
	}
	m.InForce(written.Revision)
}

// log returns a logger whose lines appear when the test fails. Envoy warns of each stream that ends: that is left out.
func (m *Mesh) log(name string) *slog.Logger {
	return slog.New(slog.NewTextHandler(testWriter{m.t}, &slog.HandlerOptions{Level: slog.LevelError})).With("part", name)
}

// testWriter writes lines into a test's output.
type testWriter struct{ t testing.TB }

func (w testWriter) Write(line []byte) (int, error) {
	w.t.Logf("%s", bytes.TrimRight(line, "\n"))
	return len(line), nil
}

// Envoy returns the path of the Envoy to test with: LATEEN_ENVOY, bin/envoy of the checkout, or the one on PATH.
func Envoy(t testing.TB) string {
	t.Helper()
	path, err := agent.FindEnvoy(t.Context(), agent.Lookup{
		Env: os.Getenv("LATEEN_ENVOY"), Dir: filepath.Join(Root(t), "bin"), Path: os.Getenv("PATH"),
	})
	if err != nil {
		t.Fatalf("this test needs an Envoy: %v (`make envoy` fetches one)", err)
	}
	return path
}

// Root returns the folder of the checkout.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if parent := filepath.Dir(dir); parent != dir {
			dir = parent
			continue
		}
		t.Fatal("no go.mod above the working folder")
	}
}

var _ io.Writer = testWriter{}

// agentConfig says how the agent beside an instance's Envoy runs.
func (m *Mesh) agentConfig(i *Instance, events io.Writer) agent.Config {
	w := i.Workload
	c := agent.Config{
		Node: string(w.ID()), Type: string(w.Type), Address: w.Address, Domain: Domain, Envoy: m.envoy, Dir: i.Dir,
		AdminSocket: filepath.Join(i.Dir, "admin.sock"), DrainTime: time.Second, Log: m.log(w.Name), Events: events,
	}
	if i.pod != nil {
		c.Envoy = i.pod.envoy
	}
	if m.config.Plain {
		c.PlainXDS = "unix:" + serve.XDSSocket(m.Dir)
	} else {
		c.ControlPlane = m.Secure
		if i.pod != nil && len(i.Addresses()) == 1 && strings.Contains(i.Address, ":") {
			c.ControlPlane = net.JoinHostPort(netns.NodeAddress6, strconv.Itoa(securePort))
		}
		c.Tokens = func(ctx context.Context) (string, error) { return m.Token(ctx, w) }
	}
	return c
}

// Token returns a join token for a workload.
func (m *Mesh) Token(ctx context.Context, w *mesh.Workload) (string, error) {
	asked := api.NewToken{Workload: w.Name, Namespace: w.Namespace, Account: w.Account, Address: w.Address}
	if len(w.Further) > 0 {
		asked.Further = w.Further[0]
	}
	token, err := m.API.NewToken(ctx, asked)
	return token.Token, err
}

// listenLoopback returns a listener on a free port of an address.
func listenLoopback(t testing.TB, address string) net.Listener {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// events turns an agent's lines into signals.
type events struct {
	ready chan struct{}
	once  sync.Once
}

func (e *events) Write(line []byte) (int, error) {
	var event agent.Event
	if err := json.Unmarshal(line, &event); err != nil {
		return 0, fmt.Errorf("event %q: %w", strings.TrimSpace(string(line)), err)
	}
	if event.Event == agent.Ready {
		e.once.Do(func() { close(e.ready) })
	}
	return len(line), nil
}

// handlerServer serves a handler until the test ends and returns its address.
func handlerServer(t testing.TB, h http.Handler) string {
	t.Helper()
	l := listenLoopback(t, "127.0.0.1")
	serveOn(t, l, h)
	return l.Addr().String()
}

// serveOn serves a handler on a listener until the test ends.
func serveOn(t testing.TB, l net.Listener, h http.Handler) {
	t.Helper()
	both := new(http.Protocols)
	both.SetHTTP1(true)
	both.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: h, ReadHeaderTimeout: Patience, IdleTimeout: 2 * time.Hour, Protocols: both}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
}
