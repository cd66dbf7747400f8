package inject

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// TestPatch shows that a pod gets by patch what a file with it gets: the same sidecar, the same reason, the same problems. The
// pods are those of the golden cases, templates too.
func TestPatch(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join("testdata", "inject", "*.txtar"))
	if err != nil || len(paths) == 0 {
		t.Fatal(err, paths)
	}
	tried := 0
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(archive.Files, func(f txtar.File) bool { return f.Name == "in.file" })
		if slices.ContainsFunc(archive.Files, func(f txtar.File) bool { return f.Name == "in.unread" }) {
			continue
		}
		for n, o := range flat(read(t, archive.Files[i].Data)) {
			kind, _ := o["kind"].(string)
			if !kinds[kind].has(fmt.Sprint(o["apiVersion"])) || templateOf(o) == nil {
				continue
			}
			pod := templateOf(o)
			pod["apiVersion"], pod["kind"] = "v1", "Pod"
			tried++
			t.Run(fmt.Sprint(filepath.Base(path), n), func(t *testing.T) { comparePatch(t, pod) })
		}
	}
	if tried < 50 {
		t.Errorf("only %d pods were tried", tried)
	}
}

func comparePatch(t *testing.T, pod object) {
	data, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	patch, w, problems := Patch(data, "", options)
	r := Inject("", data, options)
	if difference := cmp.Diff(r.Workloads, []Workload{w}); difference != "" {
		t.Error(difference)
	}
	if difference := cmp.Diff(r.Problems, sorted(problems)); difference != "" {
		t.Error(difference)
	}
	if !w.Changed {
		if patch != nil {
			t.Errorf("a patch for a pod that is left alone: %s", patch)
		}
		return
	}
	var operations []struct {
		Op, Path string
		Value    any
	}
	if err := json.Unmarshal(patch, &operations); err != nil {
		t.Fatal(err)
	}
	var got any = pod
	for _, o := range operations {
		got = patched(t, got, strings.Split(o.Path, "/")[1:], func(parent any, key string) any {
			return operate(t, o.Op, parent, key, o.Value)
		})
	}
	if difference := cmp.Diff(read(t, r.Text)[0], got); difference != "" {
		t.Errorf("the patch makes something else (- file, + patch):\n%s", difference)
	}
}

func sorted(problems []mesh.Problem) []mesh.Problem {
	mesh.SortProblems(problems)
	return problems
}

// patched changes what a path leads to.
func patched(t *testing.T, in any, path []string, f func(parent any, key string) any) any {
	t.Helper()
	key := strings.NewReplacer("~1", "/", "~0", "~").Replace(path[0])
	if len(path) == 1 {
		return f(in, key)
	}
	switch in := in.(type) {
	case object:
		in[key] = patched(t, in[key], path[1:], f)
	case []any:
		i, err := strconv.Atoi(key)
		if err != nil {
			t.Fatal(err)
		}
		in[i] = patched(t, in[i], path[1:], f)
	default:
		t.Fatalf("%s leads nowhere", key)
	}
	return in
}

// operate does what an operation of RFC 6902 says.
func operate(t *testing.T, op string, parent any, key string, value any) any {
	t.Helper()
	switch in := parent.(type) {
	case object:
		if _, there := in[key]; op == "replace" && !there {
			t.Fatalf("%s is not there to be replaced", key)
		}
		in[key] = value
		return in
	case []any:
		i, err := strconv.Atoi(key)
		if err != nil || op != "add" {
			t.Fatal(op, err)
		}
		return slices.Insert(in, i, value)
	default:
		t.Fatalf("%s leads nowhere", key)
		return nil
	}
}

// TestPatchNamespace shows that the namespace of a request counts for a pod that does not name its own.
func TestPatchNamespace(t *testing.T) {
	pod := []byte(`{"kind":"Pod","metadata":{"generateName":"a-"},"spec":{"containers":[{"name":"a"}]}}`)
	if patch, w, _ := Patch(pod, "kube-system", options); patch != nil || w.Why != "namespace kube-system belongs to the system" {
		t.Errorf("%s %v", patch, w)
	}
	if patch, w, _ := Patch(pod, "shop", options); patch == nil || w.Ref != (mesh.Ref{Kind: "Pod", Namespace: "shop", Name: "a-"}) {
		t.Errorf("%s %v", patch, w)
	}
}

// TestPatchOfNoPod shows what is said of other things than pods.
func TestPatchOfNoPod(t *testing.T) {
	for _, text := range []string{"", "null", "[]", `"pod"`, "{", "{}", `{"spec":{}}`, `{} {}`, strings.Repeat("[", 1000), strings.Repeat(" ", maxDocument+1)} {
		if patch, w, problems := Patch([]byte(text), "", options); patch != nil || w.Changed || !mesh.HasErrors(problems) {
			t.Errorf("%.40q: %s, %v, %v", text, patch, w, problems)
		}
	}
}

// TestOptions shows which options pods can be injected with.
func TestOptions(t *testing.T) {
	for _, good := range []Options{
		options,
		{Image: "registry.example.com:5000/mesh/lateen-proxy:1.2-dirty", Version: "1", Pull: "Always", Ranges: []string{"10.0.0.0/8", "192.168.0.0/16"}},
		{Image: "lateen-proxy@sha256:0123", Version: "1", Pull: "Never"},
	} {
		if err := good.Check(); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []Options{
		{Version: "1"},
		{Image: "a b", Version: "1"},
		{Image: "a"},
		{Image: "a", Version: "1", Pull: "never"},
		{Image: "a", Version: "1", Ranges: []string{"10.0.0.1"}},
		{Image: "a", Version: "1", Ranges: []string{""}},
		{Image: "a", Version: "1", Ranges: []string{"::ffff:10.0.0.0/104"}},
		{Image: "a", Version: "1", Ranges: make([]string, 257)},
	} {
		if err := bad.Check(); err == nil {
			t.Errorf("%v is taken", bad)
		}
	}
}
