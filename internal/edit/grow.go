package edit

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// add adds keys to a mapping.
func (e *editor) add(n *yaml.Node, fields []field, depth int) {
	if inBrackets(n) {
		e.open(n, depth, func(render func(*yaml.Node) string) (entries []string) {
			for _, f := range fields {
				entries = append(entries, quoted(f.key)+": "+render(f.value))
			}
			return entries
		})
		return
	}
	margin := e.margin(n)
	indent := strings.Repeat(" ", margin)
	var lines []string
	for _, f := range fields {
		lines = append(lines, fieldLines(text(f.key), f.value, indent)...)
	}
	line := e.lastLine(n)
	for line < e.lines() && e.isComment(line+1, margin) {
		line++
	}
	e.insert(line, lines, depth)
}

// isComment tells whether a line is a comment that is indented so far at least.
func (e *editor) isComment(line, margin int) bool {
	text := e.line(line)
	rest := strings.TrimLeft(text, " ")
	return strings.HasPrefix(rest, "#") && len(text)-len(rest) >= margin
}

// insert puts lines behind a line.
func (e *editor) insert(line int, lines []string, depth int) {
	line = min(line, e.lines()) // a value that is not written may seem to stand behind the last
	at, end := e.start(line+1), ending(e.line(line))
	if end != "" {
		e.replace(at, at, strings.Join(lines, end)+end, depth)
		return
	}
	if end = ending(e.line(1)); end == "" {
		end = "\n"
	}
	e.replace(at, at, end+strings.Join(lines, end), depth)
}

// prepend puts items before those of a list.
func (e *editor) prepend(n *yaml.Node, items []*yaml.Node, depth int) {
	if inBrackets(n) {
		e.open(n, depth, func(render func(*yaml.Node) string) (entries []string) {
			for _, item := range items {
				entries = append(entries, render(item))
			}
			return entries
		})
		return
	}
	line, _ := e.dash(n.Content[0])
	for line--; line > 0 && nothing.MatchString(e.line(line)); line-- {
	}
	indent := strings.Repeat(" ", max(e.margin(n), 0))
	var lines []string
	for _, item := range items {
		lines = append(lines, itemLines(item, indent)...)
	}
	if line == 0 {
		e.replace(0, 0, strings.Join(lines, "\n")+"\n", depth)
		return
	}
	e.insert(line, lines, depth)
}

// open puts entries behind the bracket that opens a collection, on lines of their own if the first entry has one.
func (e *editor) open(n *yaml.Node, depth int, entries func(render func(*yaml.Node) string) []string) {
	at := e.value(n) + 1
	if at > len(e.text) {
		return
	}
	if len(n.Content) == 0 {
		e.replace(at, at, strings.Join(entries(inline), ", "), depth)
		return
	}
	rest := e.text[at:]
	space := rest[:len(rest)-len(strings.TrimLeft(rest, " \t\r\n"))]
	render := inline
	if i := strings.LastIndexAny(space, "\r\n"); i >= 0 {
		indent := space[i+1:]
		line := e.line(e.lineAt(at - 1))
		outer := line[:len(line)-len(strings.TrimLeft(line, " \t"))]
		more := strings.TrimPrefix(indent, outer)
		if more == "" || more == indent && outer != "" {
			more = "  "
		}
		end := ending(space[:i+1])
		render = func(v *yaml.Node) string { return pretty(v, indent, more, end) }
	}
	comma := ","
	if space == "" && !e.json {
		comma = ", " // [editor.removeInBrackets] knows
	}
	var b strings.Builder
	for _, entry := range entries(render) {
		b.WriteString(space + entry + comma)
	}
	e.replace(at, at, b.String(), depth)
}

// fill makes a value that is null, at a place in the content of a node, the collection that a change adds to.
func (e *editor) fill(n *yaml.Node, i int, c *Change, depth int) {
	child := n.Content[i]
	want := expected(child, c)
	at := e.value(child)
	if inBrackets(n) || n.Kind != yaml.MappingNode || child.Value != "" {
		text := inline(want)
		if child.Value == "" {
			text = " " + text
		}
		e.replace(at, at+len(child.Value), text, depth)
		return
	}
	indent := strings.Repeat(" ", e.margin(n)+2)
	e.insert(child.Line, blockLines(want, indent), depth+1)
}
