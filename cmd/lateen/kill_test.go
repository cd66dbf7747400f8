package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
)

// killable is a mesh whose control plane is lateen itself, with a file of rules that it watches.
type killable struct {
	*testing.T
	mesh  *meshtest.Mesh
	rules string // path
	port  string // of metrics
	path  string // of the program
}

func newKillable(t *testing.T) *killable {
	t.Helper()
	k := &killable{T: t, rules: filepath.Join(t.TempDir(), "rules.yaml"), port: anyPort(t), path: os.Args[0]}
	k.write("v1")
	k.mesh = meshtest.NewWith(t, meshtest.Config{Serve: func(stateDir, secure string) (kill func()) {
		p := startOf(t, k.path, stateDir, "serve", "--state-dir", stateDir, "-f", k.rules, "--admin-port", k.port, "--secure-address", secure)
		return func() {
			_ = p.cmd.Process.Kill()
			<-p.done
		}
	}})
	return k
}

// anyPort returns a port of this machine that was free a moment ago.
func anyPort(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// write leads all requests for reviews to a version, but those with a header, which keep the clusters of both versions in
// use: so that a change of the version is a change of one resource.
func (k *killable) write(version string) {
	k.Helper()
	const rule = `apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata: {name: %s}
spec: {destination: {name: reviews}, precedence: %d, %s route: [{labels: {version: %s}}]}
---
`
	header := "match: {request: {headers: {x-version: {exact: %s}}}},"
	text := fmt.Sprintf(rule, "all", 1, "", version)
	for _, v := range []string{"v1", "v2"} {
		text += fmt.Sprintf(rule, "some-"+v, 2, fmt.Sprintf(header, v), v)
	}
	next := k.rules + "~"
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		k.Fatal(err)
	}
	if err := os.Rename(next, k.rules); err != nil {
		k.Fatal(err)
	}
}

// sent counts the resources that the control plane has sent since it started.
func (k *killable) sent() int {
	k.Helper()
	total := 0
	for line := range strings.Lines(page(k.T, "http://127.0.0.1:"+k.port+"/metrics")) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && strings.HasPrefix(name, "lateen_resources_sent_total") {
			n, err := strconv.Atoi(value)
			if err != nil {
				k.Fatal(err)
			}
			total += n
		}
	}
	return total
}

// changes counts what an Envoy has made anew of its clusters and listeners.
func changes(i *meshtest.Instance) (counts []int64) {
	for _, name := range []string{
		"cluster_manager.cluster_added", "cluster_manager.cluster_modified", "cluster_manager.cluster_removed",
		"listener_manager.listener_added", "listener_manager.listener_modified", "listener_manager.listener_removed",
	} {
		counts = append(counts, i.Stat(name))
	}
	return counts
}

// The control plane is killed ten times under load, with changes while it runs and while it is away, and is another
// version in the end: no request fails or goes the wrong way, what did not change is not sent again, and no proxy warms
// anything anew.
func TestLoadKill(t *testing.T) {
	rounds := 10
	if meshtest.FullLoad() {
		rounds = 100
	}
	k := newKillable(t)
	m := k.mesh
	for _, v := range []string{"v1", "v2"} {
		m.Start("reviews", v, meshtest.Named(v))
	}
	caller := m.Caller("caller", mesh.Labels{"app": "caller"})
	reviews := "http://reviews:9080/"
	answers := func(version string) bool {
		status, body := caller.Get(reviews)
		return status == 200 && body == version
	}
	if !answers("v1") {
		t.Fatal("the rule is not in force")
	}
	before := fmt.Sprint(changes(caller))

	load := loads{meshtest.StartLoad(t, caller, reviews)}
	if meshtest.FullLoad() { // 480 requests in a second
		load = append(load, meshtest.StartLoad(t, caller, reviews))
	}
	version, other := "v1", "v2"
	load.Expect("start", version)
	to := func() {
		load.Expect("on the way from "+version+" to "+other, version, other)
		k.write(other)
		version, other = other, version
	}
	for round := range rounds {
		load.More(40)
		changed := 0
		if round%2 == 1 { // while it runs
			to()
			until(t, "the rule to be in force", func() bool { return answers(version) })
			load.More(40)
			load.Expect("a rule changed", version)
		}
		m.Stop()
		load.More(40)
		if round%3 == 1 { // while it is away
			to()
			changed = 1
		}
		m.StartPlane("")
		load.Expect("after a restart", version)
		if !answers(version) {
			t.Errorf("round %d: after the restart the newest rule is not in force", round)
		}
		if n := k.sent(); n != changed {
			t.Errorf("round %d: after the restart %d resources were sent, %d have changed", round, n, changed)
		}
	}

	k.path = build(t, "next")
	m.Stop()
	m.StartPlane("")
	load.More(40)
	status, err := m.API.Status(t.Context())
	if err != nil || status.Version != "next" || k.sent() != 0 {
		t.Errorf("after an upgrade: %+v, %v, %d resources were sent", status, err, k.sent())
	}
	if after := fmt.Sprint(changes(caller)); after != before {
		t.Errorf("clusters and listeners added, modified, removed: %s, before all restarts %s", after, before)
	}
	load.Stop("the control plane is killed")
}

// loads are loads that run beside one another.
type loads []*meshtest.Load

func (l loads) Expect(phase string, answers ...string) {
	for _, load := range l {
		load.Expect(phase, answers...)
	}
}

func (l loads) More(requests int64) {
	for _, load := range l {
		load.More(requests)
	}
}

func (l loads) Stop(name string) {
	for _, load := range l {
		load.Stop(name)
	}
}

// build builds lateen in a version, as make does, and returns its path.
func build(t *testing.T, version string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lateen")
	flags := "-X github.com/lateen-mesh/lateen/internal/cli.version=" + version
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", flags, "-o", path, ".") //nolint:gosec // fixed
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return path
}
