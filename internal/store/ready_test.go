package store_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lateen-mesh/lateen/internal/cache"
	"github.com/lateen-mesh/lateen/internal/dialect/v1alpha2"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/store"
)

// kept is a running store that keeps what it is told.
type kept struct {
	*bench
	snapshots atomic.Int64 // published
}

// live runs a store that keeps what it is told in a folder, until stop is called or the test ends.
func live(t *testing.T, dir string, sources, optional []string) (b *kept, stop func()) {
	t.Helper()
	last, err := cache.Open(cache.Config{Dir: dir, Mesh: "shop", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	b = &kept{bench: &bench{}}
	b.Store = store.New(store.Config{
		Kinds: v1alpha2.Kinds(domain), Domain: domain, Sources: sources, Optional: optional, Last: last,
		Publish: func(*mesh.Snapshot, []mesh.Key) { b.snapshots.Add(1) },
		Log:     slog.New(slog.NewTextHandler(&b.log, nil)),
	})
	ctx, cancel := context.WithCancel(t.Context())
	stored, saved := make(chan error, 1), make(chan error, 1)
	go func() { stored <- b.Run(ctx) }()
	go func() { saved <- last.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-stored, <-saved); !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
	})
	t.Cleanup(stop)
	return b, stop
}

const privateKey = "-----BEGIN PRIVATE KEY-----"

func sealed(name string) mesh.SealedCertificate {
	return mesh.SealedCertificate{Namespace: "default", Name: name, Chain: "chain of " + name, Key: mesh.Sealed{Secret: mesh.NewSecret(privateKey)}}
}

// A source that is silent for 10 s is known by what it reported before the restart. Nothing of that is removed until it
// reports again.
func TestSilentSourceIsKnownByWhatItReportedLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "cache")
		before := mesh.Registry{
			Services:     []*mesh.Service{service("reviews", 9080), service("ratings", 9080)},
			Endpoints:    []*mesh.EndpointSet{{Host: host("ratings"), Endpoints: []mesh.Endpoint{endpoint("127.0.0.2", "v1")}}},
			Workloads:    []*mesh.Workload{{Name: "ratings-v1-0", Namespace: "default"}},
			Settings:     &mesh.Settings{ConnectTimeout: mesh.Duration(3 * time.Second)},
			Certificates: []mesh.SealedCertificate{sealed("shop-tls")},
		}
		b, stop := live(t, dir, []string{"files", "local"}, nil)
		b.setYAML(t, "files", "")
		b.setRegistry(t, "local", mesh.Registry{Services: []*mesh.Service{service("old")}})
		b.setRegistry(t, "local", before)
		stop()

		b, _ = live(t, dir, []string{"files", "local"}, nil)
		b.setYAML(t, "files", rule("a", "reviews", "v1"))
		<-time.After(10*time.Second - time.Millisecond)
		synctest.Wait()
		if got := b.Missing(); !slices.Equal(got, []string{"local"}) || b.snapshots.Load() > 0 || b.problems() != "" {
			t.Errorf("before 10 s: missing %v, %d snapshots, problems %s", got, b.snapshots.Load(), b.problems())
		}
		<-time.After(2 * time.Millisecond)
		synctest.Wait()
		stale := b.Stale()
		if len(b.Missing()) > 0 || b.snapshots.Load() != 1 || len(stale) != 1 || stale[0].Source != "local" || time.Since(stale[0].Saved) < 10*time.Second {
			t.Errorf("after 10 s: missing %v, %d snapshots, stale %v", b.Missing(), b.snapshots.Load(), stale)
		}
		s := b.Snapshot()
		if s.Service(host("ratings")) == nil || s.Service(host("old")) != nil || s.Endpoints(host("ratings")).Endpoints[0].Address != "127.0.0.2" ||
			s.Workload("ratings-v1-0.default") == nil || s.Settings().ConnectTimeout != before.Settings.ConnectTimeout ||
			s.Certificate("default/shop-tls").Chain != "chain of shop-tls" || s.Certificate("default/shop-tls").Key.Reveal() != "" {
			t.Error("what was reported before the restart is not all there")
		}
		if got := b.problems(); !strings.Contains(got, `warning: the source "local" has not reported`) || !strings.Contains(b.log.String(), "source-stale") {
			t.Errorf("told: %s", got)
		}

		// An edit of a rule does not change that; the report does.
		b.setYAML(t, "files", "")
		if b.Snapshot().Service(host("ratings")) == nil {
			t.Error("ratings is gone before the source reported")
		}
		b.setRegistry(t, "local", mesh.Registry{Services: []*mesh.Service{service("reviews", 9080)}, Certificates: before.Certificates})
		if s := b.Snapshot(); s.Service(host("ratings")) != nil || s.Certificate("default/shop-tls").Key.Reveal() != privateKey {
			t.Error("the source reported, and still what it said before counts")
		}
		if len(b.Stale()) > 0 || b.problems() != "" {
			t.Errorf("stale %v, problems %s", b.Stale(), b.problems())
		}
	})
}

func TestNoKeyIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "cache")
		b, stop := live(t, dir, []string{"local"}, nil)
		b.setRegistry(t, "local", mesh.Registry{Certificates: []mesh.SealedCertificate{sealed("b"), sealed("a")}})
		stop()
		data, err := os.ReadFile(filepath.Join(dir, "registry-local.json"))
		if err != nil {
			t.Fatal(err)
		}
		encoded, err := sealed("a").Key.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(data, []byte("chain of a")) || bytes.Contains(data, []byte(privateKey)) || bytes.Contains(data, encoded) {
			t.Errorf("on the disk: %s", data)
		}
	})
}

// Without anything to go on with, the store waits and says so.
func TestSilentSourceOfWhichNothingIsKept(t *testing.T) {
	for name, c := range map[string]struct {
		file string // in the place of what was kept
		told []string
	}{
		"nothing": {"", []string{`error: the source "local" has not reported, and nothing is kept of it`}},
		"damaged": {"{}\n", []string{"[damaged-cache]", `error: the source "local" has not reported`}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				if c.file != "" {
					if err := os.WriteFile(filepath.Join(dir, "registry-local.json"), []byte(c.file), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				b, _ := live(t, dir, []string{"local"}, nil)
				<-time.After(time.Hour)
				synctest.Wait()
				for _, want := range c.told {
					if !strings.Contains(b.problems(), want) {
						t.Errorf("told: %s, want %s", b.problems(), want)
					}
				}
				if b.snapshots.Load() > 0 || len(b.Missing()) != 1 {
					t.Errorf("published %d snapshots, missing %v", b.snapshots.Load(), b.Missing())
				}
				b.setRegistry(t, "local", mesh.Registry{})
				<-time.After(time.Hour)
				synctest.Wait()
				if b.snapshots.Load() != 1 || b.problems() != "" {
					t.Errorf("published %d snapshots, told %s", b.snapshots.Load(), b.problems())
				}
				if text, err := os.ReadFile(filepath.Join(dir, "registry-local.json")); err != nil || !bytes.Contains(text, []byte("lateen-cache")) {
					t.Errorf("what was reported is not kept: %s %v", text, err)
				}
			})
		})
	}
}

// An optional source holds up nothing. That it is silent is a problem; what it said last counts all the same.
func TestOptionalSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "cache")
		optional := []string{"kube", "other"}
		b, stop := live(t, dir, []string{"local"}, optional)
		b.setRegistry(t, "kube", mesh.Registry{Services: []*mesh.Service{service("details", 9080)}})
		b.setRegistry(t, "local", mesh.Registry{})
		stop()
		b, _ = live(t, dir, []string{"local"}, optional)
		b.setRegistry(t, "local", mesh.Registry{})
		if b.snapshots.Load() != 1 || b.problems() != "" {
			t.Errorf("published %d snapshots, told %s", b.snapshots.Load(), b.problems())
		}
		<-time.After(time.Minute)
		synctest.Wait()
		got := b.problems()
		if b.Snapshot().Service(host("details")) == nil || !strings.Contains(got, `warning: the source "kube" has not reported: what it said at`) ||
			!strings.Contains(got, `warning: the source "other" has not reported: what it knows is missing`) {
			t.Errorf("told: %s", got)
		}
	})
}
