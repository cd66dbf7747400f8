package explain

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/plan"
)

// differs says which condition of the route does not hold, the first of them; "": the route takes the request.
func (q request) differs(r *plan.Route) string {
	switch {
	case r.Connect && !q.isConnect():
		return "method: want CONNECT, got " + q.method
	case !r.Connect && q.isConnect():
		return "method: CONNECT meets only routes for it"
	}
	if !r.Connect {
		if why := q.otherPath(r.Path); why != "" {
			return why
		}
	}
	for _, h := range r.Headers {
		if why := q.otherHeader(h); why != "" {
			return why
		}
	}
	if why := outside("source", q.source, r.Sources); why != "" {
		return why
	}
	return outside("dialled address", q.dialled, r.Dialled)
}

func (q request) otherPath(m plan.PathMatch) string {
	if m.Takes(q.path) {
		return ""
	}
	return fmt.Sprintf("path: want %s %s, got %s", m.Kind, quote(m.Value), quote(q.path))
}

func (q request) otherHeader(h plan.HeaderMatch) string {
	values := q.values(h.Name)
	if slices.ContainsFunc(values, h.Takes) {
		return ""
	}
	want, got := string(h.Kind), "none"
	if h.Kind != mesh.MatchPresent {
		want += " " + quote(h.Value)
	}
	if len(values) > 0 {
		quoted := make([]string, len(values))
		for i, v := range values {
			quoted[i] = quote(v)
		}
		got = strings.Join(quoted, " ")
	}
	return fmt.Sprintf("%s: want %s, got %s", h.Name, want, got)
}

// quote puts a value in quotes as it is, so that expressions stay readable; only what cannot be printed is escaped.
func quote(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return `"` + s + `"`
}

// outside says that none of the networks, if there are any, holds the address.
func outside(what string, address netip.Addr, networks []string) string {
	if len(networks) == 0 || holds(networks, address) {
		return ""
	}
	got := "none"
	if address.IsValid() {
		got = address.String()
	}
	return fmt.Sprintf("%s: want %s, got %s", what, strings.Join(networks, " or "), got)
}

func holds(networks []string, address netip.Addr) bool {
	return slices.ContainsFunc(networks, func(text string) bool {
		network, err := netip.ParsePrefix(text)
		return err == nil && network.Contains(address)
	})
}

// isPreflight tells whether the request asks, by the Fetch standard, what a script of an allowed origin may send.
func (q request) isPreflight(c *mesh.CORS) bool {
	origin, asked := q.first("origin"), q.first("access-control-request-method")
	return c != nil && q.method == methodOptions && origin != "" && asked != "" &&
		slices.ContainsFunc(c.Origins, func(o string) bool { return o == "*" || o == origin })
}
