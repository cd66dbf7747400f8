package bench

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// rig is a server that knows a mesh, and the proxies of that mesh, not connected yet.
type rig struct {
	*world
	*base
}

// base is a server with proxies, wherever the server knows the mesh from.
type base struct {
	testing.TB
	server *server
	fleet  *fleet
}

func newRig(tb testing.TB, w *world, cpu int) *rig {
	tb.Helper()
	r := &rig{w, &base{TB: tb, server: newServer(tb, cpu)}}
	r.fleet = newFleet(tb, r.server, w.members())
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

// edit tells what has changed.
func (r *rig) edit(e mesh.RegistryEdit) (revision int64) {
	r.Helper()
	revision, err := r.server.api.EditRegistry(r.Context(), e)
	if err != nil {
		r.Fatal(err)
	}
	return revision
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

// connected waits until so many proxies are.
func (r *base) connected(proxies int) {
	r.Helper()
	r.until("connected", func() bool { return r.status().Proxies == proxies })
}

// inSync waits until every proxy is connected and has confirmed all that concerns it, and the server says so.
func (r *base) inSync() {
	r.Helper()
	r.until("in sync", func() bool {
		status := r.status()
		if !status.Ready || status.Proxies != len(r.fleet.proxies) {
			return false
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
		behind := func(p api.Proxy) bool { return !p.Current || p.Revision < 0 }
		return len(list) == len(r.fleet.proxies) && !slices.ContainsFunc(list, behind)
	})
}

func (r *base) status() api.Status {
	r.Helper()
	status, err := r.server.api.Status(r.Context())
	if err != nil {
		r.Fatal(err)
	}
	return status
}

func (r *base) until(what string, is func() bool) {
	r.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !is(); <-tick.C {
		if time.Now().After(end) {
			r.Fatalf("not %s after %v: %s", what, patience, r.behind())
		}
	}
}

// behind tells what is waited for, resource by resource.
func (r *base) behind() string {
	r.Helper()
	status := r.status()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), 10*time.Second)
	defer cancel()
	progress, err := r.server.api.Progress(ctx, status.Revision, 0)
	text := fmt.Sprintf("%+v, %+v (%v)", status, progress, err)
	list, err := r.server.api.Proxies(ctx)
	if err != nil {
		return text + ", " + err.Error()
	}
	for i := range list {
		p := &list[i]
		if p.Current && p.Revision >= 0 {
			continue
		}
		text += fmt.Sprintf("\n%+v", *p)
		sent, err := r.server.api.Resources(ctx, string(p.ID), "")
		if err != nil {
			text += " " + err.Error()
		}
		for _, s := range sent.Resources {
			if s.Wanted != s.Confirmed || s.Sent != s.Confirmed {
				text += fmt.Sprintf("\n  %s %s wanted %q sent %q confirmed %q: %s", s.Kind, s.Name, s.Wanted, s.Sent, s.Confirmed, s.Body)
			}
		}
	}
	return text
}
