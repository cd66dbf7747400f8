package meshtest_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/lateen-mesh/lateen/internal/meshtest"
)

// most is how many virtual hosts a sidecar holds, see push.TestTooManyNames.
const most = 4096

// A workload that calls names that nobody knows is answered each time; what it calls already goes on, and another workload,
// under load, does not notice. At full length there are more names than a sidecar may hold.
func TestLoadFlood(t *testing.T) {
	names := 400
	if meshtest.FullLoad() {
		names = 5000
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
	var unknown, tooMany atomic.Int64
	var running sync.WaitGroup
	for n := range callers {
		client := flooding.Client()
		running.Go(func() {
			for i := range names / callers {
				_, err := meshtest.Fetch(t.Context(), client, fmt.Sprintf("http://n%d-%d:9080/", n, i))
				switch {
				case err == nil:
					t.Errorf("a name that nobody knows is answered with 200")
				case strings.Contains(err.Error(), "no service"):
					unknown.Add(1)
				case strings.Contains(err.Error(), "503"):
					tooMany.Add(1)
				default:
					t.Error(err)
				}
			}
		})
	}
	running.Wait()
	load.Stop("beside a flood of names")
	t.Logf("%d names unknown, %d too many; Envoy has %d MiB more", unknown.Load(), tooMany.Load(), (flooding.Stat("server.memory_allocated")-before)>>20)
	proxies, err := m.API.Proxies(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range proxies {
		if n, want := p.Holds["virtual-host"], min(names+2, most); p.ID == flooding.ID() && n != want {
			t.Errorf("it holds %d virtual hosts, want %d", n, want)
		}
	}
	m.Apply(rule("all", "route: [{labels: {version: v2}}]"))
	wantBody(t, flooding, reviews, "v2")
}
