package archtest

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// table is the import table of docs/architecture.md.
type table []row

// row says what the packages that it names may import.
type row struct {
	packages []string // names, or patterns such as "adapter/*"
	may      []string // of our packages; likewise
	mayAll   bool     // everything but what `may` lists
	never    []ban
	// importers says who may import these packages: anybody, tests only, or only packages of the same row.
	importers string
}

const (
	anybody  = ""
	onlyTest = "only tests import it"
	nobody   = "nobody imports them"
)

// parseTable finds the table in a Markdown document and reads it. What it does not understand is an error, so that no
// rule is lost by a slip of the pen.
func parseTable(markdown string) (table, error) {
	var t table
	inside := false
	for number, line := range strings.Split(markdown, "\n") {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case slices.Equal(cells, []string{"Package", "may import", "never"}):
			if t != nil {
				return nil, fmt.Errorf("line %d: there is a second import table", number+1)
			}
			inside = true
		case !strings.HasPrefix(line, "|"):
			inside = false
		case inside && strings.Trim(line, "|-: ") != "":
			r, err := parseRow(cells)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", number+1, err)
			}
			t = append(t, r)
		}
	}
	if t == nil {
		return nil, errNoTable
	}
	return t, t.consistent()
}

func parseRow(cells []string) (row, error) {
	if len(cells) != 3 {
		return row{}, fmt.Errorf("the row has %d cells, not 3", len(cells))
	}
	var r row
	var err error
	if r.packages, err = parseNames(cells[0]); err != nil {
		return row{}, err
	}
	rest, all := strings.CutPrefix(cells[1], "everything")
	r.mayAll = all
	if r.may, err = parseNames(strings.TrimPrefix(strings.TrimSpace(rest), "but ")); err != nil {
		return row{}, err
	}
	for clause := range strings.FieldsFuncSeq(cells[2], func(c rune) bool { return c == ',' || c == ';' }) {
		switch clause = strings.TrimSpace(clause); clause {
		case "–", "-":
		case onlyTest, nobody:
			r.importers = clause
		default:
			b, err := parseBan(clause)
			if err != nil {
				return row{}, err
			}
			r.never = append(r.never, b)
		}
	}
	return r, nil
}

var (
	aside  = regexp.MustCompile(`\([^)]*\)`)
	quoted = regexp.MustCompile("`([^`]+)`")
)

// parseNames reads names in backticks between commas. What stands in parentheses is for people.
func parseNames(cell string) ([]string, error) {
	cell = aside.ReplaceAllString(cell, "")
	var names []string
	for _, match := range quoted.FindAllStringSubmatch(cell, -1) {
		names = append(names, match[1])
	}
	if left := strings.Trim(quoted.ReplaceAllString(cell, ""), "–-, "); left != "" {
		return nil, fmt.Errorf("%q is no list of package names in backticks", cell)
	}
	return names, nil
}

// consistent makes sure that each package has one row, and that names are spelled alike everywhere.
func (t table) consistent() error {
	seen := map[string]bool{}
	for _, r := range t {
		if len(r.packages) == 0 {
			return fmt.Errorf("a row names no package")
		}
		for _, name := range r.packages {
			if seen[name] {
				return fmt.Errorf("`%s` has two rows", name)
			}
			seen[name] = true
		}
	}
	for _, r := range t {
		for _, name := range r.may {
			if _, ok := t.row(name); !ok {
				return fmt.Errorf("`%s` may import `%s`, which has no row", strings.Join(r.packages, "`, `"), name)
			}
		}
	}
	return nil
}

// row returns the row of a package: the one with its name, else one with a pattern.
func (t table) row(name string) (row, bool) {
	for _, r := range t {
		if slices.Contains(r.packages, name) {
			return r, true
		}
	}
	for _, r := range t {
		if matches(r.packages, name) {
			return r, true
		}
	}
	return row{}, false
}

func matches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		ok, err := path.Match(pattern, name)
		return err == nil && ok
	})
}

// check says what a package imports or mentions against its row.
func (t table) check(p goPackage) []string {
	r, ok := t.row(p.name)
	if !ok {
		return []string{fmt.Sprintf("package %s has no row in the import table", p.name)}
	}
	var wrong []string
	for _, imported := range p.imports {
		if name, ok := own(imported); ok {
			wrong = append(wrong, t.checkOwn(p.name, r, name)...)
		}
	}
	for _, b := range r.never {
		wrong = append(wrong, b.check(p, r)...)
	}
	return wrong
}

func (t table) checkOwn(from string, r row, to string) []string {
	var wrong []string
	if matches(r.may, to) == r.mayAll {
		wrong = append(wrong, fmt.Sprintf("package %s imports %s, which its row does not allow", from, to))
	}
	if target, ok := t.row(to); ok && target.importers != anybody {
		if target.importers == onlyTest || !matches(target.packages, from) {
			wrong = append(wrong, fmt.Sprintf("package %s imports %s: %s", from, to, target.importers))
		}
	}
	return wrong
}
