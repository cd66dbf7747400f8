package push_test

import (
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// A problem of a refusal stands where the object stands now.
func TestRefusalMovesWithItsObject(t *testing.T) {
	t.Parallel()
	w, f := one(t, push.Config{})
	c := settled(t, w, f)
	at := func(line int) {
		w.Edit(func(d *mesh.Draft) {
			d.SetRules(reviews, mesh.NewRuleSet(reviews, []*mesh.RouteRule{{
				Object: mesh.Ref{Kind: "RouteRule", Namespace: "default", Name: "slow"}, Destination: reviews, Precedence: 1,
				Origin: mesh.Position{File: "rules.yaml", Line: line, Column: 1},
				URI:    &mesh.StringMatch{Kind: mesh.MatchExact, Value: "/slow"},
			}}))
		})
	}
	at(3)
	route := of(c.next(), xds.VirtualHostType)
	c.say(nack(route[0], "bad route"))
	if p := w.Engine.Problems(); len(p) != 1 || p[0].Position.Line != 3 {
		t.Fatalf("problems %v", p)
	}
	at(30)
	c.next()
	if p := w.Engine.Problems(); len(p) != 1 || p[0].Position.Line != 30 {
		t.Errorf("the object stands at line 30 now, and the problem says %v", p)
	}
}
