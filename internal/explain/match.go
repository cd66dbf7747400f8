package explain

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

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
	return fmt.Sprintf("path: want %s %q, got %q", m.Kind, m.Value, q.path)
}

func (q request) otherHeader(h plan.HeaderMatch) string {
	values := q.values(h.Name)
	if slices.ContainsFunc(values, h.Takes) {
		return ""
	}
	want, got := string(h.Kind), "none"
	if h.Kind != mesh.MatchPresent {
		want += " " + strconv.Quote(h.Value)
	}
	if len(values) > 0 {
		got = fmt.Sprintf("%q", values)
		got = got[1 : len(got)-1]
	}
	return fmt.Sprintf("%s: want %s, got %s", h.Name, want, got)
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
