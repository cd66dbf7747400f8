package state_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/source/state"
)

var kinds = config.Kinds{
	{Name: "RouteRule", APIVersions: []string{"config.istio.io/v1alpha2"}, Type: "route-rule", Plural: "routerules"},
	{Name: "Ingress", APIVersions: []string{"networking.k8s.io/v1"}, Type: "ingress", Plural: "ingresses"},
}

// sink counts revisions and remembers what it was given last.
type sink struct {
	started  chan struct{} // closed when it was given something for the first time
	revision int64
	names    []string
	problems []mesh.Problem
	err      error
}

func (s *sink) take(_ context.Context, objects []config.Object, problems []mesh.Problem) (int64, error) {
	if s.err != nil {
		return 0, s.err
	}
	s.problems, s.names = problems, nil
	for _, o := range objects {
		s.names = append(s.names, o.Path()+"@"+o.ResourceVersion)
	}
	if s.revision++; s.revision == 1 {
		close(s.started)
	}
	return s.revision, nil
}

// open runs a source until the test ends or stop is called.
func open(t *testing.T, dir string) (s *state.Source, to *sink, stop func()) {
	t.Helper()
	to = &sink{started: make(chan struct{})}
	s, err := state.Open(state.Config{Dir: dir, Kinds: kinds, Sink: to.take, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	<-to.started
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return s, to, stop
}

func rule(name, version, spec string) string {
	text := "apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata:\n  name: " + name + "\n"
	if version != "" {
		text += "  resourceVersion: \"" + version + "\"\n"
	}
	return text + "spec:\n  " + spec + "\n"
}

func parse(t *testing.T, text string) []config.Object {
	t.Helper()
	objects, problems := config.Parse("rules.yaml", []byte(text), "")
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return objects
}

// transcript says in a few words what came out.
func transcript(out state.Outcome) string {
	var lines []string
	for _, c := range out.Changes {
		lines = append(lines, fmt.Sprintf("%s %s@%d", c.Verb, c.Object.Name, c.Version))
	}
	for _, p := range out.Problems {
		lines = append(lines, fmt.Sprintf("%s %s [%s]", p.Object.Name, p.Message, p.Hint))
	}
	return strings.Join(lines, "; ")
}

func TestWrites(t *testing.T) {
	t.Parallel()
	s, _, _ := open(t, t.TempDir())
	for _, step := range []struct {
		op   state.Op
		text string
		want string
	}{
		{state.Create, rule("a", "", "x: 1"), "created a@1"},
		{state.Create, rule("a", "", "x: 2"), "a it exists already, at revision 1 [change it with `lateen replace` or `lateen apply`]"},
		{state.Create, rule("b", "7", "x: 1"), "b a new object has no resourceVersion yet [leave it out]"},
		{state.Replace, rule("a", "", "x: 2"), "updated a@2"},
		{state.Replace, rule("a", "2", "x: 2"), "updated a@3"},
		{state.Replace, rule("a", "2", "x: 3"), "a revision 2 was read, and the object is at revision 3 now [read it again with `lateen get`, or leave the resourceVersion out to overwrite it]"},
		{state.Replace, rule("reviews", "", "x: 1"), "reviews there is no such object [write it with `lateen create` or `lateen apply`]"},
		{state.Apply, rule("reviews", "", "x: 1"), "created reviews@4"},
		{state.Replace, rule("review", "", "x: 1"), `review there is no such object [did you mean "reviews"?]`},
		{state.Apply, rule("a", "", "x: 2"), "unchanged a@3"},
		{state.Apply, rule("a", "", "# why\n  x:   2 # so"), "unchanged a@3"},
		{state.Apply, rule("a", "3", "x: 4"), "updated a@5"},
		{state.Apply, rule("a", "3", "x: 5"), "a revision 3 was read, and the object is at revision 5 now [read it again with `lateen get`, or leave the resourceVersion out to overwrite it]"},
		{state.Apply, rule("gone", "3", "x: 5"), "gone revision 3 was read, and the object was deleted since [leave the resourceVersion out to write it anew]"},
		{state.Create, rule("a", "", "x: 1") + "---\n" + rule("copy", "", "x: 1"), "created copy@6; a it exists already, at revision 5 [change it with `lateen replace` or `lateen apply`]"},
	} {
		out, err := s.Write(t.Context(), step.op, parse(t, step.text))
		if err != nil {
			t.Fatal(err)
		}
		if got := transcript(out); got != step.want {
			t.Errorf("%s:\n%sgot  %s\nwant %s", step.op, step.text, got, step.want)
		}
	}
	out, err := s.Delete(t.Context(), []mesh.Ref{
		{Kind: "RouteRule", Namespace: "default", Name: "a"},
		{Kind: "RouteRule", Namespace: "default", Name: "a"},
		{Kind: "RouteRule", Namespace: "other", Name: "reviews"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := "deleted a@5; a there is no such object []; reviews there is no such object [there is one in namespace default]"
	if got := transcript(out); got != want {
		t.Errorf("delete: %s, want %s", got, want)
	}
}

func TestEveryWriteHasAVersionOfItsOwn(t *testing.T) {
	t.Parallel()
	s, to, _ := open(t, t.TempDir())
	const writers = 8
	versions := make(chan int64, 2*writers)
	var writing sync.WaitGroup
	for i := range writers {
		own, shared := parse(t, rule(fmt.Sprint("own-", i), "", "x: 1")), parse(t, rule("shared", "", fmt.Sprint("x: ", i)))
		writing.Go(func() {
			for _, objects := range [][]config.Object{own, shared} {
				out, err := s.Write(t.Context(), state.Apply, objects)
				if err != nil || len(out.Changes) != 1 {
					t.Errorf("%+v, %v", out, err)
					return
				}
				versions <- out.Changes[0].Version
			}
		})
	}
	writing.Wait()
	close(versions)
	given := map[int64]bool{}
	for v := range versions {
		given[v] = true
	}
	if len(given) != 2*writers || len(to.names) != writers+1 {
		t.Errorf("%d versions for %d writes; handed over last: %v", len(given), 2*writers, to.names)
	}
}

func TestObjectsAndVersionsSurviveARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, to, stop := open(t, dir)
	if _, err := s.Write(t.Context(), state.Apply, parse(t, rule("a", "", "x: 1")+"---\n"+rule("b", "", "x: 1"))); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Delete(t.Context(), []mesh.Ref{{Kind: "RouteRule", Namespace: "default", Name: "b"}}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"default/a@1"}, to.names); diff != "" {
		t.Errorf("handed over: %s", diff)
	}

	stop()
	s, to, _ = open(t, dir)
	if diff := cmp.Diff([]string{"default/a@1"}, to.names); diff != "" {
		t.Errorf("handed over after the restart: %s", diff)
	}
	out, err := s.Write(t.Context(), state.Create, parse(t, rule("b", "", "x: 1")))
	if err != nil {
		t.Fatal(err)
	}
	if got := out.Changes[0].Version; got <= 2 {
		t.Errorf("version %d was given twice, since the deleted object had 2", got)
	}
}

func TestFilesAreWholeAndPrivate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, _, _ := open(t, dir)
	text := "# for jason\napiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {name: a} # a name\nspec:\n  # why\n  x: 1\n"
	if _, err := s.Write(t.Context(), state.Apply, parse(t, text)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "routerules", "default", "a.yaml")
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.ReplaceAll(text, "{name: a}", `{name: a, namespace: default, resourceVersion: "1"}`)
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
	stat, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if stat.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", stat.Mode())
	}
	if objects := s.Objects(); objects[0].Origin.String() != path+":2:1" || objects[0].Text != string(got) {
		t.Errorf("kept as %s:\n%s", objects[0].Origin, objects[0].Text)
	}
}

func TestWhatACrashOrAHandLeftHarmsNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, _, stop := open(t, dir)
	if _, err := s.Write(t.Context(), state.Apply, parse(t, rule("a", "", "x: 1")+"---\n"+rule("b", "", "x: 1"))); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(dir, "routerules", "default")
	for name, text := range map[string]string{
		filepath.Join(folder, ".new"):           "apiVersion: config.ist",
		filepath.Join(folder, "b.yaml"):         "apiVersion: [",
		filepath.Join(folder, "c.yaml"):         rule("d", "3", "x: 1"),
		filepath.Join(folder, "e.yaml"):         rule("e", "", "x: 1"),
		filepath.Join(folder, "notes.txt"):      "mine",
		filepath.Join(dir, ".version"):          "many\n",
		filepath.Join(dir, "unknown-kind.yaml"): "kind: Secret\napiVersion: v1\nmetadata: {name: x}\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	stop()
	s, to, _ := open(t, dir)
	if diff := cmp.Diff([]string{"default/a@1"}, to.names); diff != "" {
		t.Errorf("handed over: %s", diff)
	}
	var told []string
	for _, p := range to.problems {
		if p.Code != state.CodeDamagedFile || p.Severity != mesh.Error || p.Hint == "" {
			t.Errorf("%+v", p)
		}
		file, _ := filepath.Rel(dir, p.Position.File)
		if p.Position.Line > 0 {
			file += ":" + strconv.Itoa(p.Position.Line)
		}
		told = append(told, file+": "+p.Message)
	}
	want := []string{
		"routerules/default/b.yaml:1: not YAML: did not find expected node content",
		"routerules/default/c.yaml: it holds RouteRule default/d, which does not belong there",
		`routerules/default/e.yaml: its resourceVersion "" is not one`,
		"unknown-kind.yaml: Secret of v1 is not a known kind",
	}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Error(diff)
	}

	if _, err := s.Write(t.Context(), state.Create, parse(t, rule("b", "", "x: 2"))); err != nil {
		t.Fatal(err)
	}
	if len(to.problems) != len(want)-1 {
		t.Errorf("the problem of a file that was written anew stays: %v", to.problems)
	}
}

func TestNoNameLeadsOutOfTheFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, _, _ := open(t, filepath.Join(dir, "objects"))
	for _, ref := range []mesh.Ref{
		{Namespace: "default", Name: "../../../escaped"},
		{Namespace: "..", Name: "escaped"},
		{Namespace: "", Name: "escaped"},
		{Namespace: "default", Name: ".hidden"},
		{Namespace: "default", Name: ""},
		{Namespace: "a/b", Name: "c"},
	} {
		o := parse(t, rule("a", "", "x: 1"))[0]
		ref.Kind = o.Kind
		o.Ref = ref
		out, err := s.Write(t.Context(), state.Apply, []config.Object{o})
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Changes) != 0 || len(out.Problems) != 1 || out.Problems[0].Code != state.CodeNotStored {
			t.Errorf("%s: %+v", ref, out)
		}
	}
	// A link in the folder leads out only with the help of who may write there anyway; still it is not followed.
	if err := os.Symlink(dir, filepath.Join(dir, "objects", "routerules")); err != nil {
		t.Fatal(err)
	}
	out, err := s.Write(t.Context(), state.Apply, parse(t, rule("a", "", "x: 1")))
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Problems) != 1 {
		t.Errorf("written through a link: %+v", out)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
}

func TestWhatCouldNotBeHandedOverIsHandedOverNext(t *testing.T) {
	t.Parallel()
	s, to, _ := open(t, t.TempDir())
	to.err = errors.New("busy")
	if _, err := s.Write(t.Context(), state.Apply, parse(t, rule("a", "", "x: 1"))); !errors.Is(err, to.err) {
		t.Errorf("error %v", err)
	}
	to.err = nil
	ended, end := context.WithCancel(t.Context())
	end()
	out, err := s.Write(ended, state.Apply, parse(t, rule("b", "", "x: 1")))
	if err != nil {
		t.Fatalf("who asked has gone, and the change is lost: %v", err)
	}
	if diff := cmp.Diff([]string{"default/a@1", "default/b@2"}, to.names); diff != "" || out.Revision != to.revision {
		t.Errorf("revision %d: %s", out.Revision, diff)
	}
}

func TestCompareTellsWhatApplyWouldChange(t *testing.T) {
	t.Parallel()
	s, to, _ := open(t, t.TempDir())
	if _, err := s.Write(t.Context(), state.Create, parse(t, rule("a", "", "x: 1")+"---\n"+rule("b", "", "x: 1"))); err != nil {
		t.Fatal(err)
	}
	before := to.revision
	differences, problems := s.Compare(parse(t, rule("a", "", "x:    1 # the same")+"---\n"+rule("b", "2", "x: 2")+"---\n"+
		rule("c", "", "x: 3")+"---\n"+rule("a", "7", "x: 3")))
	kept := func(name, version, x string) string {
		return "apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata:\n  name: " + name + "\n  namespace: default\n" +
			version + "spec:\n  x: " + x + "\n"
	}
	const second = "  resourceVersion: \"2\"\n"
	want := []state.Difference{
		{Object: mesh.Ref{Kind: "RouteRule", Namespace: "default", Name: "b"}, Before: kept("b", second, "1")},
		{Object: mesh.Ref{Kind: "RouteRule", Namespace: "default", Name: "c"}, After: kept("c", "", "3")},
	}
	want[0].After = "apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata:\n  name: b\n" + second + "  namespace: default\nspec:\n  x: 2\n"
	if diff := cmp.Diff(want, differences); diff != "" {
		t.Error(diff)
	}
	if len(problems) != 1 || problems[0].Code != state.CodeConflict {
		t.Errorf("problems %v", problems)
	}
	if to.revision != before || len(s.Objects()) != 2 {
		t.Errorf("it was changed: %v", s.Objects())
	}
}
