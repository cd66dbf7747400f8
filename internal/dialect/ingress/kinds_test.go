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
		doors, tls := []*mesh.DoorRule{}, []*mesh.DoorTLS{}
		var mentions strings.Builder
		for i := range objects {
			meaning, more := kinds.Read(&objects[i])
			problems = append(problems, more...)
			doors, tls = append(doors, meaning.Doors...), append(tls, meaning.DoorTLS...)
			for _, m := range meaning.Mentions {
				fmt.Fprintf(&mentions, "%s: %s names %s port %s\n", m.Position, m.Field, m.Host, cmp.Or(m.PortName, fmt.Sprint(m.Port)))
			}
		}
		var told strings.Builder
		for _, p := range problems {
			fmt.Fprintln(&told, p)
		}
		c.Out("doors.jsonl", lines(t, doors))
		if len(tls) > 0 {
			c.Out("tls.jsonl", lines(t, tls))
		}
		c.Out("mentions.txt", mentions.String())
		c.Out("problems.txt", told.String())
	})
}

// lines writes each value as JSON in a line of its own.
func lines[T any](t *testing.T, values []T) string {
	t.Helper()
	var text strings.Builder
	for _, v := range values {
		line, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		text.Write(append(line, '\n'))
	}
	return text.String()
}

// FuzzIngress looks for objects that make the dialect panic, or whose meaning nobody could serve.
func FuzzIngress(f *testing.F) {
	for _, seed := range []string{
		`{"rules":[{"host":"*.Example.com","http":{"paths":[{"path":"/a.*","backend":{"serviceName":"a","servicePort":80}}]}}]}`,
		`{"tls":[{"hosts":["a.example.com","*"],"secretName":"x"}],"backend":{"serviceName":"a","servicePort":"http"}}`,
		`{"rules":[{"http":{"paths":[{"path":"/a/(b|c)?","pathType":"ImplementationSpecific","backend":{"service":{"name":"a","port":{"number":1}}}}]}}]}`,
	} {
		f.Add(0, seed)
		f.Add(2, seed)
	}
	kinds := ingress.Kinds("cluster.local")
	versions := kinds.Find("networking.k8s.io/v1", "Ingress").APIVersions
	f.Fuzz(func(t *testing.T, version int, spec string) {
		head := fmt.Sprintf("apiVersion: %s\nkind: Ingress\nmetadata: {name: a}\nspec: ", versions[uint(version)%uint(len(versions))])
		objects, _ := config.Parse("in.yaml", []byte(head+spec+"\n"), "")
		for i := range objects {
			meaning, problems := kinds.Read(&objects[i])
			if mesh.HasErrors(problems) && len(meaning.Doors) > 0 {
				t.Errorf("a meaning beside errors: %v", problems)
			}
			for _, d := range meaning.Doors {
				if !strings.HasPrefix(d.Path.Value, "/") || strings.ToLower(d.Host) != d.Host || d.Backend.Host == "" {
					t.Errorf("%s means %+v", spec, d)
				}
			}
		}
	})
}
