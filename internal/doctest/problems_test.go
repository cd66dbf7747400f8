package doctest

import (
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/lateen-mesh/lateen/internal/golden"
	"github.com/lateen-mesh/lateen/internal/meshtest"
)

const (
	problemsPage   = "docs/reference/problems.md"
	examplesFolder = "testdata/problems"
	printedSection = "printed" // what is printed about the code; all other sections are input
	usualFile      = "rules.yaml"
)

// TestProblemExamples runs the example of each code on a control plane that knows BookInfo, and compares what is printed
// with this code.
func TestProblemExamples(t *testing.T) {
	golden.Run(t, examplesFolder, func(t *testing.T, c *golden.Case) {
		e := newExample(t, c)
		all := e.problems()
		for _, line := range e.commands {
			all += e.command(line)
		}
		all = strings.ReplaceAll(all, e.dir+"/", "")
		told := ""
		for p := range eachProblem(all) {
			if strings.Contains(p, "["+filepath.Base(t.Name())+"]\n") && !strings.Contains(told, p) {
				told += p
			}
		}
		if told == "" {
			t.Errorf("the example does not show its problem, but only:\n%s", all)
		}
		c.Out(printedSection, told)
	})
}

// eachProblem takes apart what was printed: every line with the hint below it.
func eachProblem(text string) iter.Seq[string] {
	return func(yield func(string) bool) {
		problem := ""
		for line := range strings.Lines(text) {
			if problem != "" && !strings.HasPrefix(line, "  hint: ") {
				if !yield(problem) {
					return
				}
				problem = ""
			}
			problem += line
		}
		if problem != "" {
			yield(problem)
		}
	}
}

// explained is what an example's file says about its code.
type explained struct {
	code, meaning, severity, remedy string
	archive                         *txtar.Archive
}

// severities is the second line of an example's file.
var severities = regexp.MustCompile(`^Severity: (error|warning|error or warning)\.$`)

func explanations(t *testing.T) []explained {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(examplesFolder, "*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	var all []explained
	for _, path := range paths { // sorted
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		head := strings.SplitN(strings.TrimSpace(string(archive.Comment)), "\n", 3)
		if len(head) < 3 || !severities.MatchString(head[1]) {
			t.Fatalf("%s: want the meaning of the code in the first line, its severity in the second, then what to do", path)
		}
		e := explained{
			code: strings.TrimSuffix(filepath.Base(path), ".txtar"), meaning: head[0],
			severity: severities.FindStringSubmatch(head[1])[1], remedy: strings.TrimSpace(head[2]), archive: archive,
		}
		for _, severity := range regexp.MustCompile(` (error|warning): `).FindAllStringSubmatch(" "+e.section(printedSection), -1) {
			if !strings.Contains(e.severity, severity[1]) {
				t.Errorf("%s: the problem is a %s, which the file does not say", path, severity[1])
			}
		}
		all = append(all, e)
	}
	return all
}

func (e explained) section(name string) string {
	i := slices.IndexFunc(e.archive.Files, func(f txtar.File) bool { return f.Name == name })
	if i < 0 {
		return ""
	}
	return string(e.archive.Files[i].Data)
}

const pageHead = `# Problems

This file is generated from examples that tests run: ` + "`make generate`" + ` writes it from internal/doctest/testdata/problems.

What is wrong with an object is told everywhere in the same words, with the place of the value:

` + fence + `text
FILE:LINE:COLUMN: SEVERITY: KIND NAMESPACE/NAME: FIELD: MESSAGE [CODE]
  hint: WHAT TO DO
` + fence + `

An object with an error is not applied; one with a warning is. Whatever is wrong with one object, all others count.

Below stand for each code an example, what is told about it, and what to do. Examples are files called rules.yaml, unless they say otherwise, in a
mesh with BookInfo. Other problems of the same files are left out.

## Codes

| Code | Severity | Meaning |
|---|---|---|
`

// TestProblemsPage wants the page about problems to be what the examples say. With -update it writes the page.
func TestProblemsPage(t *testing.T) {
	var page strings.Builder
	page.WriteString(pageHead)
	all := explanations(t)
	for _, e := range all {
		fmt.Fprintf(&page, "| [`%s`](#%s) | %s | %s |\n", e.code, e.code, e.severity, e.meaning)
	}
	for _, e := range all {
		fmt.Fprintf(&page, "\n## %s\n\n%s\n", e.code, e.meaning)
		for _, f := range e.archive.Files {
			page.WriteString(shown(f))
		}
		fmt.Fprintf(&page, "\n%s\n", e.remedy)
	}
	path := filepath.Join(meshtest.Root(t), problemsPage)
	if golden.Updating() {
		if err := os.WriteFile(path, []byte(page.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != page.String() {
		t.Errorf("%s is not what the examples say (%v): make generate", problemsPage, err)
	}
}

// shown returns a section of an example as Markdown.
func shown(f txtar.File) string {
	name := strings.TrimPrefix(f.Name, inputPrefix)
	head, language := "A file `"+name+"`:\n\n", "yaml ignore=wrong"
	switch {
	case name == printedSection, name == commandsSection:
		head, language = "", "text"
	case name == clusterSection:
		head, language = "A cluster:\n\n", "text"
	case name == linksSection:
		head, language = "A link, with what it leads to:\n\n", "text"
	case name == usualFile:
		head = ""
	case strings.HasPrefix(name, stateFolder):
		language = "text"
	}
	return fmt.Sprintf("\n%s%s%s\n%s%s\n", head, fence, language, f.Data, fence)
}
