package deploy

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// helmPatience bounds one rendering by Helm; the first one compiles it.
const helmPatience = 10 * time.Minute

// helm renders the chart with Helm's own code.
func helm(t *testing.T, values string) ([]object, error) {
	t.Helper()
	chart, err := filepath.Abs("chart")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), helmPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "run", "-C", "../tools/chart", ".", chart)
	cmd.Stdin = strings.NewReader(values)
	var problems strings.Builder
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		t.Logf("helm: %s", problems.String())
		return nil, err
	}
	return objects(t, out), nil
}

func byName(all []object) map[string]object {
	named := map[string]object{}
	for _, o := range all {
		named[o.name()] = o
	}
	return named
}

// Helm makes the same objects of the chart as `lateen install` does, with the chart's own values and with others.
func TestHelmMakesTheSame(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, values string
		options      Options
	}{
		{"usual", "namespace: true", usual()},
		{
			"all", "{namespace: true, hub: registry.example/a, tag: v2.1, replicas: 3, meshConfig: \"authPolicy: NONE\\n# \\\"{{ x }}\\\"\\n\"}",
			Options{Hub: "registry.example/a", Tag: "v2.1", Replicas: 3, MeshConfig: "authPolicy: NONE\n# \"{{ x }}\"\n"},
		},
		{"without an ingress", "{namespace: true, ingress: {enabled: false}}", Options{Tag: "dev", Replicas: DefaultReplicas, NoIngress: true}},
	} {
		got, err := helm(t, c.values)
		if err != nil {
			t.Fatal(err)
		}
		want := objects(t, render(t, c.options))
		if diff := cmp.Diff(byName(want), byName(got)); diff != "" || len(got) != len(want) {
			t.Errorf("%s: %d objects, want %d (-install +helm):\n%s", c.name, len(got), len(want), diff)
		}
	}
}

// Without a value, only the namespace is missing, which `helm install --create-namespace` makes; wrong values are refused.
func TestHelmValues(t *testing.T) {
	t.Parallel()
	got, err := helm(t, "")
	if err != nil {
		t.Fatal(err)
	}
	want := byName(objects(t, render(t, usual())))
	delete(want, "Namespace/lateen-system")
	if diff := cmp.Diff(want, byName(got)); diff != "" {
		t.Errorf("(-install +helm):\n%s", diff)
	}
	for _, values := range []string{"tag: a b", "replicas: 0", "replicas: two", "hub: a/", "ingress: {enabled: often}", "colour: red"} {
		if _, err := helm(t, values); err == nil {
			t.Errorf("the chart takes %s", values)
		}
	}
	text, err := chart.ReadFile("chart/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var values map[string]any
	if err := yaml.Unmarshal(text, &values); err != nil || values["replicas"] != DefaultReplicas {
		t.Errorf("values.yaml: %v, %v", values, err)
	}
}
