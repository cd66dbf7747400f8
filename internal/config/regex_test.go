package config_test

import (
	"regexp"
	"regexp/syntax"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/lateen-mesh/lateen/internal/config"
)

// FuzzRegex shows that an expression which is accepted is one that Go takes as well, as a match of the whole value, and
// that it stays within its bounds.
func FuzzRegex(f *testing.F) {
	for _, seed := range []string{
		`^(.*?;)?(user=jason)(;.*)?$`, `reviews(:\d+)?`, `a|b`, `(?i)get`, `(?P<a>b)`, `(?<a>b)`, `\Qa.b`, `\Qa.b\E`, `a\`, `\pL\p{^Greek}\P{Lu}`,
		`\p{Letter}`, `(?!a)b`, `(a)\1`, `((a{100}){10}){10}`, `((a{10}){10}){9}`, `[[:word:]-]`, `\C`, `\x{100}`, `\x{0ff}`, `\377`, `\400`, `\\x{100}`, `[é]`, `(?x) a # )`, `(?s-m:.)`, `a)(?:b`, `x{1001}`,
		strings.Repeat("(", 1025), strings.Repeat("a", 1025), strings.Repeat("[^a]", 256), `\x{10FFFF}`, `\b\B\A\z`, `(?m)^a$`,
	} {
		f.Add(seed)
	}
	objects, _ := config.Parse("f.yaml", []byte("apiVersion: v1\nkind: Thing\nmetadata: {name: a}\n"), "")
	f.Fuzz(func(t *testing.T, expression string) {
		if !utf8.ValidString(expression) {
			return // no YAML has it
		}
		check := config.Check{Object: &objects[0]}
		good := check.Regex("spec", expression)
		if good != (len(check.Problems) == 0) {
			t.Fatalf("good is %t, and the problems are %v", good, check.Problems)
		}
		if !good {
			for _, p := range check.Problems {
				if p.Code != config.CodeInvalidRegex || p.Message == "" || !utf8.ValidString(p.String()) {
					t.Errorf("the problem is %q", p)
				}
			}
			return
		}
		if len(expression) > 1024 {
			t.Errorf("%d bytes are accepted", len(expression))
		}
		whole := `^(?:` + expression + `)$`
		parsed, err := syntax.Parse(whole, syntax.Perl)
		if err != nil {
			t.Fatalf("accepted, but not as a match of the whole value: %v", err)
		}
		program, err := syntax.Compile(parsed.Simplify())
		if err != nil || len(program.Inst) > 5000+10 { // and what surrounds the expression
			t.Errorf("the program has %d instructions: %v", len(program.Inst), err)
		}
		regexp.MustCompile(whole).MatchString("user=jason; a=b")
	})
}
