package edit

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// remove takes out what a change removes from a mapping or a list.
func (e *editor) remove(n *yaml.Node, c *Change, depth int) {
	var gone []int // entries, by number
	size := 1
	if n.Kind == yaml.MappingNode {
		size = 2
		for _, key := range c.cut {
			if i := indexOf(n, key); i >= 0 {
				gone = append(gone, i/2)
			}
		}
	} else {
		gone = append(gone, c.drop...)
	}
	if len(gone) == 0 {
		return
	}
	slices.Sort(gone)
	if inBrackets(n) {
		e.removeInBrackets(n, gone, depth)
		return
	}
	for _, i := range gone {
		if (i+1)*size <= len(n.Content) {
			e.removeLines(n, i*size, size, depth)
		}
	}
}

// removeLines takes an entry of a collection in block style out: so many nodes of its content, from one on.
func (e *editor) removeLines(n *yaml.Node, i, size, depth int) {
	first, last := n.Content[i], e.lastLine(n.Content[i+size-1])
	line, at := first.Line, e.offset(first)
	if n.Kind == yaml.SequenceNode {
		line, at = e.dash(first)
	}
	if strings.TrimLeft(e.text[e.start(line):at], " ") == "" {
		e.replace(e.start(line), e.start(last+1), "", depth)
		return
	}
	// It shares its first line with what it stands in: the next entry moves up.
	end := e.start(last+1) - len(ending(e.line(last)))
	if i+size == len(n.Content) {
		e.replace(at, end, "{}", depth)
		return
	}
	next := e.offset(n.Content[i+size])
	if n.Kind == yaml.SequenceNode {
		_, next = e.dash(n.Content[i+size])
	}
	e.replace(at, next, "", depth)
}

// removeInBrackets takes entries of a collection in brackets out, each with the comma that [editor.open] would have written.
func (e *editor) removeInBrackets(n *yaml.Node, gone []int, depth int) {
	open := e.value(n) + 1
	entries := bracketed(e.text, open)
	leading := 0 // how many of those that go stand first
	for leading < len(gone) && gone[leading] == leading {
		leading++
	}
	if gone[len(gone)-1] >= len(entries) {
		return
	}
	switch {
	case leading == len(entries):
		e.replace(open, entries[leading-1].to, "", depth)
	case leading > 0:
		end := entries[leading-1].to + 1 // with the comma
		if first := e.text[open]; first != ' ' && first != '\t' && breakAt(e.text[open:]) == 0 {
			end += len(e.text[end:]) - len(strings.TrimPrefix(e.text[end:], " "))
		}
		e.replace(open, end, "", depth)
	}
	for _, i := range gone[leading:] {
		e.replace(entries[i-1].to, entries[i].to, "", depth)
	}
}

// bracketed returns the entries of a collection in brackets whose content begins at a place: from behind the comma, or the
// bracket, before them to before the comma behind them, and to their own end if they are the last.
func bracketed(text string, at int) []span {
	var all []span
	t := tokens{text: text, at: at}
	depth, begin, end := 0, at, at
	for t.at < len(text) {
		at := t.at
		switch t.next() {
		case ' ':
			continue
		case ',':
			if depth == 0 {
				all = append(all, span{begin, at})
				begin = t.at
			}
		case '[':
			depth++
		case ']':
			if depth--; depth < 0 {
				if end > begin {
					all = append(all, span{begin, end})
				}
				return all
			}
		}
		end = t.at
	}
	return all
}

// tokens goes through the content of a collection in brackets.
type tokens struct {
	text  string
	at    int
	plain bool // inside a text without quotes, where quotes and marks are letters
}

// next passes by the next token and tells what it is: ' ' for white space and comments, ',', '[' for a bracket that opens and
// ']' for one that closes, of either kind, and 'x' for everything else.
func (t *tokens) next() byte {
	c, rest := t.text[t.at], t.text[t.at+1:]
	space := strings.ContainsRune(" \t\r\n", rune(c))
	switch {
	case space || c == '#' && (!t.plain || strings.ContainsRune(" \t\r\n", rune(t.text[t.at-1]))):
		t.at = max(skipSpace(t.text, t.at), t.at+1)
		return ' '
	case strings.IndexByte(",[]{}", c) >= 0:
		t.at++
		t.plain = false
		return map[byte]byte{',': ',', '[': '[', '{': '[', ']': ']', '}': ']'}[c]
	case t.plain || c == ':':
		t.plain = t.plain && (c != ':' || rest != "" && !strings.ContainsRune(" \t\r\n,[]{}", rune(rest[0])))
		t.at++
	case c == '"' || c == '\'':
		t.at = quoteEnd(t.text, t.at)
	case c == '&' || c == '!' || c == '*':
		for t.at < len(t.text) && !strings.ContainsRune(" \t\r\n,[]{}", rune(t.text[t.at])) {
			t.at++
		}
	default:
		t.plain = true
		t.at++
	}
	return 'x'
}
