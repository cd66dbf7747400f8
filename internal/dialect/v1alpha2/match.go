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
		rule.Source = t.source("spec.match.source", m.Source)
	}
	if m.TCP != nil {
		tcp := mesh.TCPMatch{
			Sources:      t.networks("spec.match.tcp.sourceSubnet", m.TCP.SourceSubnet),
			Destinations: t.networks("spec.match.tcp.destinationSubnet", m.TCP.DestinationSubnet),
		}
		if len(tcp.Sources)+len(tcp.Destinations) > 0 {
			rule.TCP = &tcp
		}
	}
	if m.Request == nil {
		return
	}
	const field = "spec.match.request.headers"
	for _, name := range slices.Sorted(maps.Keys(m.Request.Headers)) {
		at := config.Key(field, name)
		value, ok := t.stringMatch(at, m.Request.Headers[name])
		if ok && value.Kind != mesh.MatchRegex && value.Value != "" {
			t.vain(config.Key(at, string(value.Kind)), name, value.Value)
		}
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

// vain warns of a value that no request has.
func (t *translator) vain(field, name, value string) {
	p := mesh.Problem{Field: field, Code: config.CodeNoEffect}
	switch {
	case name == "uri" && !strings.HasPrefix(value, "/"):
		p.Message, p.Hint = fmt.Sprintf("no path begins with %.70q", value), `a path begins with "/"`
	case name == "uri" && strings.ContainsAny(value, "?#"):
		p.Message = fmt.Sprintf("no path is like %.70q: the query is not compared", value)
	case name == "method" && value != strings.ToUpper(value):
		p.Message, p.Hint = fmt.Sprintf("no request has the method %.70q", value), fmt.Sprintf("write %.70q", strings.ToUpper(value))
	case name == "scheme" && value != strings.ToLower(value):
		p.Message, p.Hint = fmt.Sprintf("no request has the scheme %.70q", value), fmt.Sprintf("write %.70q", strings.ToLower(value))
	default:
		return
	}
	t.Warn(p)
}

// source returns which callers are meant. Labels alone mean callers of any service.
func (t *translator) source(field string, s *istioService) *mesh.SourceMatch {
	m := &mesh.SourceMatch{Labels: s.Labels}
	if len(s.Labels) > 0 && s.Name == "" && s.Namespace == "" && s.Domain == "" && s.Service == "" {
		t.labels(field+".labels", s.Labels)
		return m
	}
	m.Host = t.oneHost(field, s)
	t.mention(field, m.Host, nil)
	return m
}

// networks returns networks in CIDR notation.
func (t *translator) networks(field string, texts []string) []string {
	var all []string
	for i, text := range texts {
		network, ok := parseNetwork(text)
		if !ok {
			t.Tell(mesh.Problem{
				Field: config.Item(field, i), Code: config.CodeInvalidValue,
				Message: fmt.Sprintf("%.70q is neither an IP address nor a network such as 10.0.0.0/8", text),
			})
		}
		all = append(all, network.String())
	}
	return all
}

// headerName returns the name under which a proxy sees the header that a match at field names.
func (t *translator) headerName(field, name string) string {
	if p := pseudo(name); p != "" {
		return p
	}
	if isToken(name) {
		t.lowerCase(field, name)
		return name
	}
	p := badName(field, name)
	if plain, colon := strings.CutPrefix(name, ":"); colon && pseudo(plain) == name {
		p.Hint = fmt.Sprintf("write %q", plain)
	}
	t.Tell(p)
	return name
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
			t.Regex(field+".regex", all[0].Value)
		}
		return all[0], true
	default:
		t.Tell(mesh.Problem{
			Field: field, Code: config.CodeConflictingFields, Message: "exact, prefix and regex exclude one another",
		})
		return mesh.StringMatch{}, false
	}
}
