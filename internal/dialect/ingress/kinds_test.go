package ingress_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/dialect/ingress"
	"github.com/lateen-mesh/lateen/internal/golden"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// TestIngress shows what Ingress objects mean, what they expect of services, and what is wrong with them.
func TestIngress(t *testing.T) {
	kinds := ingress.Kinds("cluster.local")
	golden.Run(t, "testdata/ingress", func(t *testing.T, c *golden.Case) {
		objects, problems := config.Parse("in.yaml", []byte(c.In("in.yaml")), "")
		doors := []*mesh.DoorRule{}
		var mentions strings.Builder
		for i := range objects {
			meaning, more := kinds.Read(&objects[i])
			problems = append(problems, more...)
			doors = append(doors, meaning.Doors...)
			for _, m := range meaning.Mentions {
				fmt.Fprintf(&mentions, "%s: %s names %s port %s\n", m.Position, m.Field, m.Host, cmp.Or(m.PortName, fmt.Sprint(m.Port)))
			}
		}
		text, err := json.MarshalIndent(doors, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		var told strings.Builder
		for _, p := range problems {
			fmt.Fprintln(&told, p)
		}
		c.Out("doors.json", string(text)+"\n")
		c.Out("mentions.txt", mentions.String())
		c.Out("problems.txt", told.String())
	})
}
