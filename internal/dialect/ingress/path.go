package ingress

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// path returns which paths are meant.
func (t *translator) path(field, value, kind string) mesh.StringMatch {
	switch kind {
	case "Exact":
		t.checkPath(field+".path", value)
		return mesh.StringMatch{Kind: mesh.MatchExact, Value: value}
	case "Prefix":
		t.checkPath(field+".path", value)
		// "/a" and "/a/" are the same prefix: paths are compared element by element.
		return mesh.StringMatch{Kind: mesh.MatchElements, Value: "/" + strings.Trim(value, "/")}
	case "ImplementationSpecific":
		return t.ownPath(field+".path", value)
	case "":
		if t.old {
			return t.ownPath(field+".path", value)
		}
		t.Missing(field+".pathType", "the type of the path is missing: Exact or Prefix")
	default:
		t.Tell(mesh.Problem{
			Field: field + ".pathType", Code: config.CodeInvalidValue, Message: fmt.Sprintf("unknown type %.60q", kind),
			Hint: config.Suggest(kind, "known types", []string{"Exact", "Prefix", "ImplementationSpecific"}),
		})
	}
	t.checkPath(field+".path", value)
	return everything
}

// ownPath reads a path as Istio read those of its time, which had no type: "PLAIN.*" takes what begins with these
// characters, anything else with a character that is special in regular expressions is one, and the rest is exact.
func (t *translator) ownPath(field, value string) mesh.StringMatch {
	const rest = ".*"
	plain, open := strings.CutSuffix(value, rest)
	if regexp.QuoteMeta(plain) != plain {
		switch {
		case !strings.HasPrefix(value, "/"):
			t.badPath(field, fmt.Sprintf("the path %.80q does not begin with /", value))
		default:
			t.Regex(field, value)
		}
		return mesh.StringMatch{Kind: mesh.MatchRegex, Value: value}
	}
	if value != "" {
		t.checkPath(field, plain)
	}
	switch {
	case value == "" || (open && plain == "/"):
		return everything
	case open:
		return mesh.StringMatch{Kind: mesh.MatchPrefix, Value: plain}
	default:
		return mesh.StringMatch{Kind: mesh.MatchExact, Value: plain}
	}
}

// checkPath refuses what Kubernetes refuses: a path that a server might understand in another way than the proxy.
func (t *translator) checkPath(field, path string) {
	if path == "" {
		t.Missing(field, "the path is missing, such as /")
		return
	}
	if !strings.HasPrefix(path, "/") {
		t.badPath(field, fmt.Sprintf("the path %.80q does not begin with /", path))
		return
	}
	if part := ambiguity(path); part != "" {
		t.badPath(field, fmt.Sprintf("the path %.80q must not contain %q", path, part))
	}
}

func (t *translator) badPath(field, message string) {
	t.Tell(mesh.Problem{Field: field, Code: config.CodeInvalidValue, Message: message})
}

func ambiguity(path string) string {
	for _, part := range []string{"//", "/./", "/../", "%2f", "%2F", "?", "#"} {
		if strings.Contains(path, part) {
			return part
		}
	}
	for _, part := range []string{"/.", "/.."} {
		if strings.HasSuffix(path, part) {
			return part
		}
	}
	return ""
}
