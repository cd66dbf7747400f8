package serve

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/peers"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/store"
)

// sighted is a source that has seen some objects.
type sighted struct{ seen, moved []mesh.Ref }

func (s *sighted) Moved() []mesh.Ref {
	moved := s.moved
	s.moved = nil
	return moved
}

func (s *sighted) Sights() []mesh.Ref { return s.seen }

func (s *sighted) Sight(ref mesh.Ref) (config.Object, mesh.Sight, bool) {
	return config.Object{}, mesh.Sight{}, slices.Contains(s.seen, ref)
}

// feed is what a replica says of the objects of a cluster, and another one that asks it.
type feed struct {
	*reachFeed
	t      *testing.T
	source *sighted
	asks   peers.ReachQuestion
}

func newFeed(t *testing.T) *feed {
	t.Helper()
	engine := push.NewEngine(push.Config{Log: slog.New(slog.DiscardHandler), Reaches: true})
	s := store.New(store.Config{Kinds: Kinds(), Domain: Domain, Sources: []string{"cluster"}, Publish: engine.Apply, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = s.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	source := &sighted{}
	ours := func(mesh.Ref) bool { return true }
	f := &feed{reachFeed: newReachFeed(s, engine, source, "cluster", ours, func() bool { return true }), t: t, source: source}
	if _, err := s.SetRegistry(ctx, "cluster", mesh.Registry{}); err != nil {
		t.Fatal(err)
	}
	return f
}

// has gives the cluster these rules and no others. The source has seen them when the store has them, or sees none.
func (f *feed) has(seen bool, names ...string) {
	f.t.Helper()
	var objects []config.Object
	for _, name := range names {
		text := fmt.Sprintf("apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {name: %s}\nspec: {destination: {name: a}}\n", name)
		all, problems := config.Parse("cluster", []byte(text), "default")
		if len(problems) > 0 {
			f.t.Fatal(problems)
		}
		objects = append(objects, all...)
	}
	f.source.seen = nil
	for _, o := range objects {
		if seen {
			f.source.seen = append(f.source.seen, o.Ref)
		}
	}
	if _, err := f.store.SetObjects(f.t.Context(), "cluster", objects, nil); err != nil {
		f.t.Fatal(err)
	}
}

// told returns what the other one is told, "a" or, when it is gone, "-a".
func (f *feed) told() string {
	news := f.News(f.asks)
	f.asks = peers.ReachQuestion{Epoch: news.Epoch, After: news.Upto}
	var all []string
	for _, row := range news.Rows {
		if row.Version == "" {
			row.Object.Name = "-" + row.Object.Name
		}
		all = append(all, row.Object.Name)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func (f *feed) expect(when, want string) {
	f.t.Helper()
	if got := f.told(); got != want {
		f.t.Errorf("%s: told is %q, want %q", when, got, want)
	}
}

// Another replica is told of objects that are gone, once, and of those that are made again with the same words. What the store has
// counts, whether the source sees it or not in that moment.
func TestReplicasAreToldWhatIsGone(t *testing.T) {
	t.Parallel()
	f := newFeed(t)
	f.has(true, "a", "b")
	f.expect("at first", "a b")
	f.expect("then", "")
	f.has(true, "b")
	f.expect("when one is gone", "-a")
	f.has(true, "a", "b")
	f.expect("when it is made again", "a")
	f.has(false, "a", "b", "c")
	f.expect("when they are made again in that moment", "")
	f.has(true, "c")
	f.expect("when others are gone", "-a -b c")
	f.asks = peers.ReachQuestion{}
	f.expect("who knows nothing", "c")
}

// Of objects that are gone only so many rows are kept: then everybody is told everything anew.
func TestRowsOfWhatIsGoneAreBounded(t *testing.T) {
	t.Parallel()
	f := newFeed(t)
	var names []string
	for i := range mostGone + 1 {
		names = append(names, fmt.Sprint("r", i))
	}
	f.has(true, append(names, "a")...)
	if f.told(); len(f.rows) != len(names)+1 {
		t.Fatalf("%d rows at first", len(f.rows))
	}
	f.told() // the rest
	f.has(true, "a")
	f.expect("when more are gone than are kept", "a")
	if n := len(f.rows); n != 1 {
		t.Errorf("%d rows are kept", n)
	}
}

// While nobody asks, no names are kept.
func TestNoNamesAreKeptForNobody(t *testing.T) {
	t.Parallel()
	f := newFeed(t)
	j := &Judge{plane: &Plane{}, feed: f.reachFeed}
	f.has(true, "a")
	f.source.moved = f.source.seen
	f.told()
	if n := len(f.recent); n != 1 {
		t.Fatalf("%d names are kept", n)
	}
	j.Rest()
	if n := len(f.recent) + len(f.source.moved); n != 0 {
		t.Errorf("%d names are kept", n)
	}
}
