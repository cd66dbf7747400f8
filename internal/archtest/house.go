package archtest

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

const (
	longestFile      = 500 // lines
	mostDependencies = 30  // direct ones of the product
)

// checkComments wants one package comment for each package, since who reads only those is to understand the system.
func checkComments(root fs.FS) ([]string, error) {
	files, err := sources(root)
	if err != nil {
		return nil, err
	}
	commented := map[string][]string{} // files with a package comment, by folder
	for _, file := range files {
		if strings.HasSuffix(file.syntax.Name.Name, "_test") {
			continue
		}
		with := commented[file.dir]
		if strings.TrimSpace(file.syntax.Doc.Text()) != "" {
			with = append(with, file.path)
		}
		commented[file.dir] = with
	}
	var wrong []string
	for _, dir := range slices.Sorted(maps.Keys(commented)) {
		switch with := commented[dir]; {
		case len(with) == 0:
			wrong = append(wrong, fmt.Sprintf("package %s has no package comment", dir))
		case len(with) > 1:
			wrong = append(wrong, fmt.Sprintf("package %s has several package comments: %s", dir, strings.Join(with, ", ")))
		}
	}
	return wrong, nil
}

// checkSizes wants files that one can read in one go.
func checkSizes(root fs.FS) ([]string, error) {
	files, err := sources(root)
	var wrong []string
	for _, file := range files {
		if file.lines > longestFile {
			wrong = append(wrong, fmt.Sprintf("%s has %d lines, more than %d", file.path, file.lines, longestFile))
		}
	}
	return wrong, err
}

// checkDependencies counts the direct dependencies in what `go mod edit -json` prints.
func checkDependencies(goMod []byte) ([]string, error) {
	var mod struct {
		Require []struct {
			Path     string
			Indirect bool
		}
	}
	if err := json.Unmarshal(goMod, &mod); err != nil {
		return nil, err
	}
	var direct []string
	for _, required := range mod.Require {
		if !required.Indirect {
			direct = append(direct, required.Path)
		}
	}
	if len(direct) <= mostDependencies {
		return nil, nil
	}
	return []string{fmt.Sprintf("go.mod has %d direct dependencies, more than %d: %s",
		len(direct), mostDependencies, strings.Join(direct, ", "))}, nil
}

// checkSkips wants tests that run: what a test needs and does not find fails it.
func checkSkips(root fs.FS) ([]string, error) {
	files, err := sources(root)
	var wrong []string
	for _, file := range files {
		for _, receiver := range []string{"t", "b", "f", "tb"} {
			for _, method := range []string{"Skip", "Skipf", "SkipNow"} {
				for _, place := range file.mentions(receiver, method) {
					wrong = append(wrong, fmt.Sprintf("%s: %s.%s: a test that lacks something fails", place, receiver, method))
				}
			}
		}
		for _, place := range file.mentions("testing", "Short") {
			wrong = append(wrong, fmt.Sprintf("%s: testing.Short: every run runs every test", place))
		}
	}
	return wrong, err
}

var (
	goMark   = regexp.MustCompile(`\b(TODO|FIXME|XXX)\b`)
	textMark = regexp.MustCompile(`\b(TODO|FIXME|XXX)[:(]`)
)

// checkMarks wants no notes to self: what is left to do is an issue, or a known weakness in docs/architecture.md.
func checkMarks(root fs.FS) ([]string, error) {
	files, err := sources(root)
	if err != nil {
		return nil, err
	}
	var wrong []string
	say := func(place any, mark string) {
		wrong = append(wrong, fmt.Sprintf("%v: the mark %s", place, mark))
	}
	for _, file := range files {
		for _, comment := range comments(file) {
			if mark := goMark.FindString(comment.Text); mark != "" {
				say(file.pos.Position(comment.Pos()), mark)
			}
		}
	}
	return wrong, walk(root, func(name string) error {
		if !slices.Contains([]string{"", ".md", ".yml", ".yaml", ".ts", ".tsx", ".css", ".html"}, path.Ext(name)) {
			return nil
		}
		text, err := fs.ReadFile(root, name)
		for number, line := range strings.Split(string(text), "\n") {
			if match := textMark.FindStringSubmatch(line); match != nil {
				say(fmt.Sprintf("%s:%d", name, number+1), match[1])
			}
		}
		return err
	})
}

func comments(file sourceFile) []*ast.Comment {
	var all []*ast.Comment
	for _, group := range file.syntax.Comments {
		all = append(all, group.List...)
	}
	return all
}
