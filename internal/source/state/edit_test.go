package state_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/source/state"
)

// follower knows what it was told, whole or edited.
type follower struct {
	started chan struct{}
	objects map[mesh.Ref]string
	told    []string // "all 2", "1 and 1 gone"
	err     error    // of edits
}

func (f *follower) whole(_ context.Context, objects []config.Object, _ []mesh.Problem) (int64, error) {
	f.objects = map[mesh.Ref]string{}
	f.told = append(f.told, "all")
	f.take(objects)
	if len(f.told) == 1 {
		close(f.started)
	}
	return 1, nil
}

func (f *follower) edit(_ context.Context, written []config.Object, deleted []mesh.Ref) (int64, error) {
	if f.err != nil {
		return 0, f.err
	}
	f.told = append(f.told, strings.Repeat("+", len(written))+strings.Repeat("-", len(deleted)))
	f.take(written)
	for _, ref := range deleted {
		delete(f.objects, ref)
	}
	return 1, nil
}

func (f *follower) take(objects []config.Object) {
	for _, o := range objects {
		f.objects[o.Ref] = o.Name + "@" + o.ResourceVersion
	}
}

// TestOnlyChangesAreHandedOver shows that everything is handed over once, and again after an edit that failed.
func TestOnlyChangesAreHandedOver(t *testing.T) {
	t.Parallel()
	f := &follower{started: make(chan struct{})}
	s, err := state.Open(state.Config{Dir: t.TempDir(), Kinds: kinds, Sink: f.whole, Edit: f.edit, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	<-f.started
	write := func(text string) error {
		_, err := s.Write(t.Context(), state.Apply, parse(t, text))
		return err
	}
	remove := func(names ...string) error {
		var refs []mesh.Ref
		for _, name := range names {
			refs = append(refs, mesh.Ref{Kind: "RouteRule", Namespace: "default", Name: name})
		}
		_, err := s.Delete(t.Context(), refs)
		return err
	}
	broken := errors.New("it went wrong")
	for _, step := range []struct {
		name string
		do   func() error
		fail error
		want string
	}{
		{"two", func() error { return write(rule("a", "", "x: 1") + "---\n" + rule("b", "", "x: 1")) }, nil, "all ++"},
		{"one of them twice", func() error {
			return write(rule("a", "", "x: 2") + "---\n" + rule("a", "", "x: 3") + "---\n" + rule("b", "", "x: 1"))
		}, nil, "all ++ +"},
		{"nothing", func() error { return write(rule("b", "", "x: 1")) }, nil, "all ++ +"},
		{"one gone, one not there", func() error { return remove("b", "c") }, nil, "all ++ + -"},
		{"it fails", func() error { return write(rule("c", "", "x: 1")) }, broken, "all ++ + -"},
		{"then all", func() error { return write(rule("d", "", "x: 1")) }, nil, "all ++ + - all"},
		{"and edits again", func() error { return remove("a") }, nil, "all ++ + - all -"},
	} {
		f.err = step.fail
		if err := step.do(); !errors.Is(err, step.fail) {
			t.Errorf("%s: %v", step.name, err)
		}
		if got := strings.Join(f.told, " "); got != step.want {
			t.Errorf("%s: told %s, want %s", step.name, got, step.want)
		}
		var want []string
		for _, o := range s.Objects() {
			want = append(want, o.Name+"@"+o.ResourceVersion)
		}
		if got := slices.Sorted(maps.Values(f.objects)); step.fail == nil && !slices.Equal(got, want) {
			t.Errorf("%s: knows %v, want %v", step.name, got, want)
		}
	}
}
