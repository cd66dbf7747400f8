// Package golden runs tests whose cases are txtar files, one case a file, in which a person can read what goes in and
// what has to come out.
//
// The comment at the top of a file begins with an English sentence that says what the case shows. Sections whose names
// begin with "in." are input; every other section is output, which the test produces with [Case.Out]. A case fails on an
// output that differs, that the file lacks, or that is no longer produced, and on an input that nothing read. Tests run
// with -update rewrite the outputs instead, in the order in which they were produced.
package golden

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/rogpeppe/go-internal/diff"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "rewrite what golden files want with what the code does")

// Updating tells whether the test runs with -update. It is for golden files of other shapes, such as testscript's.
func Updating() bool { return *update }

// Run calls f in a subtest for each DIR/*.txtar.
func Run(t *testing.T, dir string, f func(t *testing.T, c *Case)) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) == 0 {
		t.Fatalf("no cases: %s has no *.txtar", dir)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			c := load(t, path)
			f(t, c)
			c.finish(*update)
		})
	}
}

// Case is one golden file. It is used by one goroutine.
type Case struct {
	t       testing.TB
	path    string
	archive *txtar.Archive
	read    map[string]bool
	made    []txtar.File
}

func load(t testing.TB, path string) *Case {
	t.Helper()
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(archive.Comment), "\n")
	if !sentence(first) {
		t.Fatalf("%s: the first line is %q; it has to be an English sentence that says what the case shows", path, first)
	}
	var names []string
	for _, file := range archive.Files {
		if slices.Contains(names, file.Name) {
			t.Fatalf("%s: there are two sections %s", path, file.Name)
		}
		names = append(names, file.Name)
	}
	return &Case{t: t, path: path, archive: archive, read: map[string]bool{}}
}

// In returns the text of an input section. A file without that section fails the test.
func (c *Case) In(name string) string {
	c.t.Helper()
	text, ok := c.Lookup(name)
	if !ok {
		c.t.Fatalf("%s: the case has no section %s", c.path, name)
	}
	return text
}

// Lookup returns the text of an input section that not every case has.
func (c *Case) Lookup(name string) (text string, ok bool) {
	c.t.Helper()
	if !input(name) {
		c.t.Fatalf("%s: %s is no input: the names of inputs begin with %q", c.path, name, inputPrefix)
	}
	c.read[name] = true
	text, ok = section(c.archive.Files, name)
	return text, ok
}

// Inputs returns the names of the input sections in the order of the file.
func (c *Case) Inputs() []string {
	var names []string
	for _, file := range c.archive.Files {
		if input(file.Name) {
			names = append(names, file.Name)
		}
	}
	return names
}

// Out says what the code under test produced for an output section.
func (c *Case) Out(name, text string) {
	c.t.Helper()
	if input(name) {
		c.t.Fatalf("%s: output %s is named like an input", c.path, name)
	}
	if _, ok := section(c.made, name); ok {
		c.t.Fatalf("%s: output %s was produced twice", c.path, name)
	}
	c.made = append(c.made, txtar.File{Name: name, Data: []byte(text)})
}

// finish compares what was made with what the file wants, or writes it there.
func (c *Case) finish(update bool) {
	c.t.Helper()
	if c.t.Failed() {
		return // what a broken run made is neither worth comparing nor writing
	}
	wanted := &txtar.Archive{Comment: c.archive.Comment}
	for _, file := range c.archive.Files {
		if input(file.Name) {
			wanted.Files = append(wanted.Files, file)
			if !c.read[file.Name] {
				c.t.Errorf("%s: nothing read input %s: is its name right?", c.path, file.Name)
			}
		}
	}
	wanted.Files = append(wanted.Files, c.made...)
	text := txtar.Format(wanted)
	if got := sectionNames(txtar.Parse(text)); !slices.Equal(got, sectionNames(wanted)) {
		c.t.Errorf("%s: an output has a line that looks like the head of a section: %v", c.path, got)
	}
	if c.t.Failed() {
		return
	}
	if !update {
		c.compare()
		return
	}
	if err := os.WriteFile(c.path, text, 0o644); err != nil {
		c.t.Error(err)
	}
}

func (c *Case) compare() {
	c.t.Helper()
	for _, file := range c.made {
		want, ok := section(c.archive.Files, file.Name)
		if !ok {
			c.t.Errorf("%s: the file has no section %s, but this was produced:\n%s", c.path, file.Name, file.Data)
		} else if lines := difference(want, string(file.Data)); lines != "" {
			c.t.Errorf("%s: section %s:\n%s", c.path, file.Name, lines)
		}
	}
	for _, file := range c.archive.Files {
		if _, ok := section(c.made, file.Name); !ok && !input(file.Name) {
			c.t.Errorf("%s: section %s is no longer produced", c.path, file.Name)
		}
	}
	if c.t.Failed() {
		c.t.Log("if the new text is right, rewrite the file: make golden, or go test -update")
	}
}

const inputPrefix = "in."

func input(name string) bool { return strings.HasPrefix(name, inputPrefix) }

func section(files []txtar.File, name string) (text string, ok bool) {
	for _, file := range files {
		if file.Name == name {
			return string(file.Data), true
		}
	}
	return "", false
}

func sectionNames(archive *txtar.Archive) []string {
	names := make([]string, 0, len(archive.Files))
	for _, file := range archive.Files {
		names = append(names, file.Name)
	}
	return names
}

// sentence tells whether a line reads like one: a capital or a quotation mark first, a full stop last, words between.
func sentence(line string) bool {
	first := []rune(line + " ")[0]
	return (unicode.IsUpper(first) || strings.ContainsRune("\"`“", first)) &&
		strings.HasSuffix(line, ".") && len(strings.Fields(line)) >= 3
}

// difference returns the lines by which two texts differ, or nothing. A newline at the very end makes none, since a txtar
// section always has it.
func difference(want, got string) string {
	return string(diff.Diff("file", ended(want), "now", ended(got)))
}

func ended(text string) []byte {
	if text == "" || strings.HasSuffix(text, "\n") {
		return []byte(text)
	}
	return []byte(text + "\n")
}
