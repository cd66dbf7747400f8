package config

import (
	"cmp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// document is one YAML document of a file as text.
type document struct {
	text string
	line int // of the text's first line in the file, from 1
}

// split takes a file apart at its document markers. YAML allows "---" and "..." at the beginning of a line nowhere
// else, so one document's syntax error cannot hide the next document. Documents without content are left out.
func split(file string) []document {
	var all []document
	var text strings.Builder
	line, first := 0, 1
	end := func() {
		if !isEmpty(text.String()) {
			all = append(all, document{text.String(), first})
		}
		text.Reset()
	}
	for s := range strings.Lines(file) {
		line++
		rest, marker := cutMarker(s)
		if marker {
			end()
			first = line
			if isEmpty(rest) {
				first, rest = line+1, ""
			}
		}
		text.WriteString(rest)
	}
	end()
	return all
}

// cutMarker tells whether a line begins a document or ends one, and returns what else it says, at its column.
func cutMarker(line string) (rest string, ok bool) {
	const begin, end = "---", "..."
	rest, ok = strings.CutPrefix(line, begin)
	if !ok {
		rest, ok = strings.CutPrefix(line, end)
	}
	if !ok || (rest != "" && !strings.ContainsRune(" \t\r\n", rune(rest[0]))) {
		return line, false
	}
	return "   " + rest, true
}

// isEmpty tells whether a text has no content: only blank lines, comments and directives.
func isEmpty(text string) bool {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' && line[0] != '%' {
			return false
		}
	}
	return true
}

// maxSearch bounds how many bytes are parsed to find the places of all syntax errors of one file.
const maxSearch = 4 << 20

// syntax reports a document that is not YAML.
func (p *parser) syntax(doc document, err error) {
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 1
	if number, rest, ok := strings.Cut(strings.TrimPrefix(message, "line "), ": "); ok && strings.HasPrefix(message, "line ") {
		if n, err := strconv.Atoi(number); err == nil {
			line, message = n, rest
		}
	}
	lines := strings.SplitAfter(strings.TrimRight(doc.text, "\n"), "\n")
	line = cmp.Or(p.lastLine(lines), min(line, len(lines)))
	text := lines[line-1]
	column := len(text) - len(strings.TrimLeft(text, " \t")) + 1
	p.tell(mesh.Position{Line: doc.line + line - 1, Column: column}, CodeSyntax, "not YAML: "+message)
	p.problems[len(p.problems)-1].Hint = syntaxHint(message, text)
}

// syntaxHint says what most likely is the matter with a line.
func syntaxHint(message, line string) string {
	switch {
	case strings.HasPrefix(strings.TrimLeft(line, " "), "\t"):
		return "indent with spaces: YAML allows no tabs there"
	case strings.Contains(message, "did not find expected key"):
		return "check the indentation: it is that of no line above"
	case strings.Contains(message, "mapping values are not allowed"):
		return `check the indentation; a text that contains ": " needs quotes`
	case strings.Contains(message, "unexpected end of stream"):
		return "what is opened here is never closed"
	default:
		return ""
	}
}

// lastLine returns the line, from 1, that makes a document stop to be YAML: the one after the longest beginning that
// still is. The parser itself often names the line of an enclosing mapping or none at all. 0 means that finding it would
// take too long.
func (p *parser) lastLine(lines []string) int {
	text := strings.Join(lines, "")
	end := len(text)
	for n := len(lines); n > 1; n-- {
		end -= len(lines[n-1])
		if p.searches -= end; p.searches < 0 {
			return 0
		}
		if yaml.Unmarshal([]byte(text[:end]), &yaml.Node{}) == nil {
			return n
		}
	}
	return 1
}
