package meshtest_test

import (
	"net/http"
	"testing"

	"github.com/lateen-mesh/lateen/internal/meshtest"
)

// The first call to a host while no control plane runs waits, and is answered when there is one again; hosts that are
// known go on meanwhile.
func TestFirstCallWhileAway(t *testing.T) {
	t.Parallel()
	m, caller := reviewsMesh(t)
	m.Start("ratings", "v1", meshtest.Named("ratings"))
	m.Apply(rule("all", "route: [{labels: {version: v1}}]"))
	wantBody(t, caller, reviews, "v1")
	m.Stop()
	const calls = 10
	client := caller.Client()
	answered := make(chan string, calls)
	for range calls {
		go func() {
			body, err := meshtest.Fetch(t.Context(), client, "http://ratings:9080/")
			if err != nil {
				body = err.Error()
			}
			answered <- body
		}()
	}
	meshtest.Await(t, "the calls to wait", func() bool { return caller.Stat("http.outbound.downstream_rq_active") == calls })
	wantBody(t, caller, reviews, "v1")
	if len(answered) > 0 {
		t.Errorf("a call is answered while no control plane runs: %q", <-answered)
	}
	m.StartPlane("")
	for range calls {
		if body := <-answered; body != "ratings" {
			t.Errorf("a call that waited: %q, want %q", body, "ratings")
		}
	}
	if status, _ := caller.Get("http://ratings:9080/"); status != http.StatusOK {
		t.Errorf("a later call: %d", status)
	}
}
