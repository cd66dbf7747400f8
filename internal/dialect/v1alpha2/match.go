package v1alpha2

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// pseudo returns the pseudo-header that a name in a header match means, or "".
func pseudo(name string) string {
	switch name {
	case "scheme", "method", "authority":
		return ":" + name
	case "host": // HTTP/2 and proxies know it as the authority
		return ":authority"
	default:
		return ""
	}
}

// match adds the conditions of m to the rule.
func (t *translator) match(rule *mesh.RouteRule, m *matchCondition) {
	if m.Source != nil {
		rule.Source = t.source(m.Source)
	}
	if m.Request == nil {
		return
	}
	const field = "spec.match.request.headers"
	for _, name := range slices.Sorted(maps.Keys(m.Request.Headers)) {
		at := config.Key(field, name)
		value, ok := t.stringMatch(at, m.Request.Headers[name])
		switch {
		case !ok:
		case name == "uri":
			if value.Value == "" {
				t.Tell(mesh.Problem{
					Field: config.Key(at, string(value.Kind)), Code: config.CodeInvalidValue, Message: "a match on uri must not be empty",
				})
			}
			rule.URI = &value
		default:
			rule.Headers = append(rule.Headers, mesh.HeaderMatch{Name: t.headerName(at, name), StringMatch: value})
		}
	}
	slices.SortStableFunc(rule.Headers, func(a, b mesh.HeaderMatch) int { return cmp.Compare(a.Name, b.Name) })
}

// source returns which callers are meant. Labels alone mean callers of any service.
func (t *translator) source(s *istioService) *mesh.SourceMatch {
	const field = "spec.match.source"
	m := &mesh.SourceMatch{Labels: s.Labels}
	if len(s.Labels) > 0 && s.Name == "" && s.Namespace == "" && s.Domain == "" && s.Service == "" {
		t.labels(field+".labels", s.Labels)
		return m
	}
	m.Host = t.service(field, s)
	t.mention(field, m.Host, nil)
	return m
}

// headerName returns the name under which a proxy sees the header.
func (t *translator) headerName(field, name string) string {
	if p := pseudo(name); p != "" {
		return p
	}
	p := mesh.Problem{Field: field, Code: config.CodeInvalidName, Message: fmt.Sprintf("%q is not the name of a header", name)}
	plain, colon := strings.CutPrefix(name, ":")
	switch lower := strings.ToLower(name); {
	case name != lower:
		p.Message, p.Hint = "names of headers are written in lower case here", fmt.Sprintf("write %q", lower)
	case colon && pseudo(plain) == name:
		p.Hint = fmt.Sprintf("write %q", plain)
	case name != "" && strings.IndexFunc(name, notInToken) < 0:
		return name
	}
	t.Tell(p)
	return name
}

// notInToken tells which characters RFC 9110 (5.6.2) keeps out of the names of headers.
func notInToken(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
}

// stringMatch returns the one comparison that m holds, or false.
func (t *translator) stringMatch(field string, m stringMatch) (mesh.StringMatch, bool) {
	var all []mesh.StringMatch
	for _, c := range []struct {
		kind  mesh.MatchKind
		value *string
	}{{mesh.MatchExact, m.Exact}, {mesh.MatchPrefix, m.Prefix}, {mesh.MatchRegex, m.Regex}} {
		if c.value != nil {
			all = append(all, mesh.StringMatch{Kind: c.kind, Value: *c.value})
		}
	}
	switch len(all) {
	case 0:
		t.Missing(field+".exact", "the value to compare with is missing: write exact, prefix or regex")
		return mesh.StringMatch{}, false
	case 1:
		if kind := all[0].Kind; kind != mesh.MatchExact && all[0].Value == "" {
			t.Tell(mesh.Problem{
				Field: field + "." + string(kind), Code: config.CodeInvalidValue,
				Message: "an empty " + string(kind) + " compares nothing", Hint: "leave it out, or compare with something",
			})
		} else if kind == mesh.MatchRegex {
			t.regex(field+".regex", all[0].Value)
		}
		return all[0], true
	default:
		t.Tell(mesh.Problem{
			Field: field, Code: config.CodeConflictingFields, Message: "exact, prefix and regex exclude one another",
		})
		return mesh.StringMatch{}, false
	}
}
