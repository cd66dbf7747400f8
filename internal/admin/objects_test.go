package admin_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/internal/api"
)

func labelled(name, labels, x string) string {
	return strings.Replace(rule(name, x), "name: "+name, "name: "+name+"\n  labels: {"+labels+"}", 1)
}

func TestObjectsAreChosenByLabels(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	text := labelled("a", "team: x", "1") + "---\n" + labelled("b", "team: y", "1") + "---\n" + rule("c", "1")
	if _, err := s.client.Write(t.Context(), api.Write{Op: api.Create, Files: one("f.yaml", text)}); err != nil {
		t.Fatal(err)
	}
	for labels, want := range map[string]string{"": "a b c", "team=x": "a", "team": "a b", "!team": "c", "team notin (x)": "b c", "team=z": ""} {
		list, err := s.client.Objects(t.Context(), api.Query{Labels: labels})
		var names []string
		for _, o := range list {
			names = append(names, o.Name)
		}
		if got := strings.Join(names, " "); err != nil || got != want {
			t.Errorf("%q chooses %q, want %q; %v", labels, got, want, err)
		}
	}
	const want = `label selector "a b": "a b" is not the key of a label`
	if _, err := s.client.Objects(t.Context(), api.Query{Labels: "a b"}); err == nil || err.Error() != want {
		t.Errorf("error %v", err)
	}
}

func TestComparingChangesNothing(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	if _, err := s.client.Write(t.Context(), api.Write{Op: api.Create, Namespace: "shop", Files: one("f.yaml", rule("a", "1"))}); err != nil {
		t.Fatal(err)
	}
	before, err := s.client.Objects(t.Context(), api.Query{})
	if err != nil {
		t.Fatal(err)
	}
	compared, err := s.client.Compare(t.Context(), api.Compare{
		Namespace: "shop", Files: one("f.yaml", rule("a", "2")+"---\n"+rule("b", "1")+"---\n"+rule("c", "10")),
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range compared.Differences {
		got = append(got, d.Type+"/"+d.Object.Path(), d.Before, d.After)
	}
	stored := before[0].Text
	want := []string{
		"route-rule/shop/a", stored, strings.Replace(stored, "x: 1", "x: 2", 1),
		"route-rule/shop/b", "", strings.NewReplacer("name: a", "name: b", "  resourceVersion: \"1\"\n", "").Replace(stored),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(compared.Problems) != 1 || compared.Problems[0].Object.Name != "c" {
		t.Errorf("problems %v", compared.Problems)
	}
	after, err := s.client.Objects(t.Context(), api.Query{})
	if diff := cmp.Diff(before, after); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}
