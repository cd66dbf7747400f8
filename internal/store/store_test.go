package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/dialect/ingress"
	"github.com/lateen-mesh/lateen/internal/dialect/v1alpha2"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/store"
)

const domain = "cluster.local"

// bench is a running store with counters around it.
type bench struct {
	*store.Store
	translations atomic.Int64
	published    []publication
	log          bytes.Buffer
}

type publication struct {
	snapshot *mesh.Snapshot
	keys     []mesh.Key
}

// start runs a store, inside a synctest bubble, until the test ends.
func start(t *testing.T, sources ...string) *bench {
	t.Helper()
	return startWith(t, func(store.Config) {}, sources...)
}

func startWith(t *testing.T, onPublish func(store.Config), sources ...string) *bench {
	t.Helper()
	b := &bench{}
	kinds := append(v1alpha2.Kinds(domain), ingress.Kinds(domain)...)
	for i := range kinds {
		translate := kinds[i].Translate
		kinds[i].Translate = func(o *config.Object) (config.Meaning, []mesh.Problem) {
			b.translations.Add(1)
			return translate(o)
		}
	}
	kinds = append(kinds, config.Kind{Name: "Mesh", APIVersions: []string{"lateen.dev/v1alpha1"}}, said)
	c := store.Config{Kinds: kinds, Domain: domain, Sources: sources, Log: slog.New(slog.NewTextHandler(&b.log, nil))}
	c.Publish = func(s *mesh.Snapshot, keys []mesh.Key) {
		b.published = append(b.published, publication{s, keys})
		onPublish(c)
	}
	b.Store = store.New(c)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- b.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Run ended with %v", err)
		}
	})
	return b
}

// setYAML hands in the objects of a file.
func (b *bench) setYAML(t *testing.T, source, text string) int64 {
	t.Helper()
	objects, problems := config.Parse(source+".yaml", []byte(text), "")
	revision, err := b.SetObjects(t.Context(), source, objects, problems)
	if err != nil {
		t.Fatal(err)
	}
	return revision
}

func (b *bench) setRegistry(t *testing.T, source string, r mesh.Registry) int64 {
	t.Helper()
	revision, err := b.SetRegistry(t.Context(), source, r)
	if err != nil {
		t.Fatal(err)
	}
	return revision
}

func (b *bench) problems() string {
	var text strings.Builder
	for _, p := range b.Problems() {
		fmt.Fprintln(&text, p)
	}
	return text.String()
}

// takeKeys returns the keys published since it was last asked.
func (b *bench) takeKeys() string {
	var keys []string
	for _, p := range b.published {
		for _, k := range p.keys {
			if !k.Follows() {
				keys = append(keys, k.String())
			}
		}
	}
	b.published = nil
	return strings.Join(keys, ", ")
}

func rule(name, service, version string) string {
	return fmt.Sprintf("---\napiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {name: %s}\n"+
		"spec: {destination: {name: %s}, route: [{labels: {version: %s}}]}\n", name, service, version)
}

func host(name string) mesh.Host { return mesh.ServiceHost(name, "default", domain) }

func service(name string, ports ...int) *mesh.Service {
	s := &mesh.Service{Host: host(name), Name: name, Namespace: "default"}
	for _, p := range ports {
		s.Ports = append(s.Ports, mesh.Port{Name: "http", Number: p, Protocol: mesh.HTTP})
	}
	return s
}

func endpoint(address, version string) mesh.Endpoint {
	return mesh.Endpoint{Address: address, Labels: mesh.Labels{"version": version}, Health: mesh.Healthy}
}

func versions(s *mesh.Snapshot, name string) string {
	var all []string
	if set := s.Rules(host(name)); set != nil {
		for _, r := range set.Rules {
			all = append(all, r.Object.Name+"="+r.Routes[0].Labels["version"])
		}
	}
	return strings.Join(all, " ")
}

func TestNothingIsPublishedBeforeEverySourceReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, "file", "local")
		if got := b.Missing(); !slices.Equal(got, []string{"file", "local"}) {
			t.Errorf("missing: %v", got)
		}
		if revision := b.setYAML(t, "file", rule("a", "reviews", "v1")); revision != 0 || len(b.published) > 0 {
			t.Errorf("published %d snapshots at revision %d", len(b.published), revision)
		}
		if got := b.problems(); got != "" {
			t.Errorf("the registry is not there yet, and still: %s", got)
		}
		if len(b.Objects()) != 1 {
			t.Errorf("objects: %v", b.Objects())
		}
		b.setRegistry(t, "optional", mesh.Registry{Services: []*mesh.Service{service("details")}})
		revision := b.setRegistry(t, "local", mesh.Registry{Services: []*mesh.Service{service("reviews")}})
		if want := "rules reviews.default.svc.cluster.local, service details.default.svc.cluster.local, service reviews.default.svc.cluster.local, services "; revision != 1 || b.takeKeys() != want {
			t.Errorf("revision %d", revision)
		}
		if got := b.Missing(); len(got) > 0 {
			t.Errorf("missing: %v", got)
		}
	})
}

func TestFirstSnapshotIsPublishedEvenWhenEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, "file")
		b.setYAML(t, "file", "")
		b.setYAML(t, "file", "# nothing yet\n")
		if len(b.published) != 1 || b.published[0].snapshot != b.Snapshot() {
			t.Errorf("published %d snapshots", len(b.published))
		}
	})
}

func TestCostFollowsChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, "file")
		file := rule("a", "reviews", "v1") + rule("b", "ratings", "v1") + rule("c", "reviews", "v2")
		for _, step := range []struct {
			name, file   string
			translations int64
			keys         string
		}{
			{"all", file, 3, "rules ratings.default.svc.cluster.local, rules reviews.default.svc.cluster.local"},
			{"the same again", file, 0, ""},
			{"one changed", strings.Replace(file, "ratings}, route: [{labels: {version: v1}}", "ratings}, route: [{labels: {version: v2}}", 1), 1, "rules ratings.default.svc.cluster.local"},
			{"one back and one gone", rule("a", "reviews", "v1") + rule("b", "ratings", "v1"), 1, "rules ratings.default.svc.cluster.local, rules reviews.default.svc.cluster.local"},
			{"one to another host", rule("a", "reviews", "v1") + rule("b", "details", "v1"), 1, "rules details.default.svc.cluster.local, rules ratings.default.svc.cluster.local"},
			{"nothing left", "", 0, "rules details.default.svc.cluster.local, rules reviews.default.svc.cluster.local"},
		} {
			before, reviews := b.translations.Load(), b.Snapshot().Rules(host("reviews"))
			b.setYAML(t, "file", step.file)
			if got := b.translations.Load() - before; got != step.translations {
				t.Errorf("%s: %d translations, want %d", step.name, got, step.translations)
			}
			keys := b.takeKeys()
			if keys != step.keys {
				t.Errorf("%s: changed %s, want %s", step.name, keys, step.keys)
			}
			if same := reviews == b.Snapshot().Rules(host("reviews")); same == strings.Contains(keys, "rules reviews") {
				t.Errorf("%s: the rules of reviews keep their pointer: %v", step.name, same)
			}
		}
	})
}

func TestUnchangedPartsKeepTheirPointer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, "local")
		registry := func(address string) mesh.Registry { // made anew, as from JSON
			return mesh.Registry{
				Services:  []*mesh.Service{service("reviews", 9080), service("ratings", 9081, 9080)},
				Endpoints: []*mesh.EndpointSet{{Host: host("ratings"), Endpoints: []mesh.Endpoint{endpoint(address, "v2"), endpoint("127.0.0.1", "v1")}}},
				Workloads: []*mesh.Workload{{Name: "ratings-v1-0", Namespace: "default"}},
			}
		}
		b.setRegistry(t, "local", registry("127.0.0.2"))
		b.takeKeys()
		before := b.Snapshot()
		if revision := b.setRegistry(t, "local", registry("127.0.0.2")); revision != before.Revision() || b.Snapshot() != before {
			t.Errorf("the same again makes revision %d", revision)
		}
		b.setRegistry(t, "local", registry("127.0.0.3"))
		after := b.Snapshot()
		if keys := b.takeKeys(); keys != "endpoints ratings.default.svc.cluster.local" {
			t.Errorf("changed: %s", keys)
		}
		if before.Service(host("ratings")) != after.Service(host("ratings")) || before.Workload("ratings-v1-0.default") != after.Workload("ratings-v1-0.default") {
			t.Error("a part that did not change has a new pointer")
		}
		if got := after.Service(host("ratings")).Ports[0].Number; got != 9080 {
			t.Errorf("first port is %d", got)
		}
		if got := after.Endpoints(host("ratings")).Endpoints[0].Address; got != "127.0.0.1" {
			t.Errorf("first endpoint is %s", got)
		}
	})
}

func TestChangesThatWaitBecomeOneSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		b := startWith(t, func(store.Config) { <-release })
		var all sync.WaitGroup
		revisions := make([]int64, 101)
		set := func(i int) {
			objects, problems := config.Parse("f", []byte(rule(fmt.Sprintf("r%d", i), "reviews", "v1")), "")
			var err error
			if revisions[i], err = b.SetObjects(t.Context(), fmt.Sprintf("source%d", i), objects, problems); err != nil {
				t.Error(err)
			}
		}
		all.Go(func() { set(0) })
		synctest.Wait() // the first one is being published
		for i := 1; i <= 100; i++ {
			all.Go(func() { set(i) })
		}
		synctest.Wait() // the others wait for it
		close(release)
		all.Wait()
		if len(b.published) != 2 || revisions[0] != 1 || revisions[1] != 2 || revisions[100] != 2 {
			t.Errorf("%d snapshots, revisions %v", len(b.published), revisions)
		}
		if got := len(b.Snapshot().Rules(host("reviews")).Rules); got != 101 {
			t.Errorf("%d rules", got)
		}
	})
}

// TestConcurrentUse is for the race detector: everybody writes and reads at once.
func TestConcurrentUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t)
		var all sync.WaitGroup
		for i := range 100 {
			all.Go(func() {
				name := fmt.Sprintf("s%d", i)
				b.setYAML(t, name, rule(name, name, "v1"))
				revision := b.setRegistry(t, name, mesh.Registry{Services: []*mesh.Service{service(name)}})
				s := b.Snapshot()
				if s.Revision() < revision || s.Service(host(name)) == nil || s.Rules(host(name)) == nil {
					t.Errorf("%s is not in force at revision %d", name, revision)
				}
				b.Problems()
				b.Objects()
				b.Missing()
			})
		}
		all.Wait()
		for i, p := range b.published {
			if p.snapshot.Revision() != int64(i+1) {
				t.Errorf("snapshot %d has revision %d", i, p.snapshot.Revision())
			}
		}
	})
}

func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := store.New(store.Config{Domain: domain, Publish: func(*mesh.Snapshot, []mesh.Key) {}, Log: slog.New(slog.DiscardHandler)})
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() {
			_, err := s.SetObjects(ctx, "file", nil, nil)
			result <- err
		}()
		synctest.Wait() // nobody runs the store
		cancel()
		if err := <-result; !errors.Is(err, context.Canceled) {
			t.Errorf("a change to a store that does not run: %v", err)
		}
		if err := s.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
		if _, err := s.SetRegistry(t.Context(), "local", mesh.Registry{}); !errors.Is(err, store.ErrStopped) {
			t.Errorf("a change to a store that has stopped: %v", err)
		}
	})
}
