package local

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// slowPlane is a control plane whose every revision is as far as a test says.
type slowPlane struct{ progress atomic.Pointer[api.Progress] }

func (p *slowPlane) PutRegistry(context.Context, mesh.Registry) (int64, error) { return 1, nil }

func (p *slowPlane) EditRegistry(context.Context, mesh.RegistryEdit) (int64, error) { return 2, nil }

func (p *slowPlane) NewToken(context.Context, api.NewToken) (api.JoinToken, error) {
	return api.JoinToken{}, errors.New("nobody asks for tokens here")
}

func (p *slowPlane) Progress(ctx context.Context, _ int64, wait time.Duration) (api.Progress, error) {
	now := *p.progress.Load()
	if now.Revision < 0 {
		return api.Progress{}, errors.New("it has ended")
	}
	if !now.Done() {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return api.Progress{}, ctx.Err()
		}
	}
	return now, nil
}

// A proxy that does not confirm holds up nothing for long; but an instance that callers must not call yet, since they do not all
// accept its identity, is not counted as ready before they do, however long that takes.
func TestSettleWaitsForHandovers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		progress api.Progress
		want     time.Duration
	}{
		"confirmed":  {api.Progress{Reached: true}, 0},
		"silent":     {api.Progress{Reached: true, Waiting: []string{"a"}}, 10 * time.Second},
		"handed on":  {api.Progress{Reached: true, Handovers: []string{"reviews: …"}}, time.Hour},
		"not there":  {api.Progress{}, 10 * time.Second},
		"both waits": {api.Progress{Reached: true, Waiting: []string{"a"}, Handovers: []string{"reviews: …"}}, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				plane := &slowPlane{}
				plane.progress.Store(&c.progress)
				a := newAnnouncer(plane, newRoster(), func() {})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				go a.run(ctx)
				number := a.roster.bump()
				began := time.Now()
				// Meanwhile it ends, and the next one has to begin.
				defer time.AfterFunc(time.Minute, func() { plane.progress.Store(&api.Progress{Revision: -1}) }).Stop()
				defer time.AfterFunc(2*time.Minute, func() { plane.progress.Store(&api.Progress{}) }).Stop()
				defer time.AfterFunc(time.Hour, func() { plane.progress.Store(&api.Progress{Reached: true}) }).Stop()
				if settled := a.settle(ctx, number, 10*time.Second); !settled {
					t.Error("it is not settled")
				}
				if took := time.Since(began); took < c.want || took > c.want+2*time.Second {
					t.Errorf("it took %v, want %v", took, c.want)
				}
				plane.progress.Store(&api.Progress{Reached: true, Handovers: []string{"…"}})
				time.AfterFunc(time.Minute, cancel)
				if a.settle(ctx, number, 10*time.Second) {
					t.Error("it is settled, and nobody waits any more")
				}
			})
		})
	}
}
