package store_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/dialect/ingress"
	"github.com/lateen-mesh/lateen/internal/dialect/v1alpha2"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/source/file"
	"github.com/lateen-mesh/lateen/internal/store"
)

// TestBadFilesAmongGoodOnes watches a folder in which files that are wrong in every way lie beside good ones: the good ones
// count, and each of the others is told with its name.
func TestBadFilesAmongGoodOnes(t *testing.T) {
	dir := t.TempDir()
	laughs := "{a: &a [" + strings.Repeat("x, ", 9) + "x]"
	for c := 'b'; c <= 'z'; c++ {
		laughs += fmt.Sprintf(", %c: &%c [%s*%c]", c, c, strings.Repeat(fmt.Sprintf("*%c, ", c-1), 9), c-1)
	}
	object := func(name, spec string) string {
		return "---\napiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {name: " + name + "}\nspec: " + spec + "\n"
	}
	for name, text := range map[string]string{
		"a-good.yaml":   rule("a", "a", "v1"),
		"bomb.yaml":     rule("b", "b", "v1") + object("bomb", laughs+"}") + rule("c", "c", "v1"),
		"deep.yaml":     object("deep", strings.Repeat("[", 100_000)) + rule("d", "d", "v1"),
		"garbage.yaml":  strings.Repeat("\x93\x00\xffgarbage: [", 10<<20/12),
		"many.yaml":     strings.Repeat("---\n- x\n", 100_000),
		"misspelt.yaml": strings.Replace(rule("e", "e", "v1"), "route:", "rout:", 1) + rule("f", "f", "v1"),
		"other.yaml":    "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {a: b}\n" + rule("g", "g", "v1"),
		"z-good.json":   `{"apiVersion": "config.istio.io/v1alpha2", "kind": "RouteRule", "metadata": {"name": "z"}, "spec": {"destination": {"name": "z"}}}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("loop.yaml", filepath.Join(dir, "loop.yaml")); err != nil {
		t.Fatal(err)
	}

	s := watch(t, dir)
	var hosts []string
	for _, k := range s.Snapshot().Keys(mesh.KindRules) {
		name, _, _ := strings.Cut(k.Name, ".")
		hosts = append(hosts, name)
	}
	if got := strings.Join(hosts, " "); got != "a b c d f g z" {
		t.Errorf("rules for %s", got)
	}
	told := map[string]int{}
	for _, p := range s.Problems() {
		if p.Code != config.CodeUnknownHost { // there are no services
			told[strings.TrimPrefix(p.Position.File, dir+"/")+" "+p.Code]++
		}
	}
	var got []string
	for _, k := range slices.Sorted(maps.Keys(told)) {
		got = append(got, fmt.Sprintf("%s %d", k, told[k]))
	}
	const want = `bomb.yaml too-large 1
deep.yaml syntax 1
garbage.yaml too-large 1
loop.yaml unreadable-file 1
many.yaml too-many-problems 1
many.yaml wrong-type 1000
misspelt.yaml unknown-field 1
other.yaml unknown-kind 1`
	if text := strings.Join(got, "\n"); text != want {
		t.Errorf("got %s\nwant %s", text, want)
	}
}

// watch returns a store that knows what a folder holds.
func watch(t *testing.T, dir string) *store.Store {
	t.Helper()
	kinds := append(v1alpha2.Kinds(domain), ingress.Kinds(domain)...)
	known := make(chan struct{}, 1)
	s := store.New(store.Config{
		Kinds: kinds, Domain: domain, Sources: []string{"files"}, Log: slog.New(slog.DiscardHandler),
		Publish: func(*mesh.Snapshot, []mesh.Key) { known <- struct{}{} },
	})
	files, err := file.New(file.Config{
		Paths: []string{dir}, Log: slog.New(slog.DiscardHandler),
		Check: func(o *config.Object) []mesh.Problem { _, problems := kinds.Read(o); return problems },
		Sink: func(ctx context.Context, objects []config.Object, problems []mesh.Problem) error {
			_, err := s.SetObjects(ctx, "files", objects, problems)
			return err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{s.Run, files.Run} {
		running.Go(func() {
			if err := run(ctx); err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() { stop(); running.Wait() })
	<-known
	return s
}
