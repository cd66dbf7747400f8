package policy

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

func document(text string) Document {
	return Document{
		Name: "ConfigMap lateen-system/lateen-inject, config", Text: []byte(text),
		Object: mesh.Ref{Kind: "ConfigMap", Namespace: "lateen-system", Name: "lateen-inject"},
	}
}

// shipped is the ConfigMap of Istio 0.2's istio-initializer.yaml, with 0.3's image and debugMode in the second.
const (
	shipped = `policy: "enabled"
namespaces: [""] # everything, aka v1.NamepsaceAll, aka cluster-wide
initializerName: "sidecar.initializer.istio.io"
params:
  initImage: docker.io/istio/proxy_init:0.2.12
  proxyImage: docker.io/istio/proxy:0.2.12
  verbosity: 2
  version: 0.2.12
  meshConfigMapName: istio
  imagePullPolicy: IfNotPresent
`
	shippedNext = `policy: "enabled"
namespaces: [""] # everything, aka v1.NamepsaceAll, aka cluster-wide
initializerName: "sidecar.initializer.istio.io"
params:
  initImage: docker.io/istio/proxy_init:0.3.0
  proxyImage: docker.io/istio/proxy_debug:0.3.0
  verbosity: 2
  version: 0.3.0
  imagePullPolicy: IfNotPresent
  debugMode: true
`
)

func TestConfig(t *testing.T) {
	t.Parallel()
	with := func(change func(*Config)) Config {
		c := Default()
		change(&c)
		return c
	}
	params := func(p Params) Config { return with(func(c *Config) { c.Params = p }) }
	for name, test := range map[string]struct {
		text  string
		want  Config
		warns []string
	}{
		"nothing":         {"", Default(), nil},
		"nothing is set":  {"policy:\nnamespaces:\nexcludeNamespaces: null\nparams:\n", Default(), nil},
		"empty words":     {"policy: \"\"\nparams: {imagePullPolicy: \"\", includeIPRanges: \"\", version: \"\", proxyImage: \"\"}", Default(), nil},
		"as 0.2 shipped":  {shipped, params(Params{Pull: "IfNotPresent", Version: "0.2.12"}), []string{"6:15 params.proxyImage"}},
		"as 0.3 shipped":  {shippedNext, params(Params{Pull: "IfNotPresent", Version: "0.3.0"}), []string{"6:15 params.proxyImage", "10:14 params.debugMode"}},
		"disabled":        {"policy: disabled", with(func(c *Config) { c.Mode = Disabled }), nil},
		"some namespaces": {"namespaces: [b, a, b]", with(func(c *Config) { c.Namespaces = []string{"a", "b"} }), nil},
		"some and all":    {`namespaces: [b, ""]`, with(func(c *Config) { c.Namespaces = []string{"", "b"} }), nil},
		"no namespaces":   {"namespaces: []", with(func(c *Config) { c.Namespaces = nil }), []string{"1:1 namespaces"}},
		"excluded":        {"exclude_namespaces: [b, a]", with(func(c *Config) { c.Excluded = []string{"a", "b"} }), nil},
		"excluded none":   {"namespaces: [a]\nexcludeNamespaces: []", with(func(c *Config) { c.Namespaces = []string{"a"} }), nil},
		"an image":        {"params: {proxyImage: registry.example.com:5000/mesh/lateen-proxy:1.0}", params(Params{Image: "registry.example.com:5000/mesh/lateen-proxy:1.0"}), nil},
		"by digest":       {"params: {proxyImage: lateen-proxy@sha256:abc}", params(Params{Image: "lateen-proxy@sha256:abc"}), nil},
		"Istio's own": {
			"params: {proxyImage: registry.example.com:5000/a/proxy@sha256:abc}", Default(),
			[]string{"1:22 params.proxyImage"},
		},
		"ranges":           {`params: {includeIPRanges: "10.0.0.0/8, 172.16.0.0/12,"}`, params(Params{Ranges: []string{"10.0.0.0/8", "172.16.0.0/12"}}), nil},
		"all ranges":       {`params: {includeIPRanges: "*"}`, params(Params{Ranges: []string{"*"}}), nil},
		"the user":         {`params: {sidecarProxyUID: "1337"}`, Default(), nil},
		"another user":     {"params: {sidecarProxyUID: 1338}", Default(), []string{"1:27 params.sidecarProxyUID"}},
		"core dumps":       {"params: {enableCoreDump: true}", Default(), []string{"1:26 params.enableCoreDump"}},
		"neither of these": {"params: {enableCoreDump: false, debugMode: false}", Default(), nil},
		"in JSON":          {`{"policy": "disabled", "params": {"verbosity": 4}}`, with(func(c *Config) { c.Mode = Disabled }), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, problems := Read(document(test.text))
			got.Places = Places{} // see TestPlaces
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			var warns []string
			for _, p := range problems {
				warns = append(warns, fmt.Sprintf("%d:%d %s", p.Position.Line, p.Position.Column, p.Field))
				if p.Severity != mesh.Warning || p.Code != "no-effect" {
					t.Error(p)
				}
			}
			if diff := cmp.Diff(test.warns, warns); diff != "" {
				t.Error(diff, problems)
			}
		})
	}
}

// TestPlaces wants a decision to name the line of the document that made it.
func TestPlaces(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"policy: disabled":                        "the policy is disabled, and nothing asks for a sidecar (ConfigMap lateen-system/lateen-inject, config:1:9)",
		"# a comment\nnamespaces: [a]":            "namespace shop is none of namespaces (ConfigMap lateen-system/lateen-inject, config:2:1)",
		"exclude_namespaces:\n- a\n- shop\n":      "namespace shop is one of excludeNamespaces (ConfigMap lateen-system/lateen-inject, config:1:1)",
		"policy: enabled\nparams: {verbosity: 2}": "the policy is enabled, and nothing says otherwise (ConfigMap lateen-system/lateen-inject, config:1:9)",
		"": "the policy is enabled, and nothing says otherwise",
	} {
		c, problems := Read(document(text))
		if got := Decide(c, pod(func(*Pod) {})).Explain(); !strings.HasSuffix(got, ": "+want) || len(problems) > 0 {
			t.Errorf("%q: %s, want %s; %v", text, got, want, problems)
		}
		for _, other := range []func(*Pod){
			func(p *Pod) { p.Object.Namespace = "kube-system" }, func(p *Pod) { p.Object.Namespace, p.Annotations = "a", texts(annotation+"=true") },
			func(p *Pod) { p.Object.Namespace, p.Annotations, p.HostNetwork = "a", texts(annotation+"=true"), true },
		} {
			if d := Decide(c, pod(other)); d.At != (mesh.Position{}) && d.At != c.Places.Excluded {
				t.Errorf("%q: %s", text, d.Explain())
			}
		}
	}
}

// TestProblems wants what is wrong to be told where it stands, and nothing of such a document to be used.
func TestProblems(t *testing.T) {
	t.Parallel()
	const good = "initializerName: x\n"
	many := strings.TrimSuffix(strings.Repeat("10.0.0.0/8,", MaxRanges+1), ",")
	for text, want := range map[string]string{
		"polcy: disabled":                           `2:1 polcy unknown-field did you mean "policy"?`,
		"params: {proxyimage: a}":                   `2:10 params.proxyimage unknown-field did you mean "proxyImage"?`,
		"policy: disable":                           `2:9 policy invalid-value did you mean "disabled"?`,
		"policy: off":                               "2:9 policy invalid-value policies: enabled, disabled",
		"policy: true":                              "2:9 policy wrong-type",
		"namespaces: a":                             "2:13 namespaces wrong-type",
		"namespaces: [a, B]":                        "2:17 namespaces[1] invalid-name",
		"namespaces: ['*']":                         `2:14 namespaces[0] invalid-name "" is for all namespaces`,
		"namespaces: [null]":                        "2:14 namespaces[0] wrong-type",
		`excludeNamespaces: [a, ""]`:                `2:24 excludeNamespaces[1] invalid-value write policy: "disabled"`,
		"namespaces: [a]\nexcludeNamespaces: [b]":   "3:1 excludeNamespaces conflicting-fields",
		"namespaces: ['']\nexcludeNamespaces: [b]":  "3:1 excludeNamespaces conflicting-fields",
		"params: {version: 1.2}":                    `2:19 params.version wrong-type put it in quotes: "1.2"`,
		`params: {version: "a\nb"}`:                 "2:19 params.version invalid-value",
		"params: {version: '" + longVersion + "'}":  "2:19 params.version invalid-value",
		"params: {verbosity: high}":                 "2:21 params.verbosity wrong-type",
		"params: {sidecarProxyUID: me}":             "2:27 params.sidecarProxyUID wrong-type",
		"params: {debugMode: 1}":                    "2:21 params.debugMode wrong-type",
		"params: {imagePullPolicy: ifnotpresent}":   `2:27 params.imagePullPolicy invalid-value did you mean "IfNotPresent"?`,
		"params: {proxyImage: 'a b'}":               "2:22 params.proxyImage invalid-value",
		"params: {includeIPRanges: 10.0.0.1}":       "2:27 params.includeIPRanges invalid-value",
		"params: {includeIPRanges: 'fd00::/x'}":     "2:27 params.includeIPRanges invalid-value",
		"params: {includeIPRanges: '" + many + "'}": "2:27 params.includeIPRanges invalid-value",
		"params: a":                                 "2:9 params wrong-type write it as {proxyImage: ",
		"policy: a\npolicy: b":                      "3:1 policy duplicate-field",
		"\tx: y":                                    "2:2  syntax",
	} {
		t.Run(text[:min(len(text), 60)], func(t *testing.T) {
			t.Parallel()
			got, problems := Read(document(good + text))
			if diff := cmp.Diff(Default(), got); diff != "" {
				t.Errorf("something of it counts: %s", diff)
			}
			if len(problems) != 1 {
				t.Fatalf("%d problems, want %q: %v", len(problems), want, problems)
			}
			p := problems[0]
			spelled := fmt.Sprintf("%d:%d %s %s %s", p.Position.Line, p.Position.Column, p.Field, p.Code, p.Hint)
			if !strings.HasPrefix(spelled, want) || p.Severity != mesh.Error || p.Object != document("").Object || len(p.Message) > 300 {
				t.Errorf("%q of %v, want %q: %v", spelled, p.Object, want, p)
			}
		})
	}
}

var longVersion = strings.Repeat("1", MaxVersion+1)

func TestPositionNamesTheConfigMap(t *testing.T) {
	t.Parallel()
	_, problems := Read(document("\npolicy: disable\n"))
	const want = "ConfigMap lateen-system/lateen-inject, config:2:9: error: ConfigMap lateen-system/lateen-inject: policy: \"disable\" is no policy [invalid-value]\n" +
		"  hint: did you mean \"disabled\"?"
	if len(problems) != 1 || problems[0].String() != want {
		t.Errorf("told %v, want %s", problems, want)
	}
}

func TestGarbage(t *testing.T) {
	t.Parallel()
	for text, code := range map[string]string{
		"[a]": "wrong-type", "a: &a [*a]": "too-large", strings.Repeat("#", 1<<20+1): "too-large", "\x00": "syntax",
		strings.Repeat("[", 100) + strings.Repeat("]", 100): "too-large", "policy: enabled\n---\npolicy: disabled\n": "syntax",
	} {
		if _, problems := Read(document(text)); len(problems) != 1 || problems[0].Code != code {
			t.Errorf("%.20q: %v, want %s", text, problems, code)
		}
	}
}

// TestEveryFieldIsTold wants the table to have each field that is accepted, in its order, and no other.
func TestEveryFieldIsTold(t *testing.T) {
	t.Parallel()
	var accepted, told []string
	for f := range reflect.TypeFor[spec]().Fields() {
		accepted = append(accepted, f.Tag.Get("yaml"))
	}
	accepted = slices.DeleteFunc(accepted, func(name string) bool { return name == "params" })
	for f := range reflect.TypeFor[paramsSpec]().Fields() {
		accepted = append(accepted, "params."+f.Tag.Get("yaml"))
	}
	for _, f := range Fields() {
		told = append(told, f.Name)
		if f.Says == "" || f.Was == "" || f.InForce == strings.HasPrefix(f.Says, "Nothing") {
			t.Errorf("%s: says %q", f.Name, f.Says)
		}
	}
	if diff := cmp.Diff(accepted, told); diff != "" {
		t.Errorf("accepted (-) and told (+):\n%s", diff)
	}
}

// FuzzRead wants no text to bring the reader down, every problem to have a place, and a good document to be one that can be used.
func FuzzRead(f *testing.F) {
	f.Add(shipped)
	f.Add(shippedNext)
	f.Add("excludeNamespaces: [b, a]\nparams: {includeIPRanges: '10.0.0.0/8,*'}")
	f.Add("namespaces: &a [*a]")
	f.Fuzz(func(t *testing.T, text string) {
		c, problems := Read(document(text))
		for _, p := range problems {
			if p.Position.Line < 1 || p.Code == "" || p.Severity == "" {
				t.Errorf("%v", p)
			}
		}
		if !slices.IsSorted(c.Namespaces) || !slices.IsSorted(c.Excluded) || c.Mode != Enabled && c.Mode != Disabled ||
			CheckRanges(c.Params.Ranges) != nil || CheckPull(c.Params.Pull) != nil {
			t.Errorf("%+v", c)
		}
		if c.Params.Image != "" && CheckImage(c.Params.Image) != nil || c.Params.Version != "" && CheckVersion(c.Params.Version) != nil {
			t.Errorf("%+v", c.Params)
		}
	})
}
