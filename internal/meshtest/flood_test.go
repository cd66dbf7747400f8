package meshtest_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
)

// A workload that calls thousands of names that nobody knows is answered each time, and neither its own Envoy nor another
// workload, under load, notices. What it calls already goes on; a service that appears under one of the names is reached.
func TestLoadFlood(t *testing.T) {
	const most, told = 4096, 256 // see push.TestTooManyNames
	names := 600
	if meshtest.FullLoad() {
		names = 4000
	}
	m, caller := reviewsMesh(t)
	flooding := m.Caller("flooding", nil)
	for _, i := range []*meshtest.Instance{caller, flooding} {
		if status, _ := i.Get(reviews); status != http.StatusOK {
			t.Fatalf("%s before the flood: %d", i.Name, status)
		}
	}
	before := flooding.Stat("server.memory_allocated")
	load := meshtest.StartLoad(t, caller, reviews)
	const callers = 20
	var explained, short atomic.Int64
	var running sync.WaitGroup
	for n := range callers {
		client := flooding.Client()
		running.Go(func() {
			for i := range names / callers {
				_, err := meshtest.Fetch(t.Context(), client, fmt.Sprintf("http://n%d-%d:9080/", n, i))
				switch {
				case err == nil:
					t.Error("a name that nobody knows is answered with 200")
				case strings.Contains(err.Error(), "no service"):
					explained.Add(1)
				case strings.Contains(err.Error(), "404"):
					short.Add(1)
				default:
					t.Error(err)
				}
			}
		})
	}
	running.Wait()
	load.Stop("beside a flood of names")
	more := flooding.Stat("server.memory_allocated") - before
	t.Logf("%d names explained, %d not; Envoy has %d MiB more", explained.Load(), short.Load(), more>>20)
	if n := explained.Load(); n < told-2 || n > told { // _init and reviews are two of them
		t.Errorf("%d names are explained, want %d", n, told)
	}
	if more > 32<<20 {
		t.Errorf("%d names cost Envoy %d MiB", names, more>>20)
	}
	proxies, err := m.API.Proxies(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range proxies {
		if n, want := p.Holds["virtual-host"], min(names+2, most); p.ID == flooding.ID() && n != want {
			t.Errorf("%d virtual hosts are kept for it, want %d", n, want)
		}
	}
	m.Apply(rule("all", "route: [{labels: {version: v2}}]"))
	wantBody(t, flooding, reviews, "v2")
	m.Restart() // its Envoy asks for all names anew
	late := fmt.Sprintf("n%d-%d", callers-1, names/callers-1)
	m.Start(late, "v1", meshtest.Named("late"))
	wantBody(t, flooding, "http://"+late+":9080/", "late")
	m.Edit(func(r *mesh.Registry) { r.Services, r.Endpoints = r.Services[:1], r.Endpoints[:1] })
	if status, body := flooding.Get("http://" + late + ":9080/"); status != http.StatusBadGateway {
		t.Errorf("a service that is gone: %d %q", status, body)
	}
	wantBody(t, flooding, reviews, "v2")
}
