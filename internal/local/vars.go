package local

import "strings"

// expand replaces each ${NAME} by its value and $$ by a dollar; every other dollar stays. It also returns the names
// that have no value, as they are written, and whether the last ${ has no end.
func expand(text string, values map[string]string) (expanded string, unknown []string, open bool) {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "$")
		b.WriteString(before)
		if !found {
			return b.String(), unknown, false
		}
		switch {
		case strings.HasPrefix(rest, "$"):
			b.WriteByte('$')
			text = rest[1:]
		case strings.HasPrefix(rest, "{"):
			name, after, closed := strings.Cut(rest[1:], "}")
			if !closed {
				return b.String() + "$" + rest, unknown, true
			}
			value, known := values[name]
			if !known {
				unknown = append(unknown, name)
			}
			b.WriteString(value)
			text = after
		default:
			b.WriteByte('$')
			text = rest
		}
	}
}
