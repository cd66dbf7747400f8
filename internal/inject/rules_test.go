package inject

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/internal/inject/policy"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

const cart = `{"apiVersion":"v1","kind":"Pod","metadata":{"generateName":"cart-","labels":{"app":"cart"}},"spec":{"containers":[{"name":"cart","image":"cart:1"}]}}`

// rulesOf returns the rules of a document of a mesh.
func rulesOf(t *testing.T, document string) Rules {
	t.Helper()
	c, problems := policy.Read(policy.Document{Name: "f", Text: []byte(document)})
	if mesh.HasErrors(problems) {
		t.Fatal(problems)
	}
	return Rules{Config: c}
}

// TestPatchBy shows that a pod gets a sidecar as the mesh's document, its namespace and what made it say, with what is known of it.
func TestPatchBy(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		document string
		around   Rules
		pod      string
		sidecar  bool
		why      string
	}{
		"nothing said":         {"", Rules{}, cart, true, "the policy is enabled, and nothing says otherwise"},
		"disabled":             {"policy: disabled", Rules{}, cart, false, "the policy is disabled, and nothing asks for a sidecar"},
		"disabled by hand too": {"", Rules{}, strings.Replace(cart, `"labels":{`, `"labels":{"lateen.dev/inject":"no",`, 1), false, `label lateen.dev/inject is "no"`},
		"excluded":             {"excludeNamespaces: [shop]", Rules{}, cart, false, "namespace shop is one of excludeNamespaces"},
		"of the owner":         {"policy: disabled", Rules{Owner: map[string]string{mesh.InjectAnnotation: "yes"}}, cart, true, `annotation sidecar.istio.io/inject of its owner is "yes"`},
		"of the namespace": {
			"policy: disabled",
			Rules{NamespaceLabels: map[string]string{mesh.InjectionLabel: "enabled"}},
			cart, true,
			`label istio-injection of namespace shop is "enabled"`,
		},
		"of the node's network": {"", Rules{}, strings.Replace(cart, `"spec":{`, `"spec":{"hostNetwork":true,`, 1), false, "it uses the network of its node (hostNetwork)"},
		"of Windows":            {"", Rules{}, strings.Replace(cart, `"spec":{`, `"spec":{"os":{"name":"windows"},`, 1), false, "it runs on Windows"},
		"with a sidecar":        {"", Rules{}, strings.Replace(cart, `"spec":{`, `"spec":{"initContainers":[{"name":"lateen-proxy"}],`, 1), false, "it has a container lateen-proxy already"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rules := test.around
			rules.Config = rulesOf(t, test.document).Config
			patch, w, problems := PatchBy(rules, []byte(test.pod), "shop", options)
			if len(problems) > 0 || (patch != nil) != test.sidecar || w.Changed != test.sidecar || w.Decision.Sidecar != test.sidecar {
				t.Errorf("%s %+v %v", patch, w, problems)
			}
			if want := (mesh.Ref{Kind: "Pod", Namespace: "shop", Name: "cart-"}); w.Decision.Why != test.why || w.Decision.Object != want {
				t.Errorf("%v: %s, want %s", w.Decision.Object, w.Decision.Why, test.why)
			}
			if !test.sidecar && w.Why != test.why {
				t.Error(w.Why)
			}
		})
	}
}

// TestParams shows what of the mesh's document comes into a pod.
func TestParams(t *testing.T) {
	t.Parallel()
	patch := func(document string) string {
		t.Helper()
		patch, w, problems := PatchBy(rulesOf(t, document), []byte(cart), "shop", options)
		if !w.Changed || len(problems) > 0 || !json.Valid(patch) {
			t.Fatalf("%s %+v %v", patch, w, problems)
		}
		return string(patch)
	}
	usual := patch("")
	if !strings.Contains(usual, `"injected-version-1.2"`) {
		t.Error(usual)
	}
	for document, change := range map[string][2]string{
		"params: {version: 0.2.12}":                               {`"injected-version-1.2"`, `"injected-version-0.2.12"`},
		"params: {imagePullPolicy: Always}":                       {`"imagePullPolicy":"IfNotPresent"`, `"imagePullPolicy":"Always"`},
		"params: {proxyImage: hub/lateen-proxy:9}":                {`"image":"` + options.Image + `"`, `"image":"hub/lateen-proxy:9"`},
		"params: {includeIPRanges: '10.0.0.0/8, 192.168.0.0/16'}": {`"--addresses=$(POD_IPS)"`, `"--addresses=$(POD_IPS)","--include-ip-ranges=10.0.0.0/8,192.168.0.0/16"`},
	} {
		if diff := cmp.Diff(strings.ReplaceAll(usual, change[0], change[1]), patch(document)); diff != "" || !strings.Contains(usual, change[0]) {
			t.Errorf("%s: %s\n%s", document, diff, usual)
		}
	}
	// What asked for privileges, or was for other programs, changes no byte.
	for _, document := range []string{
		"params: {enableCoreDump: true}", "params: {debugMode: true}", "params: {verbosity: 4}", "params: {sidecarProxyUID: 1}",
		"params: {initImage: docker.io/istio/proxy_init:0.2.12, proxyImage: docker.io/istio/proxy_debug:0.2.12, meshConfigMapName: istio}",
		"initializerName: other",
	} {
		if diff := cmp.Diff(usual, patch(document)); diff != "" {
			t.Errorf("%s: %s", document, diff)
		}
	}
}
