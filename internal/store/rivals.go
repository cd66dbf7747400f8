package store

import (
	"fmt"
	"slices"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// maxRivals bounds how many rules of one host are compared with one another.
const maxRivals = 2000

// rivals tells which rules of one host are never reached, and which are tried in an order that nobody chose.
func (r *reviewer) rivals(rules []*mesh.RouteRule) {
	for j, rule := range rules[:min(len(rules), maxRivals)] {
		if before := r.covering(rules[:j], rule); before != nil {
			r.tell(rule.Object, mesh.Problem{
				Field: r.matchOf(rule.Object), Code: config.CodeUnreachableRule,
				Message: fmt.Sprintf("the rule is never reached: %s is tried before it and takes every request that it takes", before.Object),
				Hint:    fmt.Sprintf("give it a precedence above %d, or remove it", before.Precedence),
			})
		} else if before := r.overlapping(rules[:j], rule); before != nil {
			r.tell(rule.Object, mesh.Problem{
				Field: r.matchOf(rule.Object), Code: config.CodeOverlappingRules,
				Message: fmt.Sprintf("%s has the same precedence %d and may take the same requests: it is tried first, only because of its name",
					before.Object, before.Precedence),
				Hint: "give the one that is to be tried first a higher precedence",
			})
		}
	}
}

// covering returns the first rule of those tried before that leaves nothing to the rule, or nil.
func (r *reviewer) covering(before []*mesh.RouteRule, rule *mesh.RouteRule) *mesh.RouteRule {
	for _, b := range before {
		if r.matches.covers(b, rule) && !r.leavesBytes(b, rule) {
			return b
		}
	}
	return nil
}

// leavesBytes tells whether there may be connections that a rule about requests only, such as a redirect, leaves to the
// rule.
func (r *reviewer) leavesBytes(before, rule *mesh.RouteRule) bool {
	if before.Redirect == nil && before.URI == nil || rule.Redirect != nil || len(rule.Headers) > 0 || rule.URI != nil {
		return false
	}
	svc := r.snapshot.Service(rule.Destination)
	return svc == nil || slices.ContainsFunc(svc.Ports, func(p mesh.Port) bool { return !p.Protocol.IsHTTP() })
}

// overlapping returns the first rule of the same precedence that may take a request of the rule, or nil. The rules of one
// object have an order that somebody chose.
func (r *reviewer) overlapping(before []*mesh.RouteRule, rule *mesh.RouteRule) *mesh.RouteRule {
	for _, b := range before {
		if b.Precedence == rule.Precedence && b.Object != rule.Object && r.matches.overlap(b, rule) {
			return b
		}
	}
	return nil
}

// matchOf returns the field in which a rule says which requests it takes; without one, its name.
func (r *reviewer) matchOf(ref mesh.Ref) string {
	return r.field(ref, "spec.match", "metadata.name")
}
