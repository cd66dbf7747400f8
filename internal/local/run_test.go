package local

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/lateen-mesh/lateen/internal/agent"
)

const twoServices = `
apiVersion: lateen.dev/v1alpha1
kind: Mesh
metadata: {name: town}
spec:
  services:
    web:
      ports: [{name: http, port: 9080}]
      workloads:
        v1: {command: [APP, "on ${PORT}"], replicas: 2, ready: {http: /health}, env: {COLOUR: "blue $$ ${PORT_HTTP}"}}
    shop:
      serviceAccount: keeper
      ports: [{name: http, port: 80}]
      workloads:
        v1: {command: [APP], labels: {tier: front}}
    db:
      ports: [{name: mysql, port: 3306}]
      workloads:
        v1: {address: "ELSEWHERE"} # the test replaces it with something that answers
`

// Everything of a Mesh file runs, is known to the control plane, answers through its Envoy, and is gone in the end.
func TestRun(t *testing.T) {
	t.Parallel()
	w := newTown(t, twoServices)
	w.config.Colour = true
	w.running()
	r := w.last()
	for service, want := range map[string][]string{
		"web": {"web-v1-0 healthy", "web-v1-1 healthy"}, "shop": {"shop-v1-0 healthy"}, "db": {"db-v1-0 healthy"},
	} {
		if got := endpoints(r, service); !slices.Equal(got, want) {
			t.Errorf("%s has %v, want %v", service, got, want)
		}
	}
	var ids []string
	for _, m := range r.Workloads {
		ids = append(ids, string(m.ID())+" "+m.Account+" "+m.Labels.String())
	}
	if want := []string{
		"shop-v1-0.default keeper app=shop,tier=front,version=v1",
		"web-v1-0.default default app=web,version=v1", "web-v1-1.default default app=web,version=v1",
	}; !slices.Equal(ids, want) {
		t.Errorf("workloads %q, want %q", ids, want)
	}
	env := w.get(w.url("web", "web-v1-1", "/env"))
	web := r.Workloads[2]
	port := web.Serves[0].Target[len("127.0.0.1:"):]
	proxy := "http://" + net.JoinHostPort(web.Address, strconv.Itoa(web.Outbound))
	for _, want := range []string{
		"PORT=" + port, "PORT_HTTP=" + port, "COLOUR=blue $ " + port, "LATEEN_WORKLOAD=web-v1-1",
		"HTTP_PROXY=" + proxy, "http_proxy=" + proxy, "HTTPS_PROXY=" + proxy, "https_proxy=" + proxy,
		"NO_PROXY=localhost,127.0.0.1,::1", "NODE_USE_ENV_PROXY=1",
	} {
		if !slices.Contains(strings.Split(env, "\n"), want) {
			t.Errorf("the environment lacks %s", want)
		}
	}
	if !strings.Contains(w.out.String(), "web-v1-1  |\x1b[0m app on "+port+"\n") {
		t.Error("the application's output lacks its name")
	}
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
	if l, err := net.Listen("tcp", "127.0.0.1:"+port); err != nil {
		t.Error(err)
	} else {
		l.Close()
	}
}

// Two meshes with the same services run side by side; a second one with the same folder does not.
func TestSideBySide(t *testing.T) {
	t.Parallel()
	one, two := newTown(t, twoServices), newTown(t, twoServices)
	one.start()
	two.running()
	one.awaitText(one.out, "the door is")
	if a, b := one.last().Workloads[0].Address, two.last().Workloads[0].Address; subnetOf(a) == subnetOf(b) {
		t.Errorf("both have addresses like %s and %s", a, b)
	}
	err := New(one.config).Run(t.Context())
	if f, ok := errors.AsType[*Failure](err); !ok || !strings.Contains(f.Error(), "already runs (process "+strconv.Itoa(os.Getpid())+")") || f.Hint() == "" {
		t.Errorf("a second supervisor: %v", err)
	}
	for _, w := range []*town{one, two} {
		if err := w.end(); err != nil {
			t.Error(err)
		}
	}
}

func subnetOf(address string) string { return address[:strings.LastIndexByte(address, '.')] }

// What cannot start is told in one error with the next step, and leaves nothing behind.
func TestCannotStart(t *testing.T) {
	t.Parallel()
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { busy.Close() })
	port := busy.Addr().(*net.TCPAddr).Port
	withDoor := strings.Replace(twoServices, "spec:\n", "spec:\n  ingress: {}\n", 1)
	for name, c := range map[string]struct {
		mesh   string
		change func(*Config)
		want   string
		hint   string
	}{
		"ingress port": {withDoor, func(c *Config) { c.IngressPort = port }, fmt.Sprintf("port %d for the ingress is in use", port), "--ingress-port"},
		"https port":   {withDoor, func(c *Config) { c.HTTPSPort = port }, fmt.Sprintf("port %d for TLS at the ingress is in use", port), "--https-port"},
		"one port":     {withDoor, func(c *Config) { c.IngressPort, c.HTTPSPort = port, port }, fmt.Sprintf("port %d both with and without TLS", port), "--https-port"},
		"unknown name": {
			strings.Replace(twoServices, "blue", "${UPSTREAM_SHOP_81}", 1), nil, "did you mean ${UPSTREAM_SHOP_80}?", "",
		},
		"admin port": {twoServices, func(c *Config) { c.AdminPort = port }, fmt.Sprintf("port %d for the admin pages is in use", port), "--admin-port"},
		"no Envoy":   {twoServices, func(c *Config) { c.Envoy = agent.Lookup{Flag: "/nonesuch"} }, "/nonesuch is not a program", "pip install"},
		"bad Mesh":   {strings.Replace(twoServices, "replicas", "replica", 1), nil, `mesh.yaml:10:`, ""},
		"no folder":  {twoServices, func(c *Config) { c.StateDir = os.Args[0] + "/x" }, "the state folder cannot be used: mkdir", "--state-dir"},
		"no Mesh":    {"apiVersion: v1\nkind: Other\nmetadata: {name: x}\n", nil, "there is no Mesh", ""},
		"no control plane": {
			twoServices, func(c *Config) { c.ServeArgs = []string{"serve", "/nonesuch"} },
			"the control plane ended (exit status 1): open /nonesuch/told.log", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTown(t, c.mesh)
			if c.change != nil {
				c.change(&w.config)
			}
			w.start()
			err := w.ended()
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want %q in it", err, c.want)
			}
			var hinted interface{ Hint() string }
			if c.hint != "" && (!errors.As(err, &hinted) || !strings.Contains(hinted.Hint(), c.hint)) {
				t.Errorf("the hint of %v lacks %s", err, c.hint)
			}
		})
	}
}

const troubled = `
apiVersion: lateen.dev/v1alpha1
kind: Mesh
metadata: {name: town}
spec:
  services:
    web:
      ports: [{name: http, port: 9080}]
      workloads:
        good: {command: [APP]}
        dies: {command: [sh, -c, "echo out of luck; exit 3"]}
        none: {command: [./nonesuch]}
        slow: {command: [sleep, "1000"], ready: {timeout: 50ms}}
`

// Applications that do not run are told with their last words and the next step; the others run, and an edit helps.
func TestTrouble(t *testing.T) {
	t.Parallel()
	w := newTown(t, troubled)
	w.running()
	w.awaitText(w.out, "1 of 4 ready")
	for _, want := range []string{
		"web-dies-0 ended (exit status 3): out of luck\nlateen: hint: its command is at " + w.file + ":11:9;",
		"web-none-0 cannot be started: there is no program " + w.dir() + "/nonesuch\n",
		"web-slow-0 is not ready after 50ms (it takes no connections on 127.0.0.1:",
	} {
		w.awaitText(w.err, want)
	}
	w.awaitEndpoints("web", "web-good-0 healthy")
	w.write(strings.Replace(troubled, `[sh, -c, "echo out of luck; exit 3"]`, "[APP]", 1))
	w.awaitEndpoints("web", "web-dies-1 healthy", "web-good-0 healthy")
	if err := w.end(); err != nil {
		t.Error(err)
	}
}

// An application that dies gets no requests until it is started again.
func TestAppDies(t *testing.T) {
	t.Parallel()
	w := newTown(t, twoServices)
	w.running()
	pid, err := strconv.Atoi(w.get(w.url("shop", "shop-v1-0", "/pid")))
	if err != nil {
		t.Fatal(err)
	}
	before := len(w.told())
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	w.awaitText(w.err, "shop-v1-0 ended (signal: killed)")
	w.await("shop to be gone and back", func() bool {
		states := w.states(before, "shop")
		return slices.Equal(states, []string{"", "shop-v1-0 healthy"})
	})
	w.await("that to be said", func() bool { return strings.Count(w.out.String(), "shop-v1-0 is ready\n") == 2 })
}

// states returns what the control plane was told of a service since a line, without repetitions.
func (w *town) states(since int, service string) []string {
	w.t.Helper()
	var states []string
	for _, line := range w.told()[since:] {
		if line.Registry != nil {
			states = append(states, strings.Join(endpoints(*line.Registry, service), ", "))
		}
	}
	return slices.Compact(states)
}

// A control plane that dies is started again and told everything; nothing else stops.
func TestControlPlaneDies(t *testing.T) {
	t.Parallel()
	w := newTown(t, twoServices)
	w.running()
	pid := w.get(w.url("shop", "shop-v1-0", "/pid"))
	first := w.told()[0].Started
	before, lines := w.last(), len(w.told())
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	w.awaitText(w.err, "the control plane ended (signal: killed)")
	w.await("the registry", func() bool {
		all := w.told()
		return len(all) >= lines+2 && all[len(all)-1].Registry != nil
	})
	w.awaitText(w.out, "the control plane is back\n")
	if again := w.told()[lines].Started; again == 0 || again == first {
		t.Errorf("process %d instead of %d", again, first)
	}
	if got := fmt.Sprint(endpoints(w.last(), "web")); got != fmt.Sprint(endpoints(before, "web")) {
		t.Errorf("the new control plane knows %s", got)
	}
	if now := w.get(w.url("shop", "shop-v1-0", "/pid")); now != pid {
		t.Error("the application was started again")
	}
}

// A request that is under way is answered before the mesh ends.
func TestEndDrains(t *testing.T) {
	t.Parallel()
	w := newTown(t, twoServices)
	w.running()
	release := filepath.Join(w.dir(), "release")
	answer := w.hold("shop", "shop-v1-0", release)
	w.stop()
	w.awaitText(w.out, "ending;")
	if err := os.WriteFile(release, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := <-answer; got != "released" {
		t.Errorf("the request got %s", got)
	}
	if err := w.ended(); err != nil {
		t.Error(err)
	}
}

// hold sends a request that is answered when the file is there, and returns when the application has it.
func (w *town) hold(service, instance, release string) <-chan string {
	w.t.Helper()
	url := w.url(service, instance, "/hold?until="+release)
	answer := make(chan string, 1)
	go func() {
		got, err := get(url)
		if err != nil {
			got = err.Error()
		}
		answer <- got
	}()
	w.awaitText(w.out, "holding")
	return answer
}

// When told to end at once, it does not wait for requests, nor for applications that do not want to end.
func TestKill(t *testing.T) {
	t.Parallel()
	stubborn := strings.Replace(twoServices, "{command: [APP], labels",
		`{command: [sh, -c, "trap '' TERM; $0 app & while :; do sleep 0.1; done", `+os.Args[0]+`], labels`, 1)
	w := newTown(t, stubborn)
	kill := make(chan struct{})
	w.config.Kill = kill
	w.running()
	answer := w.hold("shop", "shop-v1-0", filepath.Join(w.dir(), "never"))
	w.stop()
	w.awaitText(w.out, "ending;")
	close(kill)
	if err := w.ended(); err != nil {
		t.Error(err)
	}
	if got := <-answer; got == "released" {
		t.Error("the request was answered")
	}
}

// When the supervisor is killed, nothing survives: neither proxies nor applications nor the children of these.
func TestSupervisorKilled(t *testing.T) {
	t.Parallel()
	w := newTown(t, strings.Replace(twoServices, "{command: [APP], labels",
		`{command: [sh, -c, "(sleep 1000; :) & exec $0 app", `+os.Args[0]+`], labels`, 1))
	up := exec.Command(os.Args[0], "up", w.dir())
	out, err := up.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	up.Stderr = w.err
	if err := up.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan() && !strings.HasPrefix(lines.Text(), "the door is"); {
		fmt.Fprintln(w.out, lines.Text())
	}
	left := survivors(w.dir())
	for _, name := range []string{"envoy ", " serve ", " agent ", " app ", "sleep "} {
		if !strings.Contains(strings.Join(left, "\n"), name) {
			t.Errorf("%q does not run: %v", name, left)
		}
	}
	if err := up.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = up.Wait() // killed
	w.await("all processes to end", func() bool { return len(survivors(w.dir())) == 0 })
}

// What should run already gets requests once it answers; until then it is told that it does not.
func TestExternalIsAsked(t *testing.T) {
	t.Parallel()
	w := newTown(t, twoServices)
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", w.elsewhere[:strings.LastIndexByte(w.elsewhere, ':')]+":0")
	if err != nil {
		t.Fatal(err)
	}
	late := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	w.write(strings.Replace(twoServices, "ELSEWHERE", late, 1))
	w.start()
	w.awaitText(w.err, "db-v1-0 is not ready after 10s (it takes no connections on "+late+")")
	if got := endpoints(w.last(), "db"); len(got) != 0 {
		t.Errorf("db has the endpoints %v before it answers", got)
	}
	if l, err = new(net.ListenConfig).Listen(t.Context(), "tcp", late); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	w.awaitEndpoints("db", "db-v1-0 healthy")
}
