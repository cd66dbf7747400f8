package main

import (
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/netns"
)

const (
	productpage = "http://localhost:8080/productpage"
	ready       = "ready after"
	star        = "glyphicon-star"
	redStars    = `apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata: {name: reviews}
spec: {destination: {name: reviews}, route: [{labels: {version: v3}}]}
`
)

// free tells whether a port of every address is free.
func free(t *testing.T, port int) bool {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", fmt.Sprintf("0.0.0.0:%d", port))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

// One command brings BookInfo; a rule written with another changes the next page; Ctrl-C ends everything and frees
// every port; the rule is there again after the next start.
func TestDemo(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		dir := home(t)
		begun := time.Now()
		p := start(t, dir, "demo")
		p.prints(ready)
		page(t, productpage)
		t.Logf("the first good page came %v after the start", time.Since(begun).Round(time.Millisecond))
		p.prints(productpage)

		rule := write(t, dir, "rule.yaml", redStars)
		stdout, stderr, code := run(t, dir, "apply", "-f", rule)
		if code != 0 || stdout != "Created config route-rule/default/reviews at revision 1\n" || !strings.Contains(stderr, "in force in 1 of 1 proxies") {
			t.Errorf("apply: exit code %d\n%s%s", code, stdout, stderr)
		}
		for range 6 {
			if !strings.Contains(page(t, productpage), `data-color="red"`) {
				t.Error("after the rule was said to be in force, a page shows no red stars")
			}
		}
		if got := must(t, dir, "get", "routerules", "-o", "name"); got != "routerule/reviews\n" && !strings.Contains(got, "reviews") {
			t.Errorf("get routerules: %s", got)
		}
		plan := must(t, dir, "explain", "productpage-v1-0", "reviews:9080")
		if !strings.Contains(plan, `"name": "default/reviews"`) {
			t.Errorf("explain does not name the rule that decides:\n%s", plan)
		}

		if code := p.interrupt(); code != 0 {
			t.Errorf("exit code %d after Ctrl-C, want 0", code)
		}
		p.gone()
		for _, port := range []int{8080, 8090, 9080} {
			if !free(t, port) {
				t.Errorf("port %d is not free after the end", port)
			}
		}

		again := start(t, dir, "demo", "--quiet")
		until(t, "red stars after a restart", func() bool {
			body, err := fetch(t, productpage)
			return err == nil && strings.Contains(body, `data-color="red"`)
		})
		if code := again.interrupt(); code != 0 || again.text() != "" {
			t.Errorf("--quiet: exit code %d, printed %q", code, again.text())
		}
	})
}

// When lateen is killed outright, no proxy and no application survives, nor do the children of applications.
func TestKilled(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		dir := home(t)
		p := start(t, dir, "up", "-f", write(t, dir, "mesh.yaml", `apiVersion: lateen.dev/v1alpha1
kind: Mesh
metadata: {name: killed}
spec:
  ingress: {port: 8080}
  services:
    reviews:
      ports: [{name: http, port: 9080}]
      workloads:
        v1: {command: [sh, -c, "sleep 1000 & lateen bookinfo reviews --port=$PORT; true"], ready: {http: /health}}
`))
		p.prints(ready)
		for _, what := range []string{"sleep 1000", "bookinfo reviews", "serve --mesh", "--config-path"} {
			if len(p.processes(what)) == 0 {
				t.Errorf("nothing runs %q", what)
			}
		}
		if err := syscall.Kill(p.cmd.Process.Pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		p.gone()
	})
}

// Killing the control plane stops nothing: it is started again, and takes changes as before.
func TestControlPlaneKilled(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		dir := home(t)
		p := start(t, dir, "demo")
		p.prints(ready)
		page(t, productpage)
		stop := hammer(t, productpage)
		for range 3 {
			old := p.only("serve --mesh")
			if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			page(t, productpage)
			until(t, "another control plane", func() bool {
				now := p.processes("serve --mesh")
				return len(now) == 1 && now[0] != old
			})
			page(t, productpage)
		}
		stop()
		rule := write(t, dir, "rule.yaml", redStars)
		until(t, "the API", func() bool { _, _, code := run(t, dir, "apply", "-f", rule); return code == 0 })
		if !strings.Contains(page(t, productpage), `data-color="red"`) {
			t.Error("a rule that was written after the control plane came back has no effect")
		}
	})
}

// Two meshes run beside one another, each with its own rules.
func TestTwoMeshes(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		dir := home(t)
		one := start(t, dir, "demo", "--mesh", "one")
		two := start(t, dir, "demo", "--mesh", "two", "--ingress-port", "8081", "--admin-port", "8091")
		one.prints(ready)
		two.prints(ready)
		must(t, dir, "apply", "--mesh", "two", "-f", write(t, dir, "rule.yaml", redStars))
		for range 3 {
			if !strings.Contains(page(t, "http://localhost:8081/productpage"), `data-color="red"`) {
				t.Error("the mesh with the rule shows no red stars")
			}
		}
		none := 0
		for range 3 {
			if !strings.Contains(page(t, productpage), star) {
				none++
			}
		}
		if none != 1 {
			t.Errorf("the mesh without rules shows no stars %d times of 3, want once", none)
		}
		if _, stderr, code := run(t, dir, "get", "routerules"); code != 2 || !strings.Contains(stderr, "--mesh") {
			t.Errorf("with two meshes, a command that names none ends with %d: %s", code, stderr)
		}
		for _, p := range []*program{one, two} {
			if code := p.interrupt(); code != 0 {
				t.Errorf("exit code %d", code)
			}
		}
	})
}

// An edit of the Mesh file starts, stops and restarts only what it changes; a broken edit changes nothing and is told.
func TestEditedMeshFile(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		dir := home(t)
		text := must(t, dir, "demo", "--print")
		file := write(t, dir, "mesh.yaml", text)
		p := start(t, dir, "up")
		p.prints(ready)
		pids := func() map[string]int {
			m := map[string]int{}
			for _, name := range []string{"productpage", "details", "reviews --version=v1", "reviews --version=v2", "ratings"} {
				m[name] = p.only("bookinfo " + name)
			}
			return m
		}
		before := pids()
		page(t, productpage)
		stop := hammer(t, productpage)

		// v3 answers as v2 from now on, and one more ratings instance appears.
		edited := strings.Replace(text, "--version=v3", "--version=v2, --ratings=http://ratings.default:9080", 1)
		write(t, dir, "mesh.yaml", strings.Replace(edited, "[lateen, bookinfo, ratings, \"--port=${PORT}\"]", "[lateen, bookinfo, ratings, \"--port=${PORT}\"], replicas: 2", 1))
		until(t, "the edit", func() bool {
			return len(p.processes("bookinfo reviews --version=v3")) == 0 && len(p.processes("bookinfo ratings")) == 2 &&
				len(p.processes("bookinfo reviews --version=v2 --ratings")) == 1
		})
		until(t, "pages without red stars", func() bool {
			for range 6 {
				if strings.Contains(page(t, productpage), `data-color="red"`) {
					return false
				}
			}
			return true
		})

		write(t, dir, "mesh.yaml", strings.Replace(text, "ingress:", "ingres:", 1))
		p.prints("mesh.yaml:7:3: error:")
		page(t, productpage)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		until(t, "the first state", func() bool {
			return len(p.processes("bookinfo reviews --version=v3")) == 1 && len(p.processes("bookinfo ratings")) == 1 &&
				len(p.processes("bookinfo reviews --version=v2")) == 1
		})
		p.prints("Mesh default/bookinfo is good again\n")
		until(t, "the old instances to end", func() bool { return len(p.processes("--config-path")) == 7 })
		stop()
		for name, pid := range pids() {
			if name != "ratings" && pid != before[name] {
				t.Errorf("%s was restarted: no edit has changed it", name)
			}
		}
	})
}

// Each service of the demo runs alone, without a mesh.
func TestServiceAlone(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		p := start(t, home(t), "bookinfo", "reviews", "--version", "v1", "--port", "9080")
		p.prints("ready")
		if body := page(t, "http://localhost:9080/reviews/0"); !strings.Contains(body, "Reviewer1") {
			t.Errorf("reviews answers %s", body)
		}
		if code := p.interrupt(); code != 0 {
			t.Errorf("exit code %d", code)
		}
	})
}
