package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/serve"
)

// example is what an object of each kind says below its metadata, in two forms.
var example = map[string][2]string{
	"RouteRule": {"spec: {destination: {name: reviews}}", "spec: {destination: {name: ratings}}"},
	"DestinationPolicy": {
		"spec: {destination: {name: reviews}, loadBalancing: {name: RANDOM}}",
		"spec: {destination: {name: reviews}, loadBalancing: {name: LEAST_CONN}}",
	},
	"EgressRule": {
		"spec: {destination: {service: httpbin.org}, ports: [{port: 80, protocol: http}]}",
		"spec: {destination: {service: example.org}, ports: [{port: 80, protocol: http}]}",
	},
	"Ingress": {
		"spec: {defaultBackend: {service: {name: web, port: {number: 80}}}}",
		"spec: {defaultBackend: {service: {name: web, port: {number: 81}}}}",
	},
	"Secret": {"stringData: {note: a}", "stringData: {note: b}"},
}

// text returns an object of a kind.
func exampleOf(t *testing.T, kind *config.Kind, form int, metadata string) string {
	t.Helper()
	said, ok := example[kind.Name]
	if !ok {
		t.Fatalf("there is no example of a %s yet: add one", kind.Name)
	}
	return fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {%s}\n%s\n", kind.APIVersions[0], kind.Name, metadata, said[form])
}

func TestEveryKind(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	kinds := serve.Kinds()
	for i := range kinds {
		kind := &kinds[i]
		path := kind.Type + "/default/x"
		first, second := exampleOf(t, kind, 0, "name: x"), exampleOf(t, kind, 1, "name: x")
		stdout, stderr, code := p.run(first, "create", "-f", "-")
		before := strings.TrimPrefix(strings.TrimSpace(stdout), "Created config "+path+" at revision ")
		var version int
		if _, err := fmt.Sscan(before, &version); err != nil || code != 0 {
			t.Fatalf("create %s: exit code %d, printed %q\n%s", kind.Name, code, stdout, stderr)
		}
		words := append([]string{kind.Name, strings.ToLower(kind.Name), strings.ToUpper(kind.Name), kind.Type, kind.Plural}, kind.Short...)
		for _, word := range words {
			p.wants(kind.Type+"/x", "", "get", word, "-o", "name")
			p.wants(kind.Type+"/x", "", "get", word, "x", "-o", "name")
			p.wants(kind.Type+"/x", "", "get", word+"/x", "-o", "name")
		}
		p.refuses("[already-exists]", first, "create", "-f", "-")
		p.wants(fmt.Sprintf("Unchanged config %s at revision %d", path, version), first, "apply", "-f", "-")
		p.wants(fmt.Sprintf("Updated config %s to revision %d", path, version+1), second, "replace", "-f", "-")
		stale := exampleOf(t, kind, 0, fmt.Sprintf("name: x, resourceVersion: '%d'", version))
		p.refuses("[conflict]", stale, "replace", "-f", "-")
		p.refuses("[conflict]", stale, "apply", "-f", "-")
		p.wants(fmt.Sprintf("Updated config %s to revision %d", path, version+2), first, "apply", "-f", "-")
		p.wants("Deleted config: "+path, "", "delete", kind.Plural, "x")
		p.wants(nothingFound, "", "get", kind.Plural)
		p.refuses("there is no "+kind.Type+` "x"`, "", "get", kind.Type, "x")
		p.refuses("[not-found]", first, "replace", "-f", "-")
	}
}

// TestWhatWasReadCanBeWritten wants every form that an object is shown in to be taken back: as it is, and edited.
func TestWhatWasReadCanBeWritten(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	text := `# kept
apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata:
  name: x
  labels: {1: "2", since: 2017-11-03, yes: "no"}
  annotations: {note: "<a> & ☃", huge: "12345678901234567890"}
spec:
  destination: {name: reviews} # all of them
  precedence: 0x10
  httpFault: {abort: {percent: 12.5, httpStatus: 503}}
`
	other := strings.NewReplacer("name: x", "name: y").Replace(text)
	p.wants("Created config route-rule/default/x at revision 1\nCreated config route-rule/default/y at revision 2",
		text+"---\n"+other, "create", "-f", "-")
	version := 2
	for _, args := range [][]string{
		{"get", "routerules", "-o", "yaml"},
		{"get", "routerules", "-o", "json"},
		{"get", "routerule", "x", "-o", "yaml"},
		{"get", "routerule", "x", "-o", "json"},
	} {
		shown, stderr, code := p.run("", args...)
		if code != 0 {
			t.Fatal(stderr)
		}
		unchanged, _, _ := p.run(shown, "apply", "-f", "-")
		if !strings.HasPrefix(unchanged, "Unchanged config route-rule/default/x at revision ") || strings.Contains(unchanged, "pdated") {
			t.Errorf("%v\n%s\nis applied as %q", args, shown, unchanged)
		}
		edited := strings.ReplaceAll(shown, "503", "500")
		if edited == shown {
			edited = strings.ReplaceAll(shown, "500", "503")
		}
		stdout, stderr, code := p.run(edited, "replace", "-f", "-")
		n := strings.Count(stdout, "Updated config")
		if code != 0 || n != strings.Count(shown, "RouteRule") {
			t.Errorf("%v: edited and replaced: %q\n%s", args, stdout, stderr)
		}
		version += n
		p.refuses("[conflict]", edited, "replace", "-f", "-")
	}
	if shown, _, _ := p.run("", "get", "routerule", "y", "-o", "json"); !strings.Contains(shown, fmt.Sprintf("%q", "2017-11-03")) {
		t.Errorf("a text became something else: %s", shown)
	}
}

// TestSecretIsNotWrittenAsShown wants a Secret to keep its values when somebody writes back what was shown of it.
func TestSecretIsNotWrittenAsShown(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	kind := serve.Kinds().Named("secret")
	p.wants("Created config secret/default/x at revision 1", exampleOf(t, kind, 0, "name: x"), "create", "-f", "-")
	for _, form := range []string{"yaml", "json"} {
		text, _, _ := p.run("", "get", "secret", "x", "-o", form)
		p.refuses("commands do not show the values of a Secret", text, "apply", "-f", "-")
	}
	stdout, _, code := p.run(exampleOf(t, kind, 1, "name: x"), "diff", "-f", "-")
	if code != 1 || stdout != "secret/default/x differs in values that are not shown\n" {
		t.Errorf("diff: exit code %d, printed %q", code, stdout)
	}
}

// TestOneConflictLosesNothingElse wants the other objects of a file to be written.
func TestOneConflictLosesNothingElse(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	kind := serve.Kinds().Named("routerule")
	whole := func(form int, versions ...string) string {
		var texts []string
		for i, version := range versions {
			texts = append(texts, exampleOf(t, kind, form, fmt.Sprintf("name: r%d, resourceVersion: %q", i, version)))
		}
		return strings.Join(texts, "---\n")
	}
	p.wants("Created config route-rule/default/r0 at revision 1\nCreated config route-rule/default/r1 at revision 2\n"+
		"Created config route-rule/default/r2 at revision 3", whole(0, "", "", ""), "create", "-f", "-")
	stdout, stderr, code := p.run(whole(1, "1", "1", ""), "replace", "-f", "-")
	if code != exitFailure || stdout != "Updated config route-rule/default/r0 to revision 4\nUpdated config route-rule/default/r2 to revision 5\n" {
		t.Errorf("exit code %d, printed\n%s", code, stdout)
	}
	const want = "revision 1 was read, and the object is at revision 2 now [conflict]\n  hint: read it again with `lateen get`"
	if !strings.Contains(stderr, want) || !strings.Contains(stderr, "not everything was written: 1 error") {
		t.Errorf("said\n%s", stderr)
	}
}

// TestGarbageAmongGoodFiles wants a file that is far too large to be told, and the good ones beside it to be written.
func TestGarbageAmongGoodFiles(t *testing.T) {
	t.Parallel()
	p, dir := newProgram(t), t.TempDir()
	kind := serve.Kinds().Named("routerule")
	for name, text := range map[string]string{
		"a.yaml": exampleOf(t, kind, 0, "name: a"), "garbage.yaml": strings.Repeat("{[x\x00", 10<<20/4), "z.yaml": exampleOf(t, kind, 1, "name: z"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	told := filepath.Join(dir, "garbage.yaml") + ":1: error: the file has more than 1048576 bytes and is not read [too-large]\n"
	for _, c := range []struct{ command, want string }{
		{"validate", "2 objects, 1 error\n"},
		{"diff", ""},
		{"apply", "Created config route-rule/default/a at revision 1\nCreated config route-rule/default/z at revision 2\n"},
	} {
		stdout, stderr, code := p.run("", c.command, "-f", dir)
		if code == 0 || !strings.Contains(stderr, told) || (c.want != "" && stdout != c.want) {
			t.Errorf("%s: exit code %d, printed\n%s\nsaid\n%s", c.command, code, stdout, stderr)
		}
	}
}

// TestFilesAndCommandsMixed wants it to be shown who owns an object, and that a file has taken the name of one that was
// written with a command.
func TestFilesAndCommandsMixed(t *testing.T) {
	t.Parallel()
	watched := t.TempDir()
	kind := serve.Kinds().Named("routerule")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(watched, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("rules.yaml", exampleOf(t, kind, 0, "name: a"))
	p := newProgram(t, watched)
	p.wants("Created config route-rule/default/b at revision 1", exampleOf(t, kind, 1, "name: b"), "create", "-f", "-")
	wide := func() string {
		stdout, stderr, code := p.run("", "get", "routerules", "-o", "wide")
		if code != 0 {
			t.Fatal(stderr)
		}
		told := slices.DeleteFunc(strings.SplitAfter(stderr, "\n"), func(line string) bool { return strings.Contains(line, "[unknown-host]") })
		return strings.NewReplacer(watched, "WATCHED", p.dir, "STATE").Replace(stdout + strings.Join(told, ""))
	}
	const kindWord = "RouteRule.v1alpha2.config.istio.io   default     "
	const apart = "NAME   KIND                                 NAMESPACE   REVISION   OWNER\n" +
		"a      " + kindWord + "-          WATCHED/rules.yaml:1\n" +
		"b      " + kindWord + "1          command\n"
	if diff := cmp.Diff(apart, wide()); diff != "" {
		t.Error(diff)
	}

	write("more.yaml", "\n"+exampleOf(t, kind, 1, "name: b"))
	taken := strings.Replace(apart, "1          command", "-          WATCHED/more.yaml:2", 1) +
		"STATE/objects/routerules/default/b.yaml:3:18: error: RouteRule default/b: metadata.name: " +
		"the name is taken by the object at WATCHED/more.yaml:2:1 [duplicate-object]\n" +
		"  hint: the first one counts; give this one another name or remove it\n"
	got := wide()
	for strings.Contains(got, "command") || !strings.Contains(got, "[duplicate-object]") { // until the file was seen
		got = wide()
	}
	if diff := cmp.Diff(taken, got); diff != "" {
		t.Error(diff)
	}
	p.refuses("the object belongs to the watched file "+filepath.Join(watched, "more.yaml"), exampleOf(t, kind, 1, "name: b"), "replace", "-f", "-")
	p.wants("Deleted config: route-rule/default/b", "", "delete", "routerule", "b")
	if _, stderr, _ := p.run("", "get", "routerules", "-o", "wide"); strings.Contains(stderr, "[duplicate-object]") {
		t.Errorf("what was deleted is still told: %s", stderr)
	}
}

// TestOneOfTwoWritersWins has many commands replace the object that all of them have read.
func TestOneOfTwoWritersWins(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	socket, err := api.Socket(p.dir)
	if err != nil {
		t.Fatal(err)
	}
	kind := serve.Kinds().Named("routerule")
	p.wants("Created config route-rule/default/x at revision 1", exampleOf(t, kind, 0, "name: x"), "create", "-f", "-")
	const writers, rounds = 8, 20
	for version := range rounds {
		type answer struct {
			api.Written
			error
		}
		answers, start := make(chan answer, writers), make(chan struct{})
		for writer := range writers {
			text := exampleOf(t, kind, 0, fmt.Sprintf("name: x, resourceVersion: '%d', labels: {writer: w%d}", version+1, writer))
			go func() {
				<-start
				written, err := api.NewClient(socket).Write(t.Context(), api.Write{Op: api.Replace, Files: []api.File{{Name: "f", Text: text}}})
				answers <- answer{written, err}
			}()
		}
		close(start)
		var won, lost int
		for range writers {
			a := <-answers
			switch {
			case a.error != nil:
				t.Fatal(a.error)
			case len(a.Results) == 1 && a.Results[0].ResourceVersion == int64(version+2):
				won++
			case len(a.Problems) > 0 && a.Problems[0].Code == "conflict":
				lost++
			}
		}
		if won != 1 || lost != writers-1 {
			t.Fatalf("round %d: %d of %d writers won, %d were refused", version, won, writers, lost)
		}
	}
}

// TestWordsMeanOneKind wants no word of the command line to mean two kinds.
func TestWordsMeanOneKind(t *testing.T) {
	t.Parallel()
	means := map[string]string{}
	for _, kind := range validKinds() {
		words := append([]string{strings.ToLower(kind.Name), kind.Type, kind.Plural}, kind.Short...)
		slices.Sort(words)
		for _, word := range slices.Compact(words) {
			if other, taken := means[word]; taken {
				t.Errorf("%s means %s and %s", word, other, kind.Name)
			}
			means[word] = kind.Name
		}
	}
}
