package crd_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/crd"
	"github.com/lateen-mesh/lateen/internal/serve"
)

const (
	root = "../.."
	file = root + "/deploy/chart/templates/crds.yaml"
)

// definition is what the tests read of a CustomResourceDefinition.
type definition struct {
	Spec struct {
		Names struct {
			Kind       string
			Plural     string
			Singular   string
			ShortNames []string `yaml:"shortNames"`
		}
		Versions []struct {
			Name    string
			Served  bool
			Storage bool
			Schema  struct {
				OpenAPI *schema `yaml:"openAPIV3Schema"`
			}
		}
	}
}

func definitions(t *testing.T) ([]byte, []definition) {
	t.Helper()
	comments, err := crd.ReadComments(os.DirFS(root), "github.com/lateen-mesh/lateen", "internal")
	if err != nil {
		t.Fatal(err)
	}
	text, err := crd.Definitions(serve.Kinds(), comments)
	if err != nil {
		t.Fatal(err)
	}
	var all []definition
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var d definition
		if decoder.Decode(&d) != nil {
			return text, all
		}
		all = append(all, d)
	}
}

// The file that is installed is made of the Go types as they are.
func TestFileIsCurrent(t *testing.T) {
	t.Parallel()
	want, _ := definitions(t)
	got, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is not what the kinds say (%v): make generate", file, err)
	}
	if bytes.Contains(want, []byte("{{")) {
		t.Error("a description would be taken for a template")
	}
}

// Every kind of ours has a definition, with all its versions, of which the first is stored, and under all its names.
func TestNamesAndVersions(t *testing.T) {
	t.Parallel()
	_, all := definitions(t)
	ours := config.Kinds{}
	for _, k := range serve.Kinds() {
		if k.Spec != nil {
			ours = append(ours, k)
		}
	}
	if len(all) != len(ours) || len(all) < 3 {
		t.Fatalf("%d definitions for %d kinds", len(all), len(ours))
	}
	for i, d := range all {
		for _, name := range append([]string{d.Spec.Names.Kind, d.Spec.Names.Plural, d.Spec.Names.Singular}, d.Spec.Names.ShortNames...) {
			if k := ours.Named(name); k == nil || k.Name != d.Spec.Names.Kind {
				t.Errorf("%s: commands do not know %s", d.Spec.Names.Kind, name)
			}
		}
		if got, want := len(d.Spec.Names.ShortNames), len(ours[i].Short)+1; got != want {
			t.Errorf("%s: %d short names, want %d", d.Spec.Names.Kind, got, want)
		}
		for j, v := range d.Spec.Versions {
			if !v.Served || v.Storage != (j == 0) || !strings.HasSuffix(ours[i].APIVersions[j], "/"+v.Name) {
				t.Errorf("%s: version %s: served %v, stored %v", d.Spec.Names.Kind, v.Name, v.Served, v.Storage)
			}
		}
		if got, want := len(d.Spec.Versions), len(ours[i].APIVersions); got != want {
			t.Errorf("%s: %d versions, want %d", d.Spec.Names.Kind, got, want)
		}
	}
}

// Every field says what it is, for `kubectl explain`.
func TestFieldsAreExplained(t *testing.T) {
	t.Parallel()
	_, all := definitions(t)
	var walk func(at string, s *schema)
	walk = func(at string, s *schema) {
		for name, p := range s.Properties {
			if p.Description == "" {
				t.Errorf("%s.%s has no description", at, name)
			}
			walk(at+"."+name, p)
		}
		for _, below := range []*schema{s.Items, s.Additional} {
			if below != nil {
				walk(at+"[]", below)
			}
		}
	}
	for _, d := range all {
		walk(d.Spec.Names.Kind, d.Spec.Versions[0].Schema.OpenAPI.Properties["spec"])
	}
}

// examples returns every object of ours in the documentation, the samples and the test data.
func examples(t *testing.T) []config.Object {
	t.Helper()
	var all []config.Object
	for _, dir := range []string{"docs", "samples", "internal"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, entry os.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			switch filepath.Ext(path) {
			case ".md", ".yaml", ".txtar":
			default:
				return nil
			}
			text, err := os.ReadFile(path)
			for _, part := range parts(string(text)) {
				objects, _ := config.Parse(path, []byte(part), "")
				for _, o := range objects {
					if k := serve.Kinds().Find(o.APIVersion, o.Kind); k != nil && k.Spec != nil {
						all = append(all, o)
					}
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(all) < 200 {
		t.Fatalf("only %d examples were found", len(all))
	}
	return all
}

// parts takes a file apart at what ends a fenced block, or a section of a txtar file.
func parts(text string) []string {
	var all []string
	var part strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "```") || strings.HasPrefix(line, "-- ") {
			all = append(all, part.String())
			part.Reset()
			continue
		}
		part.WriteString(line)
	}
	return append(all, part.String())
}
