package mesh

import (
	"regexp"
	"regexp/syntax"
	"strings"
)

// Pattern is a regular expression as proxies apply it: RE2 that must take the whole value and compares bytes, not
// characters, so that "." takes one byte of an "é". Its zero value takes nothing.
type Pattern struct {
	whole *regexp.Regexp
	size  int
}

// CompilePattern reads a regular expression.
func CompilePattern(expression string) (Pattern, error) {
	if _, err := regexp.Compile(expression); err != nil { // by itself: "a)(b" is none
		return Pattern{}, err
	}
	text := `\A(?:` + Bytewise(expression) + `)\z`
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return Pattern{}, err
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return Pattern{}, err
	}
	whole, err := regexp.Compile(text)
	return Pattern{whole, len(program.Inst)}, err
}

// Cost is how many steps at most it takes to compare a value of so many bytes.
func (p Pattern) Cost(bytes int) int { return p.size * (bytes + 1) }

// Takes tells whether the pattern takes the whole value.
func (p Pattern) Takes(value string) bool {
	return p.whole != nil && p.whole.MatchString(Bytewise(value))
}

// Bytewise makes each byte a character of its own, as proxies see expressions and values.
func Bytewise(s string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteRune(rune(s[i]))
	}
	return b.String()
}

// Takes tells whether the match takes the value. A regular expression that is none takes nothing.
func (m StringMatch) Takes(value string) bool {
	switch m.Kind {
	case MatchExact:
		return value == m.Value
	case MatchPrefix:
		return strings.HasPrefix(value, m.Value)
	case MatchElements:
		rest, has := strings.CutPrefix(value, strings.TrimSuffix(m.Value, "/")) // "/a" and "/a/" are the same elements
		return has && (rest == "" || rest[0] == '/')
	case MatchRegex:
		p, err := CompilePattern(m.Value)
		return err == nil && p.Takes(value)
	default:
		return m.Kind == MatchPresent
	}
}
