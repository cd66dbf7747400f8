package v1alpha2

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// alone reports what cannot stand beside a redirect, which answers by itself.
func (t *translator) alone(spec *routeRule) {
	for _, other := range []struct {
		name  string
		there bool
	}{
		{"route", len(spec.Route) > 0},
		{"rewrite", spec.Rewrite != nil},
		{"httpFault", spec.HTTPFault != nil},
		{"websocketUpgrade", spec.WebsocketUpgrade},
		{"mirror", spec.Mirror != nil},
	} {
		if other.there {
			t.Tell(mesh.Problem{
				Field: "spec." + other.name, Code: config.CodeConflictingFields,
				Message: other.name + " cannot stand beside redirect: a redirect is the whole answer",
			})
		}
	}
	for _, other := range []struct {
		name  string
		there bool
	}{
		{"httpReqTimeout", spec.HTTPReqTimeout != nil},
		{"httpReqRetries", spec.HTTPReqRetries != nil},
		{"l4Fault", spec.L4Fault != nil},
		{"corsPolicy", spec.CorsPolicy != nil},
		{"appendHeaders", len(spec.AppendHeaders) > 0},
	} {
		if other.there {
			t.Warn(mesh.Problem{
				Field: "spec." + other.name, Code: config.CodeNoEffect,
				Message: other.name + " does nothing beside redirect: a redirect is the whole answer",
			})
		}
	}
}

// place checks where a redirect or rewrite leads.
func (t *translator) place(field string, p *place) *place {
	if p.URI == "" && p.Authority == "" {
		t.Missing(field+".uri", "there is no place here: write uri, authority or both")
	}
	if p.URI != "" {
		t.path(field+".uri", p.URI)
	}
	authority := strings.ToLower(p.Authority)
	if authority != "" && !isAuthority(authority) {
		t.Tell(mesh.Problem{
			Field: field + ".authority", Code: config.CodeInvalidValue,
			Message: fmt.Sprintf("%.70q is not a host, with or without a port", p.Authority),
		})
	}
	return &place{URI: p.URI, Authority: authority}
}

// maxText bounds the length of texts that become part of a header.
const maxText = 8 << 10

// path checks the path of a URI, without query.
func (t *translator) path(field, path string) {
	p := mesh.Problem{Field: field, Code: config.CodeInvalidValue}
	switch i := strings.IndexFunc(path, func(r rune) bool { return r <= ' ' || r > '~' || r == '?' || r == '#' }); {
	case !strings.HasPrefix(path, "/"):
		p.Message = fmt.Sprintf("the path %.70q does not begin with /", path)
	case len(path) > maxText:
		p.Code, p.Message = config.CodeTooLarge, fmt.Sprintf("the path has %d bytes: at most %d are allowed", len(path), maxText)
	case i >= 0:
		p.Message = fmt.Sprintf("the path %.70q must not contain %.1q", path, path[i:])
		p.Hint = "a path has no query; other characters are written as % and two hexadecimal digits each byte"
	default:
		return
	}
	t.Tell(p)
}

// isAuthority tells whether s is a host in lower case or an IP address, with or without a port.
func isAuthority(s string) bool {
	host := s
	if i := strings.LastIndexByte(s, ':'); i > strings.LastIndexByte(s, ']') {
		host = s[:i]
		if port, err := strconv.ParseUint(s[i+1:], 10, 16); err != nil || port == 0 {
			return false
		}
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		address, err := netip.ParseAddr(inner)
		return ok && err == nil && address.Is6() && address.Zone() == ""
	}
	return isHost(host)
}

// isHost tells whether s is a domain name or an IPv4 address.
func isHost(s string) bool {
	last := s[strings.LastIndexByte(s, '.')+1:]
	if strings.Trim(last, "0123456789") == "" { // no top-level domain is a number
		address, err := netip.ParseAddr(s)
		return err == nil && address.Is4()
	}
	return config.IsDomain(s)
}
