package v1alpha2

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// cors says which scripts of other origins may read answers.
func (t *translator) cors(c *corsPolicy) *mesh.CORS {
	const field = "spec.corsPolicy"
	if len(c.AllowOrigin) == 0 {
		t.Missing(field+".allowOrigin", `the origins that are allowed are missing, such as "https://example.com"`)
	}
	for i, origin := range c.AllowOrigin {
		t.origin(config.Item(field+".allowOrigin", i), origin)
	}
	for i, method := range c.AllowMethods {
		t.method(config.Item(field+".allowMethods", i), method)
	}
	policy := &mesh.CORS{
		Origins: c.AllowOrigin, Methods: c.AllowMethods,
		Headers:       t.headerNames(field+".allowHeaders", c.AllowHeaders),
		ExposeHeaders: t.headerNames(field+".exposeHeaders", c.ExposeHeaders),
		Credentials:   c.AllowCredentials,
	}
	if c.MaxAge != nil {
		age := time.Duration(*c.MaxAge)
		if age < 0 || age%time.Second != 0 {
			t.Tell(mesh.Problem{
				Field: field + ".maxAge", Code: config.CodeInvalidDuration, Message: age.String() + " is not a whole number of seconds from 0s on",
			})
		}
		policy.MaxAge = (*mesh.Duration)(c.MaxAge)
	}
	return policy
}

// origin checks an origin that is compared with what browsers send.
func (t *translator) origin(field, origin string) {
	scheme, authority, full := strings.Cut(origin, "://")
	switch {
	case origin == "*" || origin == "null":
	case origin == "" || strings.IndexFunc(origin, func(r rune) bool { return r <= ' ' || r > '~' || r == ',' }) >= 0:
		t.Tell(mesh.Problem{
			Field: field, Code: config.CodeInvalidValue, Message: fmt.Sprintf("%.70q is not an origin", origin),
			Hint: "write one as https://example.com or http://example.com:8080",
		})
	case !full:
		t.Warn(mesh.Problem{
			Field: field, Code: config.CodeNoEffect, Message: fmt.Sprintf("no browser sends %.70q as its origin: the scheme is missing", origin),
			Hint: fmt.Sprintf("write %.70q", "https://"+origin),
		})
	case scheme != strings.ToLower(scheme) || !isToken(scheme) || !isAuthority(authority):
		t.Warn(mesh.Problem{
			Field: field, Code: config.CodeNoEffect, Message: fmt.Sprintf("no browser sends %.70q as its origin", origin),
			Hint: "an origin is scheme, host in lower case, and port if it is unusual: https://example.com",
		})
	}
}

var methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE"}

func (t *translator) method(field, method string) {
	if !slices.Contains(methods, method) {
		t.Tell(mesh.Problem{
			Field: field, Code: config.CodeInvalidValue, Message: fmt.Sprintf("%.70q is not a method", method),
			Hint: config.Suggest(method, "known methods", methods),
		})
	}
}
