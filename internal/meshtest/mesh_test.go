package meshtest_test

import (
	"testing"

	"github.com/lateen-mesh/lateen/internal/meshtest"
)

// A request of one workload reaches another through both their Envoys.
func TestMesh(t *testing.T) {
	t.Parallel()
	m := meshtest.New(t)
	m.Start("reviews", "v1", meshtest.Named("v1"))
	caller := m.Caller("caller", nil)
	if status, body := caller.Get("http://reviews:9080/"); status != 200 || body != "v1" {
		t.Errorf("got %d %q, want 200 v1", status, body)
	}
}
