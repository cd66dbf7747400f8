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
	kinds := v1alpha2.Kinds("cluster.local")
	golden.Run(t, "testdata/routerule", func(t *testing.T, c *golden.Case) {
		objects, problems := config.Parse("in.yaml", []byte(c.In("in.yaml")), "")
		rules := []*mesh.RouteRule{}
		var mentions strings.Builder
		for i := range objects {
			meaning, more := kinds.Read(&objects[i])
			problems = append(problems, more...)
			rules = append(rules, meaning.Rules...)
			for _, m := range meaning.Mentions {
				fmt.Fprintf(&mentions, "%s: %s names %s %s\n", m.Position, m.Field, m.Host, m.Labels)
			}
		}
		text, err := json.MarshalIndent(rules, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		var told strings.Builder
		for _, p := range problems {
			fmt.Fprintln(&told, p)
		}
		c.Out("rules.json", string(text)+"\n")
		c.Out("mentions.txt", mentions.String())
		c.Out("problems.txt", told.String())
	})
}

// FuzzRouteRule shows that no spec makes the dialect panic, and that a rule with a problem means nothing.
func FuzzRouteRule(f *testing.F) {
	for _, seed := range []string{
		"destination: {name: a}\nroute: [{labels: {version: v1}, weight: 100}]\n",
		"destination: {service: '*.a'}\nmatch: {source: {labels: {a: b}}, request: {headers: {uri: {regex: a}, ':method': {exact: GET}, '': {}}}}\n",
		"destination: {name: a}\nhttpFault: {delay: {percent: 1e3, fixedDelay: 9h}, abort: {httpStatus: 200}}\nhttpReqTimeout: 1\n",
		"route: {}\ndestination: [a]\nmatch: ~\n",
	} {
		f.Add(seed)
	}
	kinds := v1alpha2.Kinds("cluster.local")
	f.Fuzz(func(t *testing.T, spec string) {
		head := "apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {name: a}\nspec:\n"
		objects, _ := config.Parse("f", []byte(head+"  "+strings.ReplaceAll(spec, "\n", "\n  ")), "")
		for i := range objects {
			meaning, problems := kinds.Read(&objects[i])
			if mesh.HasErrors(problems) && len(meaning.Rules)+len(meaning.Mentions) > 0 {
				t.Errorf("a rule with errors means %v", meaning)
			}
		}
	})
}
