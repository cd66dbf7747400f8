package meshtest_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
)

// Every workload reaches every other one, and itself, over HTTP, gRPC and bytes, by the short name and by that with the
// namespace; and the access logs of both ends say so.
func TestReachability(t *testing.T) {
	t.Parallel()
	m := meshtest.New(t)
	names := []string{"a", "b", "c"}
	instances := map[string]*meshtest.Instance{}
	var upstreams []mesh.Upstream
	for _, name := range names {
		upstreams = append(upstreams, mesh.Upstream{Host: meshtest.HostOf(name), Port: 90})
	}
	for _, name := range names {
		instances[name] = m.StartSpec(meshtest.Spec{Service: name, Version: "v1", Upstreams: upstreams, Ports: []meshtest.SpecPort{
			{Name: "http", Number: 80, App: meshtest.Named(name + " 80")},
			{Name: "http-two", Number: 8080, App: meshtest.Named(name + " 8080")},
			{Name: "grpc", Number: 70, Target: (&greeterService{version: name}).serve(t)},
			{Name: "tcp", Number: 90, Target: greeter(t, name)},
		}})
	}
	for _, from := range names {
		for _, to := range names {
			reaches(t, instances[from], to)
		}
	}
	for _, i := range instances {
		// To and from each of the three: 6 plain requests, 2 calls, 1 connection that is over. Tunnels are still open.
		const lines = 2 * 3 * (6 + 2 + 1)
		meshtest.Await(t, fmt.Sprintf("%d lines in the access log of %s", lines, i.Name), func() bool { return len(logLines(i)) >= lines })
	}
}

// reaches calls a service in every way.
func reaches(t *testing.T, from *meshtest.Instance, to string) {
	t.Helper()
	for _, spelling := range []string{to, to + ".default", to + ".default.svc.cluster.local"} {
		wantAnswer(t, from, "http://"+spelling, http.StatusOK, to+" 80")
		wantAnswer(t, from, "http://"+spelling+":8080", http.StatusOK, to+" 8080")
	}
	for _, spelling := range []string{to, to + ".default"} {
		if version, err := check(t, grpcClient(t, from, spelling+":70"), ""); err != nil || version != to {
			t.Errorf("gRPC from %s to %s: %q, %v", from.Name, spelling, version, err)
		}
		status, conn, reader := connect(t, from, spelling+":90")
		if who, _, _ := greeted(t, conn, reader); status != http.StatusOK || who != to {
			t.Errorf("bytes from %s to %s: %d %q", from.Name, spelling, status, who)
		}
	}
	if who, conn, _ := greeting(t, from.Upstream(to, 90)); who != to {
		t.Errorf("bytes from %s to %s by local address: %q", from.Name, to, who)
	} else {
		_ = conn.Close()
	}
}

// logLines returns the lines that an instance's proxy has written so far.
func logLines(i *meshtest.Instance) []string {
	text, err := os.ReadFile(filepath.Join(i.Dir, "access.log"))
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

// Both instances of a service call it at once, over and over, without an error.
func TestServiceCallsItself(t *testing.T) {
	t.Parallel()
	m := meshtest.New(t)
	one := m.Start("echosrv", "v1", meshtest.Named("v1"))
	two := m.Start("echosrv", "v2", meshtest.Named("v2"))
	target := fmt.Sprintf("http://echosrv.%s:%d/echo", meshtest.Namespace, meshtest.ServicePort)
	failed := make(chan error, 2)
	for _, i := range []*meshtest.Instance{one, two} {
		client := i.Client()
		go func() {
			for range 500 {
				if _, err := meshtest.Fetch(t.Context(), client, target); err != nil {
					failed <- err
					return
				}
			}
			failed <- nil
		}()
	}
	for range 2 {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
}
