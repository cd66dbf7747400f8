package meshtest_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/agent"
	"github.com/lateen-mesh/lateen/internal/identity"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/serve"
)

// contract is what pods that run already were told, or what is asked of them: names, ports and words by which a control plane and the
// sidecars of another version find each other. A pod keeps it as long as it lives.
func contract() map[string]any {
	ports := func(p ...int) string { text, _ := json.Marshal(p); return string(text) }
	return map[string]any{
		"control plane of a pod":              mesh.SystemAddress,
		"audience of a pod's token":           mesh.TokenAudience,
		"ConfigMap of the roots, and its key": mesh.RootConfigMap + "/" + mesh.RootKey,
		"identity of the control plane":       identity.ControlPlane(serve.Domain).String(),
		"containers":                          mesh.ProxyContainer + " " + mesh.CaptureContainer,
		"flags that are read of a pod":        mesh.TakeInboundFlag + " " + mesh.KeepInboundFlag + " " + mesh.AddressesFlag,
		"annotation of an injected pod":       mesh.StatusAnnotation + " " + mesh.StatusPrefix,
		"source of what a proxy hands on":     mesh.FromProxyIPv4 + " " + mesh.FromProxyIPv6,
		"ports of a pod":                      ports(mesh.OutboundPort, mesh.InboundPort, mesh.AgentMetricsPort, mesh.AgentHealthPort),
		"ports of the ingress":                ports(mesh.IngressPort, mesh.IngressTLSPort),
		"ports of the control plane":          ports(mesh.APIPort, mesh.WebhookPort, mesh.WebhookService),
		"user of the proxy":                   ports(mesh.ProxyUser),
		"pages of lateen-agent look":          agent.LookConfig + " " + agent.LookCertificates + " " + agent.LookIdentity,
		"identity of an agent":                mesh.NewProxyID("NAME", "NAMESPACE"),
	}
}

// keepContract compares this version's with that of the version before, and looks whether the API answers with all fields of then.
func keepContract(t *testing.T) {
	var then map[string]any
	readRecorded(t, "contract.json", &then)
	text, err := json.Marshal(contract())
	if err != nil {
		t.Fatal(err)
	}
	var now map[string]any
	if err := json.Unmarshal(text, &now); err != nil {
		t.Fatal(err)
	}
	for what, value := range then {
		if now[what] != value {
			t.Errorf("%s: %v, and sidecars that run say %v", what, now[what], value)
		}
	}
	var fields map[string][]string
	readRecorded(t, "api.json", &fields)
	m := oneMachine(t, meshtest.Config{}, true)
	got := shapes(t, m)
	for page, names := range fields {
		for _, name := range names {
			if !slices.Contains(got[page], name) {
				t.Errorf("GET %s: there is no field %q, which programs of the version before read", page, name)
			}
		}
	}
}

// askedPages are those of the API that commands of a version ask.
var askedPages = []string{
	"/v1/status", "/v1/problems", "/v1/proxies", "/v1/proxies/caller-v1-3", "/v1/proxies/caller-v1-3/resources", "/v1/workloads", "/v1/workloads/caller-v1-3",
	"/v1/services", "/v1/handovers", "/v1/replicas", "/v1/ca", "/v1/uses", "/v1/objects?kind=RouteRule",
	"/v1/watch/proxies?revision=-1&wait=0s", "/v1/decide?proxy=caller-v1-3.default&url=http://reviews:9080/&method=GET",
}

// shapes returns the fields of each page, and of the elements of lists in it.
func shapes(t *testing.T, m *meshtest.Mesh) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for _, page := range askedPages {
		text, err := m.API.Page(t.Context(), page)
		if err != nil {
			t.Errorf("GET %s: %v", page, err)
			continue
		}
		var value any
		if err := json.NewDecoder(bytes.NewReader(text)).Decode(&value); err != nil {
			t.Errorf("GET %s: %v", page, err)
			continue
		}
		names := map[string]bool{}
		shape(value, "", names)
		all[page] = slices.Sorted(maps.Keys(names))
	}
	return all
}

// shape collects the paths of fields that are no names of something: two levels, and elements of lists.
func shape(value any, path string, names map[string]bool) {
	switch v := value.(type) {
	case map[string]any:
		if strings.Count(path, ".") >= 2 {
			return
		}
		for key, child := range v {
			if strings.ContainsAny(key, "./|:") || key == "body" {
				continue // a name, or a message of Envoy's
			}
			names[path+key] = true
			shape(child, path+key+".", names)
		}
	case []any:
		for _, child := range v {
			shape(child, path, names)
		}
	}
}
