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
	"github.com/lateen-mesh/lateen/internal/testkit"
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

// A change of policies is told when it begins and when it is in force, each once; nothing is told of services that come and go.
func TestPolicyChangesAreTold(t *testing.T) {
	t.Parallel()
	read := func(settings, web, db string) policies {
		m, problems := parse(t, document("  settings: {"+settings+"}\n  services:\n    web: {ports: [{name: http, port: 80}, {name: grpc, port: 70}]"+web+"}\n"+db))
		if m == nil {
			t.Fatal(problems)
		}
		return m.policies()
	}
	const db = "    db: {ports: [{name: mysql, port: 3306}]}\n"
	const web = "web.east.svc.cluster.local"
	first := read("", "", db)
	for name, c := range map[string]struct {
		to   policies
		want string
	}{
		"nothing":       {first, " "},
		"the same":      {read("authPolicy: PERMISSIVE", "", db), " "},
		"all":           {read("authPolicy: MUTUAL_TLS", "", db), "2 services MUTUAL_TLS"},
		"one":           {read("", ", annotations: {auth.istio.io/80: NONE}", db), web + " NONE"},
		"two ways":      {read("authPolicy: MUTUAL_TLS", ", annotations: {auth.istio.io/80: NONE}", db), "2 services other policies"},
		"excluded":      {read("mtlsExcludedServices: [web]", "", db), web + " NONE"},
		"one that goes": {read("", "", ""), " "},
		"one that came": {read("", "", db+"    new: {ports: [{name: http, port: 80}], annotations: {auth.istio.io/80: NONE}}\n"), " "},
	} {
		if who, what := first.change(c.to); who+" "+what != c.want {
			t.Errorf("%s: %q to %q, want %q", name, who, what, c.want)
		}
	}

	var out testkit.Output
	release := make(chan bool)
	f := follower{console: newConsole(Config{Stdout: &out, Stderr: &out}), inForce: func(ctx context.Context, _ int64) bool {
		select {
		case <-release:
			return true
		case <-ctx.Done():
			return false
		}
	}}
	f.follow(t.Context(), first, 1)
	f.follow(t.Context(), read("authPolicy: NONE", "", db), 2)
	f.follow(t.Context(), read("authPolicy: MUTUAL_TLS", "", db), 3) // before the other one is in force
	release <- true
	f.waiting.Wait()
	f.follow(t.Context(), read("authPolicy: MUTUAL_TLS", ", annotations: {auth.istio.io/80: NONE}", db), 4)
	f.stop()
	const want = "settings: 2 services change to NONE\nsettings: 2 services change to MUTUAL_TLS\n" +
		"settings: the change of 2 services to MUTUAL_TLS is in force\nsettings: " + web + " changes to NONE\n"
	if got := out.String(); got != want {
		t.Errorf("told is\n%s, want\n%s", got, want)
	}
}

// A change is in force when the revision that it came with is, whatever came after it, also when another control plane gives it
// another revision.
func TestInForce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		plane := &slowPlane{}
		plane.progress.Store(&api.Progress{Reached: true, Handovers: []string{"reviews: …"}})
		r := newRoster()
		a := newAnnouncer(plane, r, func() {})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { a.run(ctx); close(ended) }()
		number := r.offer(nil, mesh.DefaultSettings, nil)
		is := make(chan bool, 1)
		go func() { is <- a.inForce(ctx, number) }()
		for _, step := range []api.Progress{{Revision: -1}, {}, {Reached: true, Waiting: []string{"a"}}} {
			<-time.After(time.Hour)
			plane.progress.Store(&step)
		}
		<-time.After(time.Hour)
		select {
		case <-is:
			t.Error("it is in force before it is")
		default:
		}
		plane.progress.Store(&api.Progress{Reached: true})
		if !<-is {
			t.Error("it is not in force")
		}
		cancel()
		<-ended
		if a.inForce(ctx, number+1) {
			t.Error("what never came is in force")
		}
	})
}
