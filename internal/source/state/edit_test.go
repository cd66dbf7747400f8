package state_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/source/state"
)

// follower knows what it was told, whole or edited.
type follower struct {
	started  chan struct{}
	objects  map[mesh.Ref]string
	problems []mesh.Problem
	told     []string // "all 2", "1 and 1 gone"
	err      error    // of edits
}

func (f *follower) whole(_ context.Context, objects []config.Object, problems []mesh.Problem) (int64, error) {
	f.objects, f.problems = map[mesh.Ref]string{}, problems
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

// follow runs a source that hands over edits until the test ends.
func follow(t *testing.T, dir string) (*state.Source, *follower) {
	t.Helper()
	f := &follower{started: make(chan struct{})}
	s, err := state.Open(state.Config{Dir: dir, Kinds: kinds, Sink: f.whole, Edit: f.edit, Log: slog.New(slog.DiscardHandler)})
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
	return s, f
}

// TestOnlyChangesAreHandedOver shows that everything is handed over once, and again after an edit that failed.
func TestOnlyChangesAreHandedOver(t *testing.T) {
	t.Parallel()
	s, f := follow(t, t.TempDir())
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

// The problem of a damaged file goes when its object is written anew. The others stay, and edits do not tell them again.
func TestProblemOfAMendedFileGoes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	folder := filepath.Join(dir, "routerules", "default")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		if err := os.WriteFile(filepath.Join(folder, name+".yaml"), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, f := follow(t, dir)
	for i, step := range []struct {
		write, told, damaged string
	}{
		{"c", "all +", "a.yaml b.yaml"},
		{"a", "all + all", "b.yaml"},
		{"a", "all + all +", "b.yaml"},
		{"b", "all + all + all", ""},
	} {
		if _, err := s.Write(t.Context(), state.Apply, parse(t, rule(step.write, "", "x: "+strconv.Itoa(i)))); err != nil {
			t.Fatal(err)
		}
		var damaged []string
		for _, p := range f.problems {
			damaged = append(damaged, filepath.Base(p.Position.File))
		}
		slices.Sort(damaged)
		if told, got := strings.Join(f.told, " "), strings.Join(damaged, " "); told != step.told || got != step.damaged {
			t.Errorf("%s is written: told %s, want %s; problems of %s, want %s", step.write, told, step.told, got, step.damaged)
		}
	}
}
