package doctest

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/admin"
	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/local"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/serve"
)

// check says what is wrong with a YAML file, as `lateen validate` would.
func check(name, text string) admin.Checked {
	kinds := append(serve.Kinds(), local.MeshKind())
	return admin.Check(kinds, "", []api.File{{Name: name, Text: text}})
}

func tell(t *testing.T, line int, problems []mesh.Problem) {
	t.Helper()
	for _, p := range problems {
		p.Position.Line += line
		t.Error(p)
	}
}

func TestYAMLBlocksLoad(t *testing.T) {
	t.Parallel()
	for _, d := range documents(t) {
		for _, b := range d.blocks {
			reason, ignored := b.value("ignore")
			switch {
			case b.language != "yaml":
			case ignored && reason == "":
				t.Errorf("%s:%d: ignore= needs a reason", d.name, b.line)
			case !ignored:
				checked := check(d.name, b.text)
				tell(t, b.line, checked.Problems)
				if checked.Count == 0 {
					t.Errorf("%s:%d: the block holds no object", d.name, b.line)
				}
			}
		}
	}
}

// languages are those that a block may have. One that is misspelt would escape the tests.
var languages = map[string][]string{
	"yaml":   {"ignore", "file"},
	"sh":     {"run", "background", "eventually", "exit", "cluster"},
	"output": {"interrupt"},
	"text":   {},
	"json":   {},
}

func TestBlocksAreKnown(t *testing.T) {
	t.Parallel()
	for _, d := range documents(t) {
		for i, b := range d.blocks {
			words, ok := languages[b.language]
			if !ok {
				t.Errorf("%s:%d: unknown kind of block %q", d.name, b.line, b.language)
			}
			for _, w := range b.words {
				if key, _, _ := strings.Cut(w, "="); !slices.Contains(words, key) {
					t.Errorf("%s:%d: unknown word %q", d.name, b.line, w)
				}
			}
			after := i > 0 && d.blocks[i-1].has("run")
			if b.language == "output" && !b.has("interrupt") && !after {
				t.Errorf("%s:%d: output of nothing that is run", d.name, b.line)
			}
		}
	}
}

func TestSamplesLoad(t *testing.T) {
	t.Parallel()
	root := filepath.Join(meshtest.Root(t), "samples")
	count := 0
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".yaml" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, path)
		count++
		tell(t, 0, check(name, string(text)).Problems)
		if !strings.HasPrefix(string(text), "# ") {
			t.Errorf("%s does not begin with a comment that says what it does", name)
		}
		return nil
	})
	if err != nil || count == 0 {
		t.Error(count, err)
	}
}

func TestDocumentsStayShort(t *testing.T) {
	t.Parallel()
	for _, d := range documents(t) {
		most := 1000
		switch {
		case d.name == "docs/architecture.md":
			most = 300
		case filepath.Dir(d.name) == "docs/decisions":
			most = 60
		case d.name == problemsPage: // looked up, not read
			most = 2000
		}
		if lines := strings.Count(d.text, "\n"); lines > most {
			t.Errorf("%s has %d lines, more than %d", d.name, lines, most)
		}
	}
}
