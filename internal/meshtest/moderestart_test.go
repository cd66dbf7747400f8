package meshtest_test

import (
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
)

// The control plane is restarted while the mesh goes from plain text to mutual TLS and back, under load: the next one goes on
// where it was, and nothing fails.
func TestLoadModeRestart(t *testing.T) {
	rounds := 1
	if meshtest.FullLoad() {
		rounds = 10
	}
	m := meshtest.New(t)
	m.Start("reviews", "v1", meshtest.Named("v1"))
	m.Apply(reviewsDoor)
	door, caller := m.Door(), m.Start("caller", "v1", meshtest.Named("caller"))
	wantBody(t, caller, reviews, "v1")
	inside, outside := meshtest.StartLoad(t, caller, reviews), meshtest.StartLoad(t, door, "http://door/")
	for range rounds {
		for _, mode := range []mesh.AuthPolicy{mesh.AuthNone, mesh.AuthMutualTLS, mesh.AuthNone, mesh.AuthPermissive} {
			m.TryEdit(func(r *mesh.Registry) {
				settings := mesh.DefaultSettings
				settings.AuthPolicy = mode
				r.Settings = &settings
			})
			moving, err := m.API.Handovers(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(moving) == 0 {
				t.Errorf("on the way to %s nothing is under way", mode)
			}
			inside.More(requestsBetween / 4)
			m.Restart()
			wantMode(t, caller, mode)
			inside.More(requestsBetween)
		}
	}
	inside.Stop("service to service")
	outside.Stop("through the ingress")
}
