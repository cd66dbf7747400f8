package deploy

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/lateen-mesh/lateen/internal/golden"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/serve"
)

const manifests = "manifests/lateen.yaml"

func usual() Options { return Options{Tag: "dev", Replicas: DefaultReplicas} }

func render(t *testing.T, o Options) []byte {
	t.Helper()
	text, err := Manifests(o)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// object is one manifest.
type object map[string]any

func (o object) at(path ...string) any {
	var value any = map[string]any(o)
	for _, key := range path {
		m, _ := value.(map[string]any)
		value = m[key]
	}
	return value
}

func (o object) name() string { return o.at("kind").(string) + "/" + o.at("metadata", "name").(string) }

func objects(t *testing.T, text []byte) []object {
	t.Helper()
	var all []object
	for decoder := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var o map[string]any
		if err := decoder.Decode(&o); err != nil {
			if err.Error() != "EOF" {
				t.Fatal(err)
			}
			return all
		}
		all = append(all, object(o))
	}
}

// The file for `kubectl apply -f` is what `lateen install` applies, and rendering makes the same bytes each time.
func TestManifestsFile(t *testing.T) {
	t.Parallel()
	want := render(t, usual())
	if golden.Updating() {
		if err := os.WriteFile(manifests, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(manifests)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is not what is rendered (%v): make generate", manifests, err)
	}
	for range 10 {
		if !bytes.Equal(render(t, usual()), want) {
			t.Fatal("other bytes for the same options")
		}
	}
}

// Every template is rendered, everything has Lateen's labels, and the order is one in which each finds what it needs.
func TestObjects(t *testing.T) {
	t.Parallel()
	files, err := fs.Glob(chart, "chart/templates/*")
	if err != nil || len(files) != len(order()) {
		t.Errorf("%d files in the chart, %d rendered (%v)", len(files), len(order()), err)
	}
	var names []string
	for _, o := range objects(t, render(t, usual())) {
		names = append(names, o.name())
		labels, _ := o.at("metadata", "labels").(map[string]any)
		if labels[mesh.NameLabel] != mesh.SystemName || labels[mesh.PartLabel] != mesh.SystemName {
			t.Errorf("%s has the labels %v", o.name(), labels)
		}
		if ns := o.at("metadata", "namespace"); ns != nil && ns != mesh.SystemNamespace {
			t.Errorf("%s is in %v", o.name(), ns)
		}
	}
	want := []string{
		"Namespace/lateen-system", "CustomResourceDefinition/routerules.config.istio.io",
		"CustomResourceDefinition/destinationpolicies.config.istio.io", "CustomResourceDefinition/egressrules.config.istio.io",
		"ServiceAccount/lateen", "ClusterRole/lateen", "ClusterRoleBinding/lateen", "Role/lateen", "RoleBinding/lateen",
		"ClusterRole/lateen-edit", "ClusterRole/lateen-view", "ConfigMap/lateen", "ConfigMap/lateen-inject", "Service/lateen", "PodDisruptionBudget/lateen",
		"Deployment/lateen", "ServiceAccount/lateen-ingress", "IngressClass/lateen", "Service/lateen-ingress",
		"PodDisruptionBudget/lateen-ingress", "Deployment/lateen-ingress",
		"MutatingWebhookConfiguration/lateen", "ValidatingWebhookConfiguration/lateen",
	}
	if !slices.Equal(names, want) {
		t.Errorf("objects:\n%s\nwant\n%s", strings.Join(names, "\n"), strings.Join(want, "\n"))
	}
}

// Without an ingress nothing of it is there, and everything else is.
func TestNoIngress(t *testing.T) {
	t.Parallel()
	o := usual()
	o.NoIngress = true
	without := byName(objects(t, render(t, o)))
	var missing []string
	for _, o := range objects(t, render(t, usual())) {
		if without[o.name()] == nil {
			missing = append(missing, o.name())
		}
	}
	want := []string{
		"ServiceAccount/lateen-ingress", "IngressClass/lateen", "Service/lateen-ingress", "PodDisruptionBudget/lateen-ingress", "Deployment/lateen-ingress",
	}
	if !slices.Equal(missing, want) {
		t.Errorf("left out: %v, want %v", missing, want)
	}
}

// No rule has a wildcard, lets somebody become more than he is, or lets Lateen do more with Secrets that are not its own than watch
// for certificates; each says what it is for. Every kind can be read.
func TestRights(t *testing.T) {
	t.Parallel()
	text := render(t, usual())
	var kinds []string
	for _, o := range objects(t, text) {
		rules, _ := o.at("rules").([]any)
		for _, r := range rules {
			rule := object(r.(map[string]any))
			line, err := json.Marshal(rule)
			if err != nil {
				t.Fatal(err)
			}
			if regexp.MustCompile(`\*|escalate|impersonate|bind|exec|portforward|token"`).Match(line) {
				t.Errorf("%s: %s", o.name(), line)
			}
			verbs, names := words(rule.at("verbs")), words(rule.at("resourceNames"))
			secrets := slices.Contains(words(rule.at("resources")), "secrets")
			watched := o.name() == "ClusterRole/lateen" && slices.Equal(verbs, []string{"list", "watch"})
			if secrets && !watched && (o.name() != "Role/lateen" || !slices.Equal(names, []string{mesh.AuthoritySecret}) && !slices.Equal(verbs, []string{"create"})) {
				t.Errorf("%s: %s", o.name(), line)
			}
			if o.name() == "ClusterRole/lateen" && words(rule.at("apiGroups"))[0] == "config.istio.io" {
				kinds = append(kinds, words(rule.at("resources"))...)
			}
		}
	}
	for _, k := range serve.Kinds() {
		if k.Spec != nil && (!slices.Contains(kinds, k.Plural) || !slices.Contains(kinds, k.Plural+"/status")) {
			t.Errorf("%s cannot be read by Lateen, or have no status: add them to access.yaml", k.Plural)
		}
	}
	_, access, _ := strings.Cut(string(text), "What the control plane may do in the whole cluster")
	access, _, _ = strings.Cut(access, "To edit rules.")
	for i, line := range strings.Split(access, "\n") {
		if strings.HasPrefix(line, "  - apiGroups") && !reasoned(strings.Split(access, "\n")[:i]) {
			t.Errorf("a rule has no reason: %s", strings.Join(strings.Split(access, "\n")[i:i+3], " "))
		}
	}
}

// reasoned tells whether the lines before a rule hold a comment that is for it, or for the rules of which it is one.
func reasoned(before []string) bool {
	for _, line := range slices.Backward(before) {
		if strings.HasPrefix(line, "  #") {
			return true
		}
		if line == "rules:" {
			return false
		}
	}
	return false
}

func words(value any) []string {
	list, _ := value.([]any)
	var all []string
	for _, item := range list {
		all = append(all, item.(string))
	}
	return all
}

// Options stand where they belong, whatever text they hold, and what is none is refused. The chart's schema says the same.
func TestOptions(t *testing.T) {
	t.Parallel()
	const settings = "authPolicy: MUTUAL_TLS\n# \"{{ .x }}\" \\ ' \u00e9\t\u2028 | > :\n"
	for _, o := range objects(t, render(t, Options{Hub: "r.example:5000/a", Tag: "v1", Replicas: 3, MeshConfig: settings})) {
		switch o.name() {
		case "ConfigMap/lateen":
			if got := o.at("data", mesh.SettingsKey); got != settings {
				t.Errorf("settings: %q", got)
			}
		case "Deployment/lateen":
			container := object(o.at("spec", "template", "spec", "containers").([]any)[0].(map[string]any))
			if o.at("spec", "replicas") != 3 || container.at("image") != "r.example:5000/a/lateen:v1" {
				t.Errorf("%v %v", o.at("spec", "replicas"), container.at("image"))
			}
		}
	}
	schema, err := chart.ReadFile("chart/values.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var properties struct {
		Properties map[string]struct {
			Pattern   string
			Maximum   int
			MaxLength int
		}
	}
	if err := json.Unmarshal(schema, &properties); err != nil {
		t.Fatal(err)
	}
	p := properties.Properties
	if p["hub"].Pattern != hubForm.String() || p["tag"].Pattern != tagForm.String() || p["replicas"].Maximum != MaxReplicas ||
		p["meshConfig"].MaxLength != maxMeshConfig || p["hub"].MaxLength != maxHub {
		t.Error("values.schema.json has other forms")
	}
	for _, o := range []Options{
		{Tag: "", Replicas: 1},
		{Tag: "a b", Replicas: 1},
		{Tag: "v1\nx: y", Replicas: 1},
		{Tag: "v1", Replicas: 0},
		{Tag: "v1", Replicas: 101},
		{Hub: "a/", Tag: "v1", Replicas: 1},
		{Hub: "a\nb: c", Tag: "v1", Replicas: 1},
		{Hub: strings.Repeat("a", 300), Tag: "v1", Replicas: 1},
		{Tag: "v1", Replicas: 1, MeshConfig: "\xff"},
		{Tag: "v1", Replicas: 1, MeshConfig: strings.Repeat("x", 1<<20)},
	} {
		if text, err := Manifests(o); err == nil {
			t.Errorf("%+v is rendered: %d bytes", o, len(text))
		}
	}
}
