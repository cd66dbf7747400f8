package v1alpha2_test

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/dialect/v1alpha2"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// breaks are the ends of lines that YAML knows.
var breaks = regexp.MustCompile("\r\n|[\n\r\u0085\u2028\u2029]")

// FuzzDecode shows that no file makes the dialect panic, that its problems stand within the file, that an object with an
// error means nothing, and that the same file always gives the same.
func FuzzDecode(f *testing.F) {
	cases, err := filepath.Glob("testdata/*/*.txtar")
	if err != nil || len(cases) == 0 {
		f.Fatalf("no cases: %v", err)
	}
	for _, path := range cases {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(txtar.Parse(text).Files[0].Data))
	}
	kinds := v1alpha2.Kinds("cluster.local")
	read := func(text string) (all, faulty []config.Meaning, told []mesh.Problem) {
		objects, told := config.Parse("f.yaml", []byte(text), "")
		for i := range objects {
			meaning, problems := kinds.Read(&objects[i])
			if mesh.HasErrors(problems) {
				faulty = append(faulty, meaning)
			}
			all, told = append(all, meaning), append(told, problems...)
		}
		return all, faulty, told
	}
	f.Fuzz(func(t *testing.T, text string) {
		meanings, faulty, problems := read(text)
		for _, m := range faulty {
			if !reflect.ValueOf(m).IsZero() {
				t.Errorf("an object with errors means %v", m)
			}
		}
		lines := len(breaks.FindAllString(text, -1)) + 1
		for _, p := range problems {
			if p.Position.File != "f.yaml" || p.Position.Line < 1 || p.Position.Line > lines || p.Code == "" || p.Message == "" {
				t.Errorf("a file of %d lines has the problem %s", lines, p)
			}
		}
		again, _, told := read(text)
		if diff := cmp.Diff(meanings, again); diff != "" {
			t.Error("the second time it means something else:", diff)
		}
		if diff := cmp.Diff(problems, told); diff != "" {
			t.Error("the second time it has other problems:", diff)
		}
	})
}
