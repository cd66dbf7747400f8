package admin_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// What runs is told with the identity that it is to have, and of each port what it asks for and what it takes now.
func TestWorkloadsAndServices(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	host := mesh.ServiceHost("reviews", "shop", domain)
	if _, err := s.client.PutRegistry(t.Context(), mesh.Registry{
		Services: []*mesh.Service{{Host: host, Name: "reviews", Namespace: "shop", Ports: []mesh.Port{
			{Name: "http", Number: 9080, Protocol: mesh.HTTP}, {Name: "tcp", Number: 9081, Protocol: mesh.TCP, AuthPolicy: mesh.AuthNone},
		}}},
		Endpoints: []*mesh.EndpointSet{{Host: host, Endpoints: []mesh.Endpoint{
			{Address: "127.0.0.2", Workload: "a", Account: "reader", Health: mesh.Healthy}, {Address: "127.0.0.3", Health: mesh.Draining},
		}}},
		Workloads: []*mesh.Workload{
			{Name: "a", Namespace: "default", Type: mesh.Sidecar, Account: "reader", Address: "127.0.0.2", Running: true, Serves: []mesh.Serving{{Host: host, Port: 9080, Listen: 19080}}},
			{Name: "b", Namespace: "default", Type: mesh.Proxyless, Address: "127.0.0.1"},
		},
		Settings: &mesh.Settings{AuthPolicy: mesh.AuthMutualTLS, MTLSExcluded: []mesh.Host{host}},
	}); err != nil {
		t.Fatal(err)
	}
	a := api.Workload{
		ID: "a.default", Type: mesh.Sidecar, Account: "reader", Identity: "spiffe://" + domain + "/ns/default/sa/reader", Address: "127.0.0.2", Running: true,
		Serves: []api.WorkloadPort{{Host: host, Port: 9080, Listen: 19080}},
	}
	all, err := s.client.Workloads(t.Context())
	if diff := cmp.Diff([]api.Workload{a, {ID: "b.default", Type: mesh.Proxyless, Address: "127.0.0.1"}}, all); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	one, err := s.client.Workload(t.Context(), "pod/a")
	if diff := cmp.Diff(a, one); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	for name, why := range map[string]string{"nobody": "no proxy nobody", "starting.default": "no proxy starting.default"} {
		if _, err := s.client.Workload(t.Context(), name); !isRefusal(err, why) {
			t.Errorf("%s: %v", name, err)
		}
	}
	services, err := s.client.Services(t.Context())
	reader := "spiffe://" + domain + "/ns/shop/sa/reader"
	if diff := cmp.Diff([]api.Service{{
		Host: host, Excluded: true, Identities: []string{reader}, Since: time.Unix(9, 0).UTC(),
		Ports: []api.ServicePort{
			{Name: "http", Number: 9080, Protocol: mesh.HTTP, Policy: mesh.AuthMutualTLS, Accept: mesh.Both, Speak: mesh.Plain},
			{Name: "tcp", Number: 9081, Protocol: mesh.TCP, Policy: mesh.AuthNone, Accept: mesh.Plain, Speak: mesh.Plain},
		},
		Endpoints: []api.Endpoint{
			{Address: "127.0.0.2", Workload: "a", Identity: reader, Health: mesh.Healthy}, {Address: "127.0.0.3", Health: mesh.Draining},
		},
	}}, services); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}
