package archtest

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/fstest"
)

// rules are all rules over a checkout. Each is run on this repository and has a broken checkout that it must complain about.
var rules = []struct {
	name  string
	check func(root fs.FS) ([]string, error)
}{
	{"imports", checkImports},
	{"package comments", checkComments},
	{"file sizes", checkSizes},
	{"skipped tests", checkSkips},
	{"marks", checkMarks},
	{"links", checkLinks},
}

func TestRepository(t *testing.T) {
	for _, rule := range rules {
		t.Run(rule.name, func(t *testing.T) {
			wrong, err := rule.check(os.DirFS("../.."))
			if err != nil {
				t.Fatal(err)
			}
			for _, line := range wrong {
				t.Error(line)
			}
		})
	}
	t.Run("dependencies", func(t *testing.T) {
		wrong, err := checkDependencies(goMod(t, "../../go.mod"))
		if err != nil || wrong != nil {
			t.Error(wrong, err)
		}
	})
}

func goMod(t *testing.T, path string) []byte {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "mod", "edit", "-json", path).Output()
	if err != nil {
		t.Fatalf("go mod edit -json %s: %v", path, err)
	}
	return out
}

// checkout makes a file system of pairs of name and text.
func checkout(pairs ...string) fstest.MapFS {
	files := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		files[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return files
}

// expect runs a rule and compares what it says: one part of each line, in order.
func expect(t *testing.T, check func(fs.FS) ([]string, error), root fs.FS, parts ...string) {
	t.Helper()
	wrong, err := check(root)
	if err != nil {
		wrong = append(wrong, "error: "+err.Error())
	}
	if len(wrong) != len(parts) {
		t.Fatalf("said %d things, want %d:\n%s", len(wrong), len(parts), strings.Join(wrong, "\n"))
	}
	for i, part := range parts {
		if !strings.Contains(wrong[i], part) {
			t.Errorf("said %q, want %q", wrong[i], part)
		}
	}
}

func TestComments(t *testing.T) {
	expect(t, checkComments, checkout(
		"internal/good/a.go", "// Package good is good.\npackage good\n",
		"internal/good/b.go", "package good\n",
		"internal/good/b_test.go", "package good_test\n",
		"internal/none/a.go", "// A stray comment.\n\npackage none\n",
		"internal/none/testdata/x.go", "not Go at all",
		"internal/two/a.go", "// Package two is told here.\npackage two\n",
		"internal/two/b.go", "// Package two is told there, too.\npackage two\n",
		"internal/directive/a.go", "//go:build linux\npackage directive\n",
	),
		"internal/directive has no package comment",
		"internal/none has no package comment",
		"internal/two has several package comments: internal/two/a.go, internal/two/b.go")
}

func TestSizes(t *testing.T) {
	lines := strings.Repeat("\n", longestFile-1)
	expect(t, checkSizes, checkout("a.go", "package a\n"+lines, "b.go", "package b\n\n"+lines, "c_test.go", "package c\n\n"+lines),
		"b.go has 501 lines", "c_test.go has 501 lines")
}

func TestSkips(t *testing.T) {
	const text = `package a
func TestA(t *testing.T) { t.Skip("no Envoy") }
func TestB(t *testing.T) { if testing.Short() { return } }
func FuzzC(f *testing.F) { f.SkipNow() }
func TestD(t *testing.T) { decoder.Skip(); _ = fs.SkipDir }
`
	expect(t, checkSkips, checkout("a_test.go", text), "a_test.go:2:28: t.Skip", "a_test.go:4:28: f.SkipNow", "a_test.go:3:31: testing.Short")
}

func TestMarks(t *testing.T) {
	mark := "TO" + "DO"
	expect(t, checkMarks, checkout(
		"a.go", "package a\n\n// "+mark+" later\nvar _ = context."+mark+"()\n",
		"Makefile", "all: # "+mark+": later\n",
		"docs/a.md", "Nothing to do.\n",
		"bin/lateen", mark+":",
	),
		"a.go:3:1: the mark "+mark, "Makefile:1: the mark "+mark)
}

func TestLinks(t *testing.T) {
	const readme = "# Lateen\n## What it *is*, `really`\n## Twice\n## Twice\n" +
		"[guide](docs/guide.md), [part](docs/guide.md#the-first-part), [here](#what-it-is-really), [2](#twice-1), [folder](docs/)\n" +
		"[web](https://example.com/x), ![picture](docs/a%20b.svg \"A picture\"), <img src=\"docs/none.svg\">\n" +
		"`[not a link](none.md)`\n```sh\n[neither](none.md)\n# no-heading\n```\n" +
		"[gone](docs/gone.md), [no part](docs/guide.md#second), [not here](#no-heading), [up](../x.md)\n[ref]: docs/ref.md\n"
	expect(t, checkLinks, checkout(
		"README.md", readme,
		"docs/guide.md", "# Guide\n\n## The first part\n[back](../README.md#twice), [root](/README.md), [self](guide.md#guide)\n<a id=\"x\"></a> [x](#x)\n",
		"docs/a b.svg", "",
	),
		"README.md: link docs/none.svg: there is no docs/none.svg",
		"README.md: link docs/gone.md: there is no docs/gone.md",
		"README.md: link docs/guide.md#second: docs/guide.md has no heading #second",
		"README.md: link #no-heading: README.md has no heading #no-heading",
		"README.md: link ../x.md: there is no ../x.md",
		"README.md: link docs/ref.md: there is no docs/ref.md")
}

func TestDependencies(t *testing.T) {
	for _, test := range []struct {
		direct int
		want   string
	}{{mostDependencies, "[]"}, {mostDependencies + 1, "go.mod has 31 direct dependencies"}} {
		var text strings.Builder
		text.WriteString("module example.com/m\n\nrequire (\n\texample.com/indirect v1.0.0 // indirect\n")
		for n := range test.direct {
			fmt.Fprintf(&text, "\texample.com/m%d v1.0.0\n", n)
		}
		path := t.TempDir() + "/go.mod"
		if err := os.WriteFile(path, []byte(text.String()+")\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		wrong, err := checkDependencies(goMod(t, path))
		if err != nil || !strings.Contains(fmt.Sprint(wrong), test.want) {
			t.Errorf("%d direct dependencies: said %v, %v, want %s", test.direct, wrong, err, test.want)
		}
	}
}
