package inject

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	"golang.org/x/tools/txtar"

	"github.com/lateen-mesh/lateen/internal/edit"
	"github.com/lateen-mesh/lateen/internal/kubetest"
)

// notForKubectl are cases that kubectl does not read, or not among others.
var notForKubectl = []string{"unknown-documents", "list-of-pods", "list-in-a-list", "json-over-lines"}

// TestKubernetesTakesIt hands what comes out to a real API server, through kubectl, as users do: all golden cases in today's
// versions of which nothing bad is told. Nothing is stored.
func TestKubernetesTakesIt(t *testing.T) {
	server := kubetest.Start(t)
	paths, err := filepath.Glob(filepath.Join("testdata", "inject", "*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	var before, after strings.Builder
	seen := map[string]int{}
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(archive.Files, func(f txtar.File) bool { return f.Name == "in.file" })
		name, file := strings.TrimSuffix(filepath.Base(path), ".txtar"), string(archive.Files[i].Data)
		r := Inject("f", []byte(file), options)
		injected := slices.ContainsFunc(r.Workloads, func(w Workload) bool { return w.Changed })
		if len(r.Problems) > 0 || !injected || slices.Contains(notForKubectl, name) {
			continue
		}
		for _, w := range r.Workloads {
			seen[w.Ref.Kind]++
		}
		file = withAccount(t, file)
		before.WriteString("---\n" + file)
		after.WriteString("---\n" + string(Inject("f", []byte(file), options).Text))
	}
	for kind := range kinds {
		if seen[kind] == 0 {
			t.Errorf("no %s among the cases", kind)
		}
	}
	create := []string{"create", "-n", server.Namespace(t), "--dry-run=server", "--validate=strict", "-f", "-"}
	was, is := server.Kubectl(t, before.String(), create...), server.Kubectl(t, after.String(), create...)
	if was != is || strings.Count(is, "created") < 30 {
		t.Errorf("created\n%sinstead of\n%s", is, was)
	}
}

// withAccount gives Pods their ServiceAccount, as the admission of a whole cluster does.
func withAccount(t *testing.T, file string) string {
	t.Helper()
	var out strings.Builder
	for _, text := range edit.Split(file) {
		d, err := edit.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		result := text.Text
		if d != nil {
			var c edit.Change
			addAccount(d.Root, &c)
			if result, _, err = d.Apply(&c); err != nil {
				t.Fatal(err)
			}
		}
		out.WriteString(result)
	}
	return out.String()
}

func addAccount(n *yaml.Node, c *edit.Change) {
	if spec := find(n, "spec"); Text(find(n, "kind")) == "Pod" && spec != nil {
		c.Key("spec").Add("serviceAccountName", edit.Scalar("default"))
	}
	if items := find(n, "items"); items != nil {
		for i, item := range items.Content {
			addAccount(item, c.Key("items").Item(i))
		}
	}
}

// TestFixOfOutdated shows that Kubernetes takes an object of 2017 no more, and takes it when the hints are followed.
func TestFixOfOutdated(t *testing.T) {
	server := kubetest.Start(t)
	namespace := server.Namespace(t)
	const old = `apiVersion: extensions/v1beta1
kind: Deployment
metadata:
  name: reviews-v1
spec:
  template:
    metadata:
      labels:
        app: reviews
        version: "1"
    spec:
      containers:
      - name: reviews
        image: reviews:1
`
	if _, err := server.TryKubectl(t, old, "create", "-n", namespace, "--dry-run=server", "-f", "-"); err == nil {
		t.Fatal("Kubernetes takes it")
	}
	said := told(Inject("f", []byte(old), options))
	version := regexp.MustCompile(`hint: write (apiVersion: \S+)`).FindStringSubmatch(said)
	selector := regexp.MustCompile(`hint: write (selector: .*), which`).FindStringSubmatch(said)
	if version == nil || selector == nil {
		t.Fatalf("no hints in\n%s", said)
	}
	fixed := strings.Replace(old, "apiVersion: extensions/v1beta1", version[1], 1)
	fixed = strings.Replace(fixed, "spec:\n", "spec:\n  "+selector[1]+"\n", 1)
	r := Inject("f", []byte(fixed), options)
	if len(r.Problems) > 0 {
		t.Errorf("%v", r.Problems)
	}
	server.Kubectl(t, string(r.Text), "create", "-n", namespace, "-f", "-")
}

// TestUninjectOfKubernetes takes the sidecar out of what an API server returns for an injected object: what is left is what it
// returns for the object without.
func TestUninjectOfKubernetes(t *testing.T) {
	server := kubetest.Start(t)
	spec := func(file string) any {
		namespace := server.Namespace(t)
		server.Kubectl(t, file, "create", "-n", namespace, "-f", "-")
		stored := server.Kubectl(t, "", "get", "-n", namespace, "deployment", "shop", "-o", "yaml")
		back := Uninject("f", []byte(stored))
		if len(back.Problems) > 0 {
			t.Fatal(back.Problems)
		}
		return read(t, back.Text)[0]["spec"]
	}
	without := yamlOf(t, object{"spec": spec(deployment)})
	with := yamlOf(t, object{"spec": spec(string(Inject("f", []byte(deployment), options).Text))})
	if string(without) != string(with) {
		t.Errorf("without a sidecar:\n%s\nwith one that was taken out:\n%s", without, with)
	}
}
