package edit

import (
	"regexp"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// source is a document's text beside its nodes: it knows where each of them begins and ends.
type source struct {
	text   string
	starts []int        // of lines, and the end of the text
	order  []*yaml.Node // as they stand in the text
	place  map[*yaml.Node]span
	parent map[*yaml.Node]*yaml.Node
}

// span is a range: of nodes in the order of a text, or of bytes.
type span struct{ from, to int }

func newSource(text string, root *yaml.Node) *source {
	s := &source{text: text, starts: lineStarts(text), place: map[*yaml.Node]span{}, parent: map[*yaml.Node]*yaml.Node{}}
	s.walk(root)
	return s
}

func (s *source) walk(n *yaml.Node) {
	at := len(s.order)
	s.order = append(s.order, n)
	for _, child := range n.Content {
		s.parent[child] = n
		s.walk(child)
	}
	s.place[n] = span{at, len(s.order)}
}

// lines returns how many lines the text has. Lines are counted from 1, as nodes do.
func (s *source) lines() int { return len(s.starts) - 1 }

// start returns where a line begins. The one behind the last begins at the end of the text.
func (s *source) start(line int) int { return s.starts[min(max(line-1, 0), len(s.starts)-1)] }

// line returns a line with its end. Forms without content may stand on one behind the last.
func (s *source) line(n int) string { return s.text[s.start(n):s.start(n+1)] }

// offset returns where a node begins, with its anchor and tag.
func (s *source) offset(n *yaml.Node) int {
	at := s.start(n.Line)
	for range n.Column - 1 {
		_, size := utf8.DecodeRuneInString(s.text[at:])
		at += size
	}
	return at
}

// value returns where a node begins behind its anchor and tag.
func (s *source) value(n *yaml.Node) int {
	at := s.offset(n)
	for at < len(s.text) && (s.text[at] == '&' || s.text[at] == '!') {
		for at < len(s.text) && !strings.ContainsRune(" \t\r\n,[]{}", rune(s.text[at])) {
			at++
		}
		at = skipSpace(s.text, at)
	}
	return at
}

// skipSpace returns the place of the next thing in a text that is no white space and no comment.
func skipSpace(text string, at int) int {
	for at < len(text) {
		switch {
		case text[at] == ' ' || text[at] == '\t':
			at++
		case breakAt(text[at:]) > 0:
			at += breakAt(text[at:])
		case text[at] == '#':
			for at < len(text) && breakAt(text[at:]) == 0 {
				at++
			}
		default:
			return at
		}
	}
	return at
}

// inBrackets tells whether a node is a collection in brackets.
func inBrackets(n *yaml.Node) bool { return n.Style&yaml.FlowStyle != 0 }

// margin returns how many columns the entries of a collection in block style are indented.
func (s *source) margin(n *yaml.Node) int {
	if n.Kind == yaml.MappingNode {
		return n.Content[0].Column - 1
	}
	if n.Anchor == "" && n.Style&yaml.TaggedStyle == 0 {
		return n.Column - 1
	}
	line, _ := s.dash(n.Content[0])
	return strings.Index(s.line(line), "-")
}

// dash returns the line and the place of the dash before an item of a list in block style.
func (s *source) dash(item *yaml.Node) (line, at int) {
	at = s.offset(item)
	for line = item.Line; line > 0; line-- {
		if i := strings.LastIndexByte(s.text[s.start(line):at], '-'); i >= 0 {
			return line, s.start(line) + i
		}
		at = s.start(line)
	}
	return item.Line, s.offset(item)
}

// nothing is a line that holds no value: it is empty, a comment, or has only the marks of what follows.
var nothing = regexp.MustCompile(`^\s*([-?](\s+|$))*(#.*)?\s*$`)

// lastLine returns the last line of a node in block style, which may be a scalar.
func (s *source) lastLine(n *yaml.Node) int {
	place := s.place[n]
	leaf := s.order[place.to-1]
	end := s.leafEnd(leaf)
	next := s.lines() + 1
	if place.to < len(s.order) {
		next = s.order[place.to].Line
	}
	for line := next - 1; line > end; line-- {
		if !nothing.MatchString(s.line(line)) {
			return line
		}
	}
	return end
}

// leafEnd returns the line in which a scalar ends if it could be mistaken for something else, and that in which it begins
// otherwise.
func (s *source) leafEnd(n *yaml.Node) int {
	if n.Kind != yaml.ScalarNode {
		return n.Line
	}
	at := s.value(n)
	switch {
	case at >= len(s.text):
		return n.Line
	case n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0:
		return s.lineAt(quoteEnd(s.text, at) - 1)
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		return s.blockEnd(n, at)
	default:
		return n.Line
	}
}

// lineAt returns the line of a place.
func (s *source) lineAt(at int) int {
	line := 1
	for low, high := 1, s.lines(); low <= high; {
		middle := (low + high) / 2
		if s.start(middle) <= at {
			line, low = middle, middle+1
		} else {
			high = middle - 1
		}
	}
	return line
}

// quoteEnd returns the place behind a text in quotes that begins at a place.
func quoteEnd(text string, at int) int {
	quote := text[at]
	for at++; at < len(text); at++ {
		switch {
		case quote == '"' && text[at] == '\\':
			at++
		case text[at] != quote:
		case quote == '\'' && at+1 < len(text) && text[at+1] == '\'':
			at++
		default:
			return at + 1
		}
	}
	return len(text)
}

// blockEnd returns the last line of a literal or folded text whose head is at a place.
func (s *source) blockEnd(n *yaml.Node, at int) int {
	head := s.lineAt(at)
	outer := 0
	if parent := s.parent[n]; parent != nil && !inBrackets(parent) {
		outer = s.margin(parent)
	}
	indent, keep := 0, false
	for _, c := range strings.Fields(s.text[at:s.start(head+1)])[0][1:] {
		switch {
		case c == '+':
			keep = true
		case c >= '1' && c <= '9':
			indent = outer + int(c-'0')
		}
	}
	end := head
	for line := head + 1; line <= s.lines(); line++ {
		text := strings.TrimRight(s.line(line), "\r\n\u0085\u2028\u2029")
		spaces := len(text) - len(strings.TrimLeft(text, " "))
		if spaces == len(text) && (indent == 0 || spaces <= indent) {
			if keep {
				end = line
			}
			continue
		}
		if indent == 0 {
			indent = max(spaces, outer+1)
		}
		if spaces < indent {
			break
		}
		end = line
	}
	return end
}
