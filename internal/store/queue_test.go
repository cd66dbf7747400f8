package store_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/store"
)

// moments is a store whose snapshots are noted with their time.
type moments struct {
	*bench
	t     *testing.T
	began time.Time
	said  []string      // "2ms endpoints a"
	cost  time.Duration // of publishing
	calls sync.WaitGroup
}

func startMoments(t *testing.T) *moments {
	t.Helper()
	m := &moments{t: t, began: time.Now()}
	m.bench = startWith(t, func(store.Config) {
		for _, k := range m.published[len(m.published)-1].keys {
			if !k.Follows() {
				m.said = append(m.said, time.Since(m.began).String()+" "+k.String())
			}
		}
		pass(t, m.cost)
	})
	return m
}

// pass lets time pass.
func pass(t *testing.T, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
}

// endpoints hands in endpoints of a host, from a source of their own, and does not wait.
func (m *moments) endpoints(names ...string) {
	m.t.Helper()
	for _, name := range names {
		m.calls.Go(func() {
			m.setRegistry(m.t, name, mesh.Registry{Endpoints: []*mesh.EndpointSet{{Host: mesh.Host(name), Endpoints: []mesh.Endpoint{endpoint("10.0.0.1", name)}}}})
		})
		synctest.Wait()
	}
}

// rules hands in a rule for a host, from a source of its own, and does not wait.
func (m *moments) rules(names ...string) {
	m.t.Helper()
	for _, name := range names {
		m.calls.Go(func() { m.setYAML(m.t, name, says(name, "rules: [{destination: "+name+"}]")) })
		synctest.Wait()
	}
}

func (m *moments) check(want ...string) {
	m.t.Helper()
	m.calls.Wait()
	if !slices.Equal(m.said, want) {
		m.t.Errorf("published %q\nwant %q", m.said, want)
	}
}

func TestFirstChangeGoesAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := startMoments(t)
		m.endpoints("a", "b", "c") // b and c wait for the end of the back-off, and go together
		pass(t, time.Millisecond)
		m.endpoints("d")
		pass(t, 2*time.Millisecond)
		m.endpoints("e") // the back-off is longer after several went together
		m.calls.Wait()
		pass(t, time.Second)
		m.endpoints("f", "g") // and short again after a while
		m.check("0s endpoints a", "2ms endpoints b", "2ms endpoints c", "2ms endpoints d", "6ms endpoints e",
			"1.006s endpoints f", "1.008s endpoints g")
		counters := m.Counters()
		if got := fmt.Sprint(counters.RegistryEvents(), counters.ObjectEvents(), counters.Published.Load(), counters.Merged.Load()); got != "7 0 5 2" {
			t.Errorf("counters: %s", got)
		}
	})
}

func TestEndpointsDoNotWaitForRules(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := startMoments(t)
		m.rules("a", "b", "c") // b and c are held back
		pass(t, time.Millisecond)
		m.endpoints("d", "e") // d goes at once, and takes none of them along
		pass(t, 3*time.Millisecond)
		m.endpoints("f")
		m.check("0s rules a", "1ms endpoints d", "3ms endpoints e", "5ms endpoints f", "5ms rules b", "5ms rules c")
	})
}

// TestNobodyStarves shows that while changes of both classes come without a pause, and publishing takes long, each class
// goes on, and the back-off of rules grows up to its bound.
func TestNobodyStarves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := startMoments(t)
		m.cost = 10 * time.Millisecond
		ctx, stop := context.WithTimeout(t.Context(), 4*time.Second)
		defer stop()
		for i := range 8 {
			for _, change := range []func(text string) error{
				func(text string) error {
					_, err := m.SetRegistry(ctx, fmt.Sprint(i), mesh.Registry{Endpoints: []*mesh.EndpointSet{{
						Host: mesh.Host(fmt.Sprint(i)), Endpoints: []mesh.Endpoint{endpoint("10.0.0.1", text)},
					}}})
					return err
				},
				func(text string) error {
					objects, problems := config.Parse("f", []byte(rule(fmt.Sprintf("r%d", i), "reviews", "v"+text)), "")
					_, err := m.SetObjects(ctx, fmt.Sprint(i), objects, problems)
					return err
				},
			} {
				m.calls.Go(func() {
					for n := 0; ctx.Err() == nil; n++ {
						if err := change(fmt.Sprint(n)); err != nil && !errors.Is(err, context.DeadlineExceeded) {
							t.Error(err)
						}
					}
				})
			}
		}
		m.calls.Wait()
		pass(t, time.Second) // what nobody waits for any more is published too
		synctest.Wait()
		var rules, endpoints int
		for _, p := range m.published {
			if p.keys[0].Kind == mesh.KindRules {
				rules++
			} else {
				endpoints++
			}
		}
		// Rules may take 10 ms out of each 210, endpoints 10 ms out of each 18.
		if rules < 15 || rules > 30 || endpoints < 180 || endpoints > 240 {
			t.Errorf("%d snapshots for rules, %d for endpoints", rules, endpoints)
		}
	})
}

// TestSameSourceStaysInOrder shows that the changes of one source come into force in the order in which they were made.
func TestSameSourceStaysInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := start(t)
		b.setRegistry(t, "local", mesh.Registry{})
		var calls sync.WaitGroup
		for i := range 50 {
			calls.Go(func() {
				if _, err := b.EditRegistry(t.Context(), "local", mesh.RegistryEdit{
					Base: int64(i), Generation: int64(i + 1), Services: []*mesh.Service{service("reviews", i+1)},
				}); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		calls.Wait()
		if got := b.Snapshot().Service(host("reviews")).Ports[0].Number; got != 50 || len(b.published) > 5 {
			t.Errorf("port %d after %d snapshots", got, len(b.published))
		}
	})
}

// TestStopWhileChangesWait shows that whoever waits for a change is told when the store ends before it.
func TestStopWhileChangesWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := store.New(store.Config{Domain: domain, Publish: func(*mesh.Snapshot, []mesh.Key) {}, Log: slog.New(slog.DiscardHandler)})
		ctx, stop := context.WithCancel(t.Context())
		var calls sync.WaitGroup
		calls.Go(func() { _ = s.Run(ctx) })
		set := func(i int) (int64, error) {
			return s.SetRegistry(t.Context(), "local", mesh.Registry{Services: []*mesh.Service{service("reviews", i)}})
		}
		if revision, err := set(1); revision != 1 || err != nil {
			t.Errorf("revision %d, %v", revision, err)
		}
		for i := range 10 {
			calls.Go(func() {
				if _, err := set(i + 2); !errors.Is(err, store.ErrStopped) {
					t.Errorf("a change that waited: %v", err)
				}
			})
		}
		synctest.Wait() // they are held back
		stop()
		calls.Wait()
	})
}
