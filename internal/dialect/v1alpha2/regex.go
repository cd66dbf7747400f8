package v1alpha2

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Bounds of a regular expression: proxies compile it and run it on every request.
const (
	maxRegex = 1024 // bytes
	// maxProgram is in instructions of Go's own compiler. Envoy counts others; package bootstrap lets it take several times as many.
	maxProgram = 5000
)

// regex refuses an expression that Envoy would refuse.
func (t *translator) regex(field, expression string) {
	p := mesh.Problem{Field: field, Code: config.CodeInvalidRegex}
	parsed, err := syntax.Parse(expression, syntax.Perl)
	switch name := strangeClass(expression); {
	case len(expression) > maxRegex:
		p.Message = fmt.Sprintf("the regular expression has %d bytes: at most %d are allowed", len(expression), maxRegex)
	case err != nil:
		p.Message = "not a regular expression (RE2): " + strings.TrimPrefix(err.Error(), "error parsing regexp: ")
		p.Hint = "see https://github.com/google/re2/wiki/Syntax; there is no lookahead, lookbehind or back reference"
	case name != "":
		p.Message = fmt.Sprintf("RE2 knows no Unicode class %q", name)
		p.Hint = "write a general category such as Lu, or a script such as Greek, in this very spelling"
	case programSize(parsed) > maxProgram:
		p.Message = "the regular expression is too large when its repetitions are written out"
		p.Hint = "lower the counts in {…}"
	default:
		return
	}
	t.Tell(p)
}

func programSize(r *syntax.Regexp) int {
	program, err := syntax.Compile(r.Simplify())
	if err != nil {
		return maxProgram + 1
	}
	return len(program.Inst)
}

var unicodeClass = regexp.MustCompile(`\\[pP](?:\{\^?([^}]*)\}|(.))`)

// categories are the general categories that RE2 knows.
var categories = strings.Fields("Any C Cc Cf Co Cs L Ll Lm Lo Lt Lu M Mc Me Mn N Nd Nl No P Pc Pd Pe Pf Pi Po Ps S Sc Sk Sm So Z Zl Zp Zs")

// strangeClass returns the name of a Unicode class that Go knows and RE2 does not, or "".
func strangeClass(expression string) string {
	for _, m := range unicodeClass.FindAllStringSubmatch(expression, -1) {
		name := m[1] + m[2]
		if _, script := unicode.Scripts[name]; !script && !slices.Contains(categories, name) {
			return name
		}
	}
	return ""
}
