package inject

import (
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// FuzzInject holds files that nobody would write against what is promised. That the result means what it has to is checked by
// package edit each time, and in other words by the golden cases.
func FuzzInject(f *testing.F) {
	paths, err := filepath.Glob(filepath.Join("testdata", "inject", "*.txtar"))
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		i := slices.IndexFunc(archive.Files, func(f txtar.File) bool { return f.Name == "in.file" })
		f.Add(archive.Files[i].Data)
	}
	f.Add([]byte(strings.ReplaceAll(deployment, "\n", "\r\n")))
	f.Add([]byte("\ufeff" + strings.TrimSuffix(deployment, "\n")))
	f.Fuzz(func(t *testing.T, file []byte) {
		r := Inject("f", file, options)
		changed := slices.ContainsFunc(r.Workloads, func(w Workload) bool { return w.Changed })
		if !changed {
			if string(r.Text) != string(file) {
				t.Fatalf("nothing was injected, and it differs:\n%s", r.Text)
			}
			return
		}
		if n := objects(file); n >= 0 && objects(r.Text) != n {
			t.Fatalf("kubectl read %d objects and reads %d in\n%s", n, objects(r.Text), r.Text)
		}
		again := Inject("f", r.Text, options)
		if string(again.Text) != string(r.Text) {
			t.Fatalf("done twice, it is something else:\n%s", again.Text)
		}
		if anew := slices.ContainsFunc(r.Problems, func(p mesh.Problem) bool { return strings.Contains(p.Message, "anew") }); anew {
			return
		}
		if !strings.ContainsAny(string(file), "{[*&") {
			checkLines(t, string(file), string(r.Text))
		}
		if strings.Contains(string(file), "*") || strings.Contains(string(file), "lateen") {
			return // aliases stay written out; and perhaps there was a sidecar before
		}
		if back := Uninject("f", r.Text); string(back.Text) != string(file) {
			t.Fatalf("%q\nbecame\n%q\nand\n%q", file, r.Text, back.Text)
		}
	})
}

// objects returns how many objects kubectl reads in a file, or -1.
func objects(file []byte) int {
	in := utilyaml.NewYAMLOrJSONDecoder(strings.NewReader(string(file)), 4096)
	for n := 0; ; n++ {
		var o any
		switch err := in.Decode(&o); {
		case errors.Is(err, io.EOF):
			return n
		case err != nil:
			return -1
		}
	}
}
