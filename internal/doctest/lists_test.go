package doctest

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/internal/checkup"
	"github.com/lateen-mesh/lateen/internal/envoy"
	"github.com/lateen-mesh/lateen/internal/kubecheck"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/netns"
	"github.com/lateen-mesh/lateen/internal/plan"
)

const (
	interfaces  = "docs/reference/interfaces.md"
	metricsPage = "docs/reference/metrics.md"
)

// compare wants the names in a document to be those of the code.
func compare(t *testing.T, what string, documented, actual []string) {
	t.Helper()
	documented, actual = slices.Clone(documented), slices.Clone(actual)
	slices.Sort(documented)
	slices.Sort(actual)
	if diff := cmp.Diff(documented, slices.Compact(actual)); diff != "" {
		t.Errorf("%s in %s (-) and in the code (+):\n%s", what, interfaces, diff)
	}
}

// sources parses the Go files below a folder of the checkout, without tests.
func sources(t *testing.T, dir string) []*ast.File {
	t.Helper()
	var files []*ast.File
	err := filepath.WalkDir(filepath.Join(meshtest.Root(t), dir), func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && entry.Name() == "testdata":
			return fs.SkipDir
		case filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		files = append(files, file)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestProblemCodes(t *testing.T) {
	t.Parallel()
	code := regexp.MustCompile(`^Code[A-Z]`)
	var actual []string
	for _, file := range sources(t, "internal") {
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != len(spec.Names) {
				return true
			}
			for i, name := range spec.Names {
				value, ok := spec.Values[i].(*ast.BasicLit)
				if !code.MatchString(name.Name) || !ok || value.Kind != token.STRING {
					continue
				}
				if text, err := strconv.Unquote(value.Value); err == nil {
					actual = append(actual, text)
				}
			}
			return true
		})
	}
	var shown []string
	for _, e := range explanations(t) { // sorted
		shown = append(shown, e.code)
	}
	slices.Sort(actual)
	if diff := cmp.Diff(shown, slices.Compact(actual)); diff != "" {
		t.Errorf("codes with a file in %s (-) and in the code (+):\n%s", examplesFolder, diff)
	}
}

func TestAccessLogKeys(t *testing.T) {
	t.Parallel()
	keys, _, _ := strings.Cut(read(t, interfaces).section(t, "Access log"), "`rule` is")
	documented := names(keys)
	for _, p := range []plan.Plan{
		plan.OutboundListener{Name: "outbound", Address: "127.0.0.1", Port: 1},
		plan.DoorListener{Name: "ingress", Address: "127.0.0.1", Port: 1},
		plan.InboundListener{
			Name: "inbound|1", Address: "127.0.0.1", Port: 1, HTTP: true,
			Route: plan.Route{Name: "inbound", Path: plan.PathMatch{Kind: plan.PathPrefix, Value: "/"}, Cluster: "inbound|1"},
		},
	} {
		message, err := envoy.Of(p)
		if err != nil {
			t.Fatal(err)
		}
		text, err := message.Text()
		if err != nil {
			t.Fatal(err)
		}
		var listener any
		if err := json.Unmarshal([]byte(text), &listener); err != nil {
			t.Fatal(err)
		}
		compare(t, "keys of the access log", documented, keysOf(find(listener, "jsonFormat")))
	}
}

// find returns the value of the first field of this name, or nil.
func find(value any, name string) any {
	switch value := value.(type) {
	case map[string]any:
		if found, ok := value[name]; ok {
			return found
		}
		for _, v := range value {
			if found := find(v, name); found != nil {
				return found
			}
		}
	case []any:
		for _, v := range value {
			if found := find(v, name); found != nil {
				return found
			}
		}
	}
	return nil
}

func keysOf(value any) []string {
	var keys []string
	fields, _ := value.(map[string]any)
	for key := range fields {
		keys = append(keys, key)
	}
	return keys
}

// TestRuleWords compares the words that stand where no object decides.
func TestRuleWords(t *testing.T) {
	t.Parallel()
	word := regexp.MustCompile(`^"<[a-z-]+>"$`)
	var actual []string
	for _, file := range sources(t, "internal/plan") {
		ast.Inspect(file, func(n ast.Node) bool {
			if literal, ok := n.(*ast.BasicLit); ok && word.MatchString(literal.Value) {
				actual = append(actual, strings.Trim(literal.Value, `"`))
			}
			return true
		})
	}
	_, words, _ := strings.Cut(read(t, interfaces).section(t, "Access log"), "`rule` is")
	compare(t, "words in angle brackets", names(words), actual)
}

// TestFindingsAreDocumented compares the kinds of findings of `lateen check` with their list.
func TestFindingsAreDocumented(t *testing.T) {
	t.Parallel()
	_, list, _ := strings.Cut(read(t, interfaces).section(t, "API"), "| Code | Severity | Meaning |")
	var actual []string
	for _, code := range append(checkup.Codes(), kubecheck.Codes()...) {
		actual = append(actual, string(code))
	}
	compare(t, "codes of findings", names(list), actual)
}

// TestRunningMeshIsDocumented compares what a mesh gives its applications and its metrics with their lists.
func TestRunningMeshIsDocumented(t *testing.T) {
	netns.Run(t, func(t *testing.T) {
		const file = `apiVersion: lateen.dev/v1alpha1
kind: Mesh
metadata: {name: shop}
spec:
  services:
    web:
      ports: [{name: http, port: 8000}, {name: http-admin, port: 8001}]
      workloads:
        v1: {command: [env]}
    api:
      ports: [{name: http, port: 8000}]
      workloads:
        v1: {command: [env], proxyless: true}
`
		s := newSession(t)
		s.document(document{name: "mesh", blocks: []block{
			{language: "yaml", words: []string{"file=mesh.yaml"}, text: file},
			{language: "sh", words: []string{"run", "background"}, text: "lateen up\n"},
			{language: "output", text: "…\nlateen: error: …-v1-0 ended …\n…\nlateen: error: …-v1-0 ended …\n"},
		}})
		documented := names(read(t, interfaces).section(t, "Environment"))
		documented = append(slices.DeleteFunc(documented, func(n string) bool { return n == "PORT_NAME" }), "PORT_HTTP", "PORT_HTTP_ADMIN")
		compare(t, "variables", documented, append(s.given("web-v1-0"), s.given("api-v1-0")...))
		// A mesh on one machine is asked by no API server.
		counted := slices.DeleteFunc(names(read(t, metricsPage).section(t, "Control plane")), func(n string) bool { return strings.HasPrefix(n, "lateen_webhook_") })
		compare(t, "metrics", counted, metrics(t))
	})
}

// given returns the variables that an application which printed its environment has and a command has not, or has another
// value of.
func (s *session) given(instance string) []string {
	var all []string
	for line := range strings.Lines(s.behind.output.Lines()) {
		pair, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), instance+" | ")
		name, _, isPair := strings.Cut(pair, "=")
		if ok && isPair && !slices.Contains(s.env, pair) && name != "PWD" && !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}

// metrics returns the names of Lateen's own metrics.
func metrics(t *testing.T) []string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:8090/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, match := range regexp.MustCompile(`(?m)^# TYPE (lateen_\w+) `).FindAllStringSubmatch(string(text), -1) {
		all = append(all, match[1])
	}
	return all
}

// TestNamedTestsExist wants every test that the architecture names as its proof to be there.
func TestNamedTestsExist(t *testing.T) {
	t.Parallel()
	named := regexp.MustCompile("`([a-z0-9/]+)\\.(Test\\w+)`").FindAllStringSubmatch(read(t, "docs/architecture.md").text, -1)
	if len(named) == 0 {
		t.Error("no test is named")
	}
	for _, match := range named {
		var files []string
		for _, above := range []string{"internal", "."} { // packages of internal are named without it
			found, err := filepath.Glob(filepath.Join(meshtest.Root(t), above, match[1], "*_test.go"))
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, found...)
		}
		if !slices.ContainsFunc(files, func(file string) bool {
			text, err := os.ReadFile(file)
			return err == nil && strings.Contains(string(text), "\nfunc "+match[2]+"(")
		}) {
			t.Errorf("there is no %s in %s", match[2], match[1])
		}
	}
}

// TestLibrariesAreDecided wants every direct dependency to have its line in the decision record.
func TestLibrariesAreDecided(t *testing.T) {
	t.Parallel()
	decided := read(t, "docs/decisions/0005-libraries.md").text
	text, err := os.ReadFile(filepath.Join(meshtest.Root(t), "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	_, required, _ := strings.Cut(string(text), "require (")
	for line := range strings.Lines(required) {
		module, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.Contains(module, "/") && !strings.Contains(line, "// indirect") && !strings.Contains(decided, "`"+module+"`") {
			t.Errorf("%s has no line in 0005-libraries.md", module)
		}
	}
}
