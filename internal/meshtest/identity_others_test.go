package meshtest_test

import (
	"context"
	"crypto/tls"
	"slices"
	"strings"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// gets asks for resources by name, as a proxy with a certificate, and returns those that come, until the last one does or is
// said not to exist.
func gets(t *testing.T, m *meshtest.Mesh, i *meshtest.Instance, c *tls.Certificate, of xds.Type, names ...string) (there []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), meshtest.Patience)
	defer cancel()
	stream, err := subscribe(ctx, dialPlane(t, m, c), nodeOf(i.Workload).String(), of, names...)
	if err != nil {
		t.Fatal(err)
	}
	var gone []string
	for last := names[len(names)-1]; !slices.Contains(there, last) && !slices.Contains(gone, last); {
		res, err := stream.Recv()
		if err != nil {
			t.Fatalf("%s: of %q there are %q, not %q, and then: %v", i.Name, names, there, gone, err)
		}
		for _, r := range res.GetResources() {
			there = append(there, r.GetName())
		}
		gone = append(gone, res.GetRemovedResources()...)
		if err := stream.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(of), ResponseNonce: res.GetNonce()}); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(there)
	return slices.Compact(there)
}

// A proxy gets what is its own, and what concerns everybody, but nothing of what belongs to others: neither when it asks for all
// nor by name.
func TestNothingOfOthers(t *testing.T) {
	t.Parallel()
	m := meshtest.New(t)
	m.Start("server", "v1", meshtest.Named("v1"))
	caller := m.StartSpec(meshtest.Spec{
		Service: "caller", Version: "v1", Ports: []meshtest.SpecPort{{Name: "tcp", Number: 7000, Target: "127.0.0.1:1"}},
		Upstreams: []mesh.Upstream{{Host: meshtest.HostOf("server"), Port: meshtest.ServicePort}},
	})
	m.StartSpec(meshtest.Spec{
		Service: "other", Version: "v1", Ports: []meshtest.SpecPort{{Name: "tcp", Number: 7001, Target: "127.0.0.1:1"}},
		Upstreams: []mesh.Upstream{{Host: meshtest.HostOf("caller"), Port: 7000}},
	})
	door := m.Door()
	authority := newAuthority(t)
	var objects []string
	for _, name := range []string{"shop-tls", "spare-tls"} {
		object, _ := secretOf(t, authority, name, name+".example.com")
		objects = append(objects, object)
	}
	m.Apply(strings.Join(append(objects, "apiVersion: extensions/v1beta1\nkind: Ingress\nmetadata: {name: shop}\n"+
		"spec: {tls: [{secretName: shop-tls, hosts: [shop-tls.example.com]}], backend: {serviceName: server, servicePort: 9080}}\n"), "---\n"))
	callers, _ := takenFrom(t, caller)
	doors, _ := takenFrom(t, door)
	for _, c := range []struct {
		name  string
		who   *meshtest.Instance
		cert  *tls.Certificate
		of    xds.Type
		asks  []string // the last one is what it waits for
		there []string
	}{
		{
			"its own clusters", caller, &callers, xds.ClusterType,
			[]string{"inbound|9080", "inbound|7001", "ingress", "inbound|7000"},
			[]string{"inbound|7000", "inner"},
		},
		{
			"its own listeners", caller, &callers, xds.ListenerType,
			[]string{"inbound|9080", "inbound|7001", "local|7000|caller.default.svc.cluster.local", "ingress", "ingress-tls", "inbound|7000"},
			[]string{"inbound|7000", "inner", "local|9080|server.default.svc.cluster.local", "outbound"},
		},
		{
			"all listeners", caller, &callers, xds.ListenerType,
			[]string{"*", "inbound|7000"},
			[]string{"inbound|7000", "inner", "local|9080|server.default.svc.cluster.local", "outbound"},
		},
		{"no secrets", caller, &callers, xds.SecretType, []string{"default/spare-tls", "spare-tls", "identity", "default/shop-tls"}, nil},
		{"no routes of the door", caller, &callers, xds.RouteType, []string{"ingress", "out"}, []string{"out"}},
		{"those that an Ingress names", door, &doors, xds.SecretType, []string{"default/spare-tls", "default/shop-tls"}, []string{"default/shop-tls"}},
		{
			"nothing that is served", door, &doors, xds.ListenerType,
			[]string{"inbound|9080", "inbound|7000", "outbound", "inner", "ingress-tls"},
			[]string{"ingress", "ingress-tls"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			there := gets(t, m, c.who, c.cert, c.of, c.asks...)
			if !slices.Equal(there, c.there) {
				t.Errorf("of %q it gets %q, want %q", c.asks, there, c.there)
			}
		})
	}
}
