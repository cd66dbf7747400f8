package v1alpha2_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/dialect/v1alpha2"
	"github.com/lateen-mesh/lateen/internal/golden"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// TestRouteRule shows what route rules mean, what they expect of other objects, and what is wrong with them.
func TestRouteRule(t *testing.T) {
	run(t, "testdata/routerule", "rules.json", func(m config.Meaning) any { return m.Rules })
}

// TestDestinationPolicy shows the same of destination policies.
func TestDestinationPolicy(t *testing.T) {
	run(t, "testdata/destinationpolicy", "policies.json", func(m config.Meaning) any { return m.Policies })
}

// TestEgressRule shows the same of egress rules.
func TestEgressRule(t *testing.T) {
	run(t, "testdata/egressrule", "egress.json", func(m config.Meaning) any { return m.Egress })
}

// run reads the file of each case and writes what its objects mean to the section out.
func run(t *testing.T, dir, out string, part func(config.Meaning) any) {
	kinds := v1alpha2.Kinds("cluster.local")
	golden.Run(t, dir, func(t *testing.T, c *golden.Case) {
		objects, problems := config.Parse("in.yaml", []byte(c.In("in.yaml")), "")
		all := config.Meaning{
			Rules: []*mesh.RouteRule{}, Policies: []*mesh.DestinationPolicy{}, Egress: []*mesh.EgressRule{},
		}
		var mentions strings.Builder
		for i := range objects {
			meaning, more := kinds.Read(&objects[i])
			problems = append(problems, more...)
			all.Rules = append(all.Rules, meaning.Rules...)
			all.Policies = append(all.Policies, meaning.Policies...)
			all.Egress = append(all.Egress, meaning.Egress...)
			for _, m := range meaning.Mentions {
				fmt.Fprintf(&mentions, "%s: %s names %s %s\n", m.Position, m.Field, m.Host, m.Labels)
			}
		}
		text, err := json.MarshalIndent(part(all), "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		var told strings.Builder
		for _, p := range problems {
			fmt.Fprintln(&told, p)
		}
		c.Out(out, string(text)+"\n")
		c.Out("mentions.txt", mentions.String())
		c.Out("problems.txt", told.String())
	})
}
