package local

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

const proxylessMesh = `
apiVersion: lateen.dev/v1alpha1
kind: Mesh
metadata: {name: town}
spec:
  services:
    web:
      ports: [{name: http, port: 9080}]
      workloads:
        v1: {command: [APP, "on ${PORT}"], proxyless: true}
`

// A workload without a proxy is told where its gRPC library finds Lateen, and others reach it as it listens.
func TestProxyless(t *testing.T) {
	t.Parallel()
	w := newTown(t, proxylessMesh)
	w.running()
	w.awaitEndpoints("web", "web-v1-0 healthy")
	r := w.last()
	if m := r.Workloads[0]; len(r.Workloads) != 1 || m.Type != mesh.Proxyless || m.Running || m.Serves[0].Listen != 0 {
		t.Errorf("workloads %+v", r.Workloads)
	}
	env := strings.Split(w.get(w.url("web", "web-v1-0", "/env")), "\n") // from where it listens itself
	bootstrap := filepath.Join(w.config.StateDir, "proxies", "web-v1-0.default", "bootstrap.json")
	if !slices.Contains(env, "GRPC_XDS_BOOTSTRAP="+bootstrap) {
		t.Errorf("the environment has no %s", bootstrap)
	}
	if port := r.Endpoints[0].Endpoints[0].Ports["http"]; !slices.Contains(env, "PORT="+strconv.Itoa(port)) {
		t.Errorf("the environment says another port than %d", port)
	}
	for _, pair := range env {
		if name, value, _ := strings.Cut(pair, "="); strings.EqualFold(name, "HTTP_PROXY") && strings.Contains(value, net.JoinHostPort(r.Workloads[0].Address, "")) {
			t.Errorf("the environment has %s", pair)
		}
	}
	if file, err := os.Stat(bootstrap); err != nil || file.Mode().Perm() != 0o600 {
		t.Errorf("bootstrap: %v, %v", file.Mode(), err)
	}
	w.write(strings.Replace(proxylessMesh, ", proxyless: true", "", 1)) // and with one
	w.await("a sidecar", func() bool {
		r := w.last()
		return len(r.Workloads) == 1 && r.Workloads[0].Type == mesh.Sidecar && r.Workloads[0].Running
	})
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
}

// A workload without a proxy has no local addresses, and one that runs by itself has no proxy to be without.
func TestProxylessProblems(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{command: [APP, "${UPSTREAM_WEB_9080}"], proxyless: true}`: "a workload without a proxy has no local addresses",
		`{address: "127.0.0.1:9000", proxyless: true}`:              "one with an address runs already",
	} {
		_, problems := parse(t, strings.Replace(proxylessMesh, `{command: [APP, "on ${PORT}"], proxyless: true}`, text, 1))
		if len(problems) != 1 || !strings.Contains(problems[0].Message, want) {
			t.Errorf("%s: %v, want %q", text, problems, want)
		}
	}
}
