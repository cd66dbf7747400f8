package crd_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/kubetest"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/serve"
)

// install hands the definitions to the server and waits until it serves the kinds.
func install(t *testing.T, s *kubetest.Server) {
	t.Helper()
	text, _ := definitions(t)
	if out := s.Kubectl(t, string(text), "apply", "--server-side", "-f", "-"); strings.Count(out, "serverside-applied") != 3 {
		t.Errorf("kubectl apply: %s", out)
	}
	s.Kubectl(t, string(text), "wait", "--for=condition=Established", "--timeout=60s", "-f", "-")
	state := s.Kubectl(t, "", "get", "crds", "-o", `jsonpath={range .items[*]}{.metadata.name}{range .status.conditions[*]} {.type}={.status}{end}{"\n"}{end}`)
	if strings.Contains(state, "NonStructuralSchema") || strings.Count(state, "Established=True") != 3 {
		t.Errorf("the server says of the definitions:\n%s", state)
	}
}

// A real API server takes every good example of the documentation and of the tests, stores all of what is written, and
// shows each kind under all its names, with its columns.
func TestServerTakesExamples(t *testing.T) {
	t.Parallel()
	s := kubetest.Start(t)
	install(t, s)
	namespace := s.Namespace(t)
	kinds := serve.Kinds()
	var stream strings.Builder
	sent := map[string]any{}
	for i, o := range examples(t) {
		objects, problems := config.Parse("file", []byte(o.Text), "")
		if len(objects) != 1 {
			continue
		}
		if _, more := kinds.Read(&objects[0]); mesh.HasErrors(append(problems, more...)) {
			continue
		}
		var value map[string]any
		if err := yaml.Unmarshal([]byte(o.Text), &value); err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("x%d", i)
		sent[name] = value["spec"]
		value["metadata"] = map[string]any{"name": name, "namespace": namespace}
		text, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		stream.WriteString(string(text) + "\n---\n")
	}
	s.Kubectl(t, stream.String(), "create", "--validate=false", "-f", "-")
	var list struct {
		Items []struct {
			APIVersion string
			Metadata   struct{ Name string }
			Spec       any
		}
	}
	got := map[string]any{}
	if err := json.Unmarshal([]byte(s.Kubectl(t, "", "get", "lateen", "-n", namespace, "-o", "json")), &list); err != nil {
		t.Fatal(err)
	}
	for _, item := range list.Items {
		got[item.Metadata.Name] = item.Spec
	}
	want := map[string]any{}
	text, err := json.Marshal(sent)
	if err == nil {
		err = json.Unmarshal(text, &want)
	}
	if err != nil || len(want) < 50 {
		t.Fatalf("%d examples, %v", len(want), err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the server has other objects than it was sent (-sent +has):\n%s", diff)
	}
}

// Names, columns and explanations are as kubectl's users want them; what nobody knows is kept, whatever its level.
func TestServerShowsKinds(t *testing.T) {
	t.Parallel()
	s := kubetest.Start(t)
	install(t, s)
	namespace := s.Namespace(t)
	const objects = `
apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata: {name: to-reviews}
spec: {destination: {name: reviews, colour: red}, precedence: 3, http_req_timeout: {simple_timeout: {timeout: 5}}, match: null, a: [{b: {c: 1}}]}
---
apiVersion: config.istio.io/v1beta1
kind: DestinationPolicy
metadata: {name: ratings}
spec: {destination: {service: ratings.example.com}, circuitBreaker: {simpleCb: {maxConnections: "100", colour: 1}}}
`
	s.Kubectl(t, objects, "create", "--validate=false", "-n", namespace, "-f", "-")
	for args, want := range map[string]string{
		"get rr -o custom-columns=S:.spec --no-headers": "map[a:[map[b:map[c:1]]] destination:map[colour:red name:reviews] http_req_timeout:map[simple_timeout:map[timeout:5]] match:<nil> precedence:3]",
		"get route-rule":         "to-reviews   reviews       3",
		"get routerules":         "NAME         DESTINATION   PRECEDENCE   ACCEPTED   PROGRAMMED   AGE",
		"get dp":                 "ratings   ratings.example.com",
		"get destination-policy": "ratings   ratings.example.com",
		"get destinationpolicies.v1alpha2.config.istio.io -o yaml": "colour: 1",
		"get egressrule":                                "",
		"get er":                                        "",
		"explain routerule.spec.precedence":             "Rules with a higher one are tried first, equal ones by name.",
		"explain egressrule.spec.ports":                 "protocol",
		"explain destinationpolicy.spec.circuitBreaker": "simpleCb",
	} {
		if got := s.Kubectl(t, "", append(strings.Fields(args), "-n", namespace)...); !strings.Contains(got, want) {
			t.Errorf("kubectl %s: want %q in\n%s", args, want, got)
		}
	}
	if _, err := s.TryKubectl(t, "{apiVersion: config.istio.io/v1alpha2, kind: RouteRule, metadata: {name: x}, spec: {route: {}}}", "create", "-n", namespace, "-f", "-"); err == nil {
		t.Error("the server takes a mapping for a list")
	}
}
