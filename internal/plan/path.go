package plan

import (
	"regexp"
	"regexp/syntax"
	"slices"
	"unicode"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// both returns what takes the paths that a and b both take, if there are any. Where no single match says it, b leads and
// a is to be demanded also.
func both(a, b PathMatch) (lead PathMatch, also *PathMatch, ok bool) {
	switch {
	case b == anyPath:
		return a, nil, true
	case a == anyPath:
		return b, nil, true
	case a.Kind == PathExact:
		return a, nil, b.Takes(a.Value)
	case b.Kind == PathExact:
		return b, nil, a.Takes(b.Value)
	case a.Kind == PathRegex || b.Kind == PathRegex:
		return b, &a, true
	case b.inside(a):
		return b, nil, true
	case a.inside(b):
		return a, nil, true
	default:
		return PathMatch{}, nil, false
	}
}

// Takes tells whether the match takes a path without its query.
func (m PathMatch) Takes(path string) bool {
	for kind, own := range pathKinds {
		if own == m.Kind {
			return mesh.StringMatch{Kind: kind, Value: m.Value}.Takes(path)
		}
	}
	return false
}

// inside tells of two prefixes whether o takes every path that m takes.
func (m PathMatch) inside(o PathMatch) bool {
	return o.Takes(m.Value) && (o.Kind == PathPrefix || m.Kind == PathElementPrefix || m.Value != o.Value)
}

// pathHeader spells a match of the path as one of the pseudo-header, which carries the query too.
func pathHeader(m PathMatch) HeaderMatch {
	h := HeaderMatch{Name: ":path", StringMatch: mesh.StringMatch{Kind: mesh.MatchRegex}}
	switch m.Kind {
	case PathExact:
		h.Value = regexp.QuoteMeta(m.Value) + `(?:\?.*)?`
	case PathPrefix:
		h.Kind, h.Value = mesh.MatchPrefix, m.Value
	case PathElementPrefix:
		h.Value = regexp.QuoteMeta(m.Value) + `(?:[/?].*)?`
	default:
		h.Value = `(?:` + withoutQuery(m.Value) + `)(?:\?.*)?`
	}
	return h
}

// withoutQuery returns an expression that takes what the given one takes, but for what has a "?" in it. So it cannot
// take a part of the query for one of the path.
func withoutQuery(expression string) string {
	parsed, err := syntax.Parse(mesh.Bytewise(expression), syntax.Perl)
	if err != nil {
		return expression
	}
	if last := len(parsed.Sub) - 1; parsed.Op == syntax.OpConcat && parsed.Sub[last].Op == syntax.OpEndText {
		parsed.Sub = parsed.Sub[:last] // the path ends before the text does
	}
	excludeQuery(parsed)
	text := make([]byte, 0, len(expression))
	for _, r := range parsed.String() {
		text = append(text, byte(r)) //nolint:gosec // what comes from bytes fits one
	}
	return string(text)
}

func excludeQuery(r *syntax.Regexp) {
	for _, sub := range r.Sub {
		excludeQuery(sub)
	}
	const mark = '?'
	switch r.Op {
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		r.Op, r.Rune = syntax.OpCharClass, []rune{0, mark - 1, mark + 1, unicode.MaxRune}
	case syntax.OpCharClass:
		for i := 0; i < len(r.Rune); i += 2 {
			if low, high := r.Rune[i], r.Rune[i+1]; low <= mark && mark <= high {
				var parts []rune
				if low < mark {
					parts = append(parts, low, mark-1)
				}
				if mark < high {
					parts = append(parts, mark+1, high)
				}
				r.Rune = slices.Concat(r.Rune[:i], parts, r.Rune[i+2:])
				return
			}
		}
	}
}
