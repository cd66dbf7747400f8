package bench

import (
	"slices"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/api"
)

// rig is a server that knows a mesh, and the proxies of that mesh, not connected yet.
type rig struct {
	testing.TB
	*world
	server *server
	fleet  *fleet
}

func newRig(tb testing.TB, w *world, cpu int) *rig {
	tb.Helper()
	r := &rig{TB: tb, world: w, server: newServer(tb, cpu)}
	r.fleet = newFleet(tb, r.server.socket(), w)
	r.tell()
	r.write(w.rules())
	return r
}

// tell says what there is, all of it.
func (r *rig) tell() (revision int64) {
	r.Helper()
	revision, err := r.server.api.PutRegistry(r.Context(), r.registry)
	if err != nil {
		r.Fatal(err)
	}
	return revision
}

// moveAll moves an endpoint of each of these services.
func (r *rig) moveAll(hosts ...int) (revision int64) {
	for _, h := range hosts {
		r.move(h)
	}
	return r.tell()
}

// write writes objects.
func (r *rig) write(text string) {
	r.Helper()
	written, err := r.server.api.Write(r.Context(), api.Write{Op: api.Apply, Files: []api.File{{Name: "bench", Text: text}}})
	if err != nil {
		r.Fatal(err)
	}
	if len(written.Problems) > 0 {
		r.Fatal(written.Problems)
	}
}

// inSync waits until every proxy is connected and has confirmed all that concerns it, and the server says so.
func (r *rig) inSync(proxies int) {
	r.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !r.synced(proxies); <-tick.C {
		if time.Now().After(end) {
			r.Fatalf("not in sync after %v", patience)
		}
	}
}

func (r *rig) synced(proxies int) bool {
	r.Helper()
	status, err := r.server.api.Status(r.Context())
	if err != nil {
		r.Fatal(err)
	}
	if !status.Ready || status.Proxies != proxies {
		return false
	}
	if proxies == 0 {
		return true
	}
	progress, err := r.server.api.Progress(r.Context(), status.Revision, patience)
	if err != nil {
		r.Fatal(err)
	}
	if !progress.Done() {
		return false
	}
	list, err := r.server.api.Proxies(r.Context())
	if err != nil {
		r.Fatal(err)
	}
	return len(list) == proxies && !slices.ContainsFunc(list, func(p api.Proxy) bool { return !p.Current || p.Revision < 0 })
}
