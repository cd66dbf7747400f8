// Package archtest holds the tests that keep docs/architecture.md and the house rules true.
//
// Each rule is a function from a checkout, given as an [io/fs.FS], to what is wrong with it, one line each. The tests run
// the rules on this repository, and on small broken ones to show that they can fail. The rules read sources and no build
// results, so they see the files of every platform and need no compiled code. They do not judge what a test file imports.
package archtest

import (
	"cmp"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// module is the import path of the repository's root.
const module = "github.com/lateen-mesh/lateen"

// sourceFile is one Go file.
type sourceFile struct {
	path   string
	dir    string // of the file, relative to the root
	test   bool
	lines  int
	syntax *ast.File
	pos    *token.FileSet
}

// walk calls f for every file of a checkout that people write: not for the folders that Go leaves out, what was
// downloaded, or what was built.
func walk(root fs.FS, f func(name string) error) error {
	return fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case !entry.IsDir():
			return f(name)
		case name == "bin", strings.HasPrefix(path.Base(name), ".") && name != ".",
			slices.Contains([]string{"testdata", "node_modules", "dist"}, path.Base(name)):
			return fs.SkipDir
		}
		return nil
	})
}

// sources parses every Go file of a checkout. Other Go modules in it count too.
func sources(root fs.FS) ([]sourceFile, error) {
	var files []sourceFile
	pos := token.NewFileSet()
	err := walk(root, func(name string) error {
		if path.Ext(name) != ".go" {
			return nil
		}
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		syntax, err := parser.ParseFile(pos, name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		files = append(files, sourceFile{
			path:   name,
			dir:    path.Dir(name),
			test:   strings.HasSuffix(name, "_test.go"),
			lines:  strings.Count(string(text), "\n"),
			syntax: syntax,
			pos:    pos,
		})
		return nil
	})
	return files, err
}

// imports returns the import paths of a file.
func (f sourceFile) imports() []string {
	var all []string
	for _, spec := range f.syntax.Imports {
		if name, err := strconv.Unquote(spec.Path.Value); err == nil {
			all = append(all, name)
		}
	}
	return all
}

// goPackage is a Go package without its tests.
type goPackage struct {
	name    string   // as the table names it: "mesh" for internal/mesh, "cmd/lateen"
	imports []string // sorted, each once
	files   []sourceFile
}

func packages(files []sourceFile) []goPackage {
	byName := map[string]*goPackage{}
	for _, file := range files {
		if file.test {
			continue
		}
		name := tableName(file.dir)
		p := byName[name]
		if p == nil {
			p = &goPackage{name: name}
			byName[name] = p
		}
		p.files = append(p.files, file)
		p.imports = append(p.imports, file.imports()...)
	}
	var all []goPackage
	for _, p := range byName {
		slices.Sort(p.imports)
		p.imports = slices.Compact(p.imports)
		all = append(all, *p)
	}
	slices.SortFunc(all, func(a, b goPackage) int { return cmp.Compare(a.name, b.name) })
	return all
}

// tableName is what the table calls the package in a folder.
func tableName(dir string) string { return strings.TrimPrefix(dir, "internal/") }

// own returns what the table calls an imported package, if it is one of ours.
func own(imported string) (name string, ok bool) {
	if imported == module {
		return ".", true
	}
	dir, ok := strings.CutPrefix(imported, module+"/")
	return tableName(dir), ok
}

// mentions returns the places where a file mentions qualifier.name, such as time.Now.
func (f sourceFile) mentions(qualifier, name string) []token.Position {
	var places []token.Position
	ast.Inspect(f.syntax, func(node ast.Node) bool {
		if sel, ok := node.(*ast.SelectorExpr); ok && sel.Sel.Name == name {
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == qualifier {
				places = append(places, f.pos.Position(sel.Pos()))
			}
		}
		return true
	})
	return places
}

// checkImports compares what packages import with the table in docs/architecture.md.
func checkImports(root fs.FS) ([]string, error) {
	const document = "docs/architecture.md"
	text, err := fs.ReadFile(root, document)
	if err != nil {
		return nil, err
	}
	table, err := parseTable(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", document, err)
	}
	files, err := sources(root)
	if err != nil {
		return nil, err
	}
	var wrong []string
	for _, p := range packages(files) {
		wrong = append(wrong, table.check(p)...)
	}
	return wrong, nil
}

var errNoTable = errors.New("there is no table headed | Package | may import | never |")
