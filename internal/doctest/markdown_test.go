package doctest

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/meshtest"
)

// document is a Markdown file.
type document struct {
	name   string // relative to the checkout
	text   string
	blocks []block
}

// block is a fenced block.
type block struct {
	line     int // of its fence
	language string
	words    []string // after the language
	text     string
}

// has tells whether a word stands after the language.
func (b block) has(word string) bool { return slices.Contains(b.words, word) }

// value returns what stands after "KEY=", and whether it is there.
func (b block) value(key string) (string, bool) {
	for _, w := range b.words {
		if value, ok := strings.CutPrefix(w, key+"="); ok {
			return value, true
		}
	}
	return "", false
}

// documents reads README.md and all Markdown below docs and samples.
func documents(t *testing.T) []document {
	t.Helper()
	root := meshtest.Root(t)
	var all []document
	for _, place := range []string{"README.md", "CHANGELOG.md", "docs", "samples"} {
		err := filepath.WalkDir(filepath.Join(root, place), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".md" {
				return err
			}
			text, err := os.ReadFile(path)
			name, _ := filepath.Rel(root, path)
			all = append(all, document{name, string(text), blocksOf(string(text))})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// read returns one document.
func read(t *testing.T, name string) document {
	t.Helper()
	for _, d := range documents(t) {
		if d.name == name {
			return d
		}
	}
	t.Fatalf("there is no %s", name)
	return document{}
}

const fence = "```"

func blocksOf(text string) []block {
	var blocks []block
	var open *block
	for number, line := range strings.Split(text, "\n") {
		info, fenced := strings.CutPrefix(line, fence)
		switch {
		case fenced && open == nil:
			words := strings.Fields(info)
			open = &block{line: number + 1}
			if len(words) > 0 {
				open.language, open.words = words[0], words[1:]
			}
		case fenced:
			blocks = append(blocks, *open)
			open = nil
		case open != nil:
			open.text += line + "\n"
		}
	}
	return blocks
}

// section returns the text below a heading of the second level.
func (d document) section(t *testing.T, heading string) string {
	t.Helper()
	_, rest, found := strings.Cut(d.text, "\n## "+heading+"\n")
	if !found {
		t.Fatalf("%s has no section %q", d.name, heading)
	}
	section, _, _ := strings.Cut(rest, "\n## ")
	return section
}

// names returns the names in backticks in the first column of the tables in a section.
func names(section string) []string {
	var all []string
	for line := range strings.Lines(section) {
		cell, ok := strings.CutPrefix(line, "| `")
		if !ok {
			continue
		}
		cell, _, _ = strings.Cut(cell, "|")
		for i, part := range strings.Split("`"+cell, "`") {
			if i%2 == 1 {
				all = append(all, part)
			}
		}
	}
	return all
}

func TestBlocks(t *testing.T) {
	t.Parallel()
	text := "# A\n```yaml file=a.yaml\na: 1\n```\ntext\n```\nplain\n```\n```sh run exit=2\nfalse\n```\n"
	blocks := blocksOf(text)
	if len(blocks) != 3 || blocks[0].line != 2 || blocks[0].text != "a: 1\n" || blocks[1].language != "" || !blocks[2].has("run") {
		t.Errorf("%+v", blocks)
	}
	if code, ok := blocks[2].value("exit"); code != "2" || !ok {
		t.Errorf("exit is %q, %t", code, ok)
	}
}
