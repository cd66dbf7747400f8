package inject

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// deployment is one with comments, an init container and two containers.
const deployment = `# The shop.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: shop # here
spec:
  replicas: 2
  selector:
    matchLabels:
      app: shop
  template:
    metadata:
      labels:
        app: shop
    spec:
      initContainers:
      - name: first
        image: first:1
      containers:
      # of the shop
      - name: shop
        image: shop:1
        env:
        - name: GREETING
          value: "	with a tab"
      - name: cart
        image: cart:1
`

// TestBytes shows that what a text editor leaves in a file stays: line ends, a byte order mark, the lack of a last line end.
func TestBytes(t *testing.T) {
	for _, test := range []struct{ name, file string }{
		{"as usual", deployment},
		{"no final line end", strings.TrimSuffix(deployment, "\n")},
		{"CR LF", strings.ReplaceAll(deployment, "\n", "\r\n")},
		{"CR LF and no final line end", strings.TrimSuffix(strings.ReplaceAll(deployment, "\n", "\r\n"), "\r\n")},
		{"mixed line ends", strings.Replace(deployment, "\n", "\r\n", 5)},
		{"byte order mark", "\ufeff" + deployment},
		{"byte order mark and marker", "\ufeff---\n" + deployment},
		{"space at the ends of lines", strings.ReplaceAll(deployment, "\n", "  \n")},
		{"blank lines at the end", deployment + "\n\n   \n"},
		{"a comment without line end", deployment + "# end"},
		{"an end marker", deployment + "...\n"},
		{"a marker without line end", deployment + "---"},
		{"a directive", "%YAML 1.1\n---\n" + deployment},
		{"a marker with a comment", "--- # first\n" + deployment + "--- # second\n" + deployment},
		{"an empty file", ""},
		{"only comments", "# nothing\n\n---\n# here\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := Inject("f", []byte(test.file), options)
			if mesh.HasErrors(r.Problems) || len(r.Workloads) != strings.Count(test.file, "kind: Deployment") {
				t.Fatalf("%v %v", r.Workloads, r.Problems)
			}
			checkLines(t, test.file, string(r.Text))
			if !strings.HasPrefix(test.file, "%") && !strings.HasPrefix(test.file, "\ufeff") { // which kubectl cannot read
				checkMeaning(t, []byte(test.file), options, r)
			}
			if strings.Contains(test.file, "\r\n") && !strings.HasPrefix(test.name, "mixed") && strings.Contains(strings.ReplaceAll(string(r.Text), "\r\n", ""), "\n") {
				t.Error("some of the new lines end otherwise than the old ones")
			}
			if back := Uninject("f", r.Text); string(back.Text) != test.file {
				t.Errorf("the way back:\n%q\nwant\n%q", back.Text, test.file)
			}
		})
	}
}

// TestUninjectAfterEdits shows that the sidecar is found whatever people have done to the lines around it.
func TestUninjectAfterEdits(t *testing.T) {
	edit := strings.NewReplacer(
		"replicas: 2", "replicas: 3",
		"image: cart:1", "image: cart:2 # newer",
		"# of the shop\n", "# of the shop\n\n      # and of others\n",
		"name: shop # here\n", "name: shop\n  labels: {a: b}\n",
		"- name: first\n", "- name: zeroth\n        image: z:1\n      - name: first\n",
	)
	injected := Inject("f", []byte(deployment), options)
	back := Uninject("f", []byte(edit.Replace(string(injected.Text))))
	if want := edit.Replace(deployment); string(back.Text) != want {
		t.Errorf("the way back:\n%s\nwant\n%s", back.Text, want)
	}
}

// TestUninjectKeepsAnotherPreStop shows that what somebody has put in the place of a sleep is theirs.
func TestUninjectKeepsAnotherPreStop(t *testing.T) {
	injected := string(Inject("f", []byte(deployment), options).Text)
	own := strings.Replace(injected, "            sleep:\n              seconds: 5\n", "            exec:\n              command: [wait]\n", 1)
	back := string(Uninject("f", []byte(own)).Text)
	want := strings.Replace(deployment, "      - name: cart\n", "        lifecycle:\n          preStop:\n            exec:\n              command: [wait]\n      - name: cart\n", 1)
	if back != want {
		t.Errorf("the way back:\n%s\nwant\n%s", back, want)
	}
}

// TestUninjectFromCluster shows that a sidecar is taken out of what a cluster returns, where keys are sorted, defaults are
// filled in and nothing is left of how the file was written.
func TestUninjectFromCluster(t *testing.T) {
	r := Inject("f", []byte(deployment), options)
	o := read(t, r.Text)[0]
	spec := templateOf(o)["spec"].(object)
	spec["dnsPolicy"] = "ClusterFirst"
	for _, c := range spec["initContainers"].([]any) {
		c.(object)["terminationMessagePath"] = "/dev/termination-log"
	}
	o["status"] = object{"replicas": 2}
	templateOf(o)["metadata"].(object)["creationTimestamp"] = nil
	text := yamlOf(t, o)
	back := Uninject("f", text)
	if len(back.Workloads) != 1 || !back.Workloads[0].Changed || len(back.Problems) > 0 {
		t.Fatalf("%v %v", back.Workloads, back.Problems)
	}
	checkLines(t, string(back.Text), string(text))
	want := read(t, []byte(deployment))[0]
	templateOf(want)["spec"].(object)["dnsPolicy"] = "ClusterFirst"
	templateOf(want)["spec"].(object)["initContainers"].([]any)[0].(object)["terminationMessagePath"] = "/dev/termination-log"
	want["status"] = object{"replicas": 2}
	templateOf(want)["metadata"].(object)["creationTimestamp"] = nil
	if got := string(yamlOf(t, read(t, back.Text)[0])); got != string(yamlOf(t, want)) {
		t.Errorf("got\n%s\nwant\n%s", got, yamlOf(t, want))
	}
}

// TestUninjectWithout tells of pods that have no sidecar.
func TestUninjectWithout(t *testing.T) {
	r := Uninject("f", []byte(deployment))
	if string(r.Text) != deployment || told(r) != "f:2:1: Deployment shop: left alone: it has no sidecar\n0 others\n" {
		t.Errorf("%s", told(r))
	}
}

// TestUpgrade shows the way from one version to another.
func TestUpgrade(t *testing.T) {
	old := Inject("f", []byte(deployment), Options{Image: "lateen-proxy:1.1", Version: "1.1", Ranges: []string{"10.0.0.0/8"}})
	if again := Inject("f", old.Text, options); string(again.Text) != string(old.Text) ||
		!strings.Contains(told(again), `it has a sidecar already, "injected-version-1.1"`) {
		t.Errorf("%s", told(again))
	}
	now := Inject("f", Uninject("f", old.Text).Text, options)
	if want := Inject("f", []byte(deployment), options); string(now.Text) != string(want.Text) {
		t.Errorf("%s", now.Text)
	}
}

// TestHostile shows what files do that were made to cost much: they are told, and stay as they are.
func TestHostile(t *testing.T) {
	const object = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers: [{name: a}]\n"
	bomb := object + "x: [&a0 [1]"
	for i := range 40 {
		bomb += fmt.Sprintf(", &a%d [*a%d, *a%d]", i+1, i, i)
	}
	for _, test := range []struct{ name, file, want string }{
		{"too large a file", strings.Repeat("# comment\n", MaxBytes/10+1), "too-large"},
		{"too large a document", object + "x: " + strings.Repeat("a", maxDocument) + "\n", "too-large"},
		{"too deep", object + "x: " + strings.Repeat("[", 200) + strings.Repeat("]", 200) + "\n", "too-large"},
		{"too deep in JSON", `{"kind":"Pod","x":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + "}", "too-large"},
		{"aliases of aliases", bomb + "]\n", "too-large"},
		{"an alias of itself", object + "x: &a [*a]\n", "too-large"},
		{"too many nodes", object + "x: [" + strings.Repeat("1,", 400_000) + "]\n", "too-large"},
		{"Lists in Lists", strings.Repeat(`{"apiVersion":"v1","kind":"List","items":[`, 20) + strings.Repeat("]}", 20), "too-large"},
		{"too large a document with sidecars", object + "x: " + strings.Repeat("a", maxDocument-200) + "\n", "too-large"},
		{"too large a file with sidecars", object + filler(MaxBytes-1000), "too-large"},
		{"not UTF-8", object + "x: \xff\n", "syntax"},
		{"open brackets", strings.Repeat("{", 1<<20), "syntax"},
		{"many mistakes", strings.Repeat("---\na: [\n", 2000), "too-many-problems"},
		{"UTF-16", "\xff\xfea\x00:\x00", "syntax"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := Inject("f", []byte(test.file), options)
			if string(r.Text) != test.file || len(r.Problems) > 1001 {
				t.Errorf("%d problems, %d bytes of %d", len(r.Problems), len(r.Text), len(test.file))
			}
			if said := told(r); !strings.Contains(said, "["+test.want+"]") || len(said) > 200_000 {
				t.Errorf("told: %.500s", said)
			}
		})
	}
}

// TestMany shows that the effort for a file grows with its size only.
func TestMany(t *testing.T) {
	const many = 300
	item := "- apiVersion: v1\n  kind: Pod\n  metadata: {name: a}\n  spec:\n    containers:\n    - name: a\n"
	for _, file := range []string{
		"apiVersion: v1\nkind: List\nitems:\n" + strings.Repeat(item, many),
		strings.Repeat("---\n"+strings.ReplaceAll(item[2:], "\n  ", "\n"), many),
		deployment + "---\napiVersion: v1\nkind: Pod\nmetadata:\n  annotations:\n" + keys(5_000) + "spec: {containers: [{name: a}]}\n",
	} {
		r := Inject("f", []byte(file), options)
		if n := len(r.Workloads); n != many && n != 2 || len(r.Problems) > 0 {
			t.Fatalf("%d workloads, %v", n, r.Problems)
		}
		if back := Uninject("f", r.Text); string(back.Text) != file {
			t.Error("the way back ends somewhere else")
		}
	}
}

// filler returns documents that say nothing in so many bytes, more or less.
func filler(size int) string {
	one := "---\n" + strings.Repeat("# comment\n", 10_000)
	return strings.Repeat(one, size/len(one)) + strings.Repeat("#", size%len(one))
}

func keys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "    key-%d: value\n", i)
	}
	return b.String()
}
