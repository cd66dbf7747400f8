package config

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Bounds of a regular expression: proxies compile it and run it on every request.
const (
	maxRegex = 1024 // bytes
	// maxProgram is in instructions of Go's own compiler. Envoy counts others; package bootstrap lets it take several times as many.
	maxProgram = 5000
)

// Regex reports an expression at field that Envoy would refuse, and tells whether it is good. Envoy compares bytes, not
// characters: "." is one byte, and so is each byte of a class.
func (c *Check) Regex(field, expression string) bool {
	p := mesh.Problem{Field: field, Code: CodeInvalidRegex}
	parsed, err := syntax.Parse(expression, syntax.Perl)
	_, open := syntax.Parse("(?:"+expression+")", syntax.Perl)
	switch class, escape := strange(expression); {
	case len(expression) > maxRegex:
		p.Message = fmt.Sprintf("the regular expression has %d bytes: at most %d are allowed", len(expression), maxRegex)
	case err != nil:
		p.Message = "not a regular expression (RE2): " + strings.TrimPrefix(err.Error(), "error parsing regexp: ")
		p.Hint = "see https://github.com/google/re2/wiki/Syntax; there is no lookahead, lookbehind or back reference"
	case open != nil: // whoever compares whole values encloses it
		p.Message, p.Hint = "the regular expression cannot be enclosed in a group", `close \Q with \E`
	case escape != "":
		p.Message = fmt.Sprintf("%q is more than a byte: proxies compare bytes", escape)
		p.Hint = "write the character itself"
	case class != "":
		p.Message = fmt.Sprintf("RE2 knows no Unicode class %q", class)
		p.Hint = "write a general category such as Lu, or a script such as Greek, in this very spelling"
	case programSize(parsed) > maxProgram:
		p.Message = "the regular expression is too large when its repetitions are written out"
		p.Hint = "lower the counts in {…}"
	default:
		return true
	}
	c.Tell(p)
	return false
}

func programSize(r *syntax.Regexp) int {
	program, err := syntax.Compile(r.Simplify())
	if err != nil {
		return maxProgram + 1
	}
	return len(program.Inst)
}

// escapes takes an expression apart at its backslashes; groups are the name of a Unicode class and the digits of a number.
var escapes = regexp.MustCompile(`(?s)\\(?:[pP](?:\{\^?([^}]*)\}|(.))|x\{([[:xdigit:]]+)\}|([4-7][0-7]{2})|.)`)

// categories are the general categories that RE2 knows.
var categories = strings.Fields("Any C Cc Cf Co Cs L Ll Lm Lo Lt Lu M Mc Me Mn N Nd Nl No P Pc Pd Pe Pf Pi Po Ps S Sc Sk Sm So Z Zl Zp Zs")

// strange returns the name of a Unicode class that Go knows and RE2 does not, or "", and an escape that stands for more
// than a byte, or "".
func strange(expression string) (class, escape string) {
	for _, m := range escapes.FindAllStringSubmatch(expression, -1) {
		name, hex := m[1]+m[2], strings.TrimLeft(m[3], "0")
		if _, script := unicode.Scripts[name]; name != "" && !script && !slices.Contains(categories, name) {
			class = name
		}
		if len(hex) > 2 || m[4] != "" {
			escape = m[0]
		}
	}
	return class, escape
}
