package push_test

import (
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// An endpoint that drains is sent as draining, and so confirmed, before it is removed; the others stay what they are.
func TestDrainingGoesBeforeRemoval(t *testing.T) {
	t.Parallel()
	w, f := one(t, push.Config{})
	w.Connect(f)
	await(t, f.Await(t.Context(), xds.VirtualHostType, "out/reviews:9080"))
	const leaves, stays = "127.201.0.1", "127.201.0.2"
	endpoints := func(health mesh.Health) func(*mesh.Draft) {
		set := &mesh.EndpointSet{Host: reviews}
		for address, is := range map[string]mesh.Health{leaves: health, stays: mesh.Healthy} {
			if is != "" {
				set.Endpoints = append(set.Endpoints, mesh.Endpoint{Address: address, Ports: map[string]int{"http": 9080}, Health: is})
			}
		}
		return func(d *mesh.Draft) { d.SetEndpoints(reviews, set) }
	}
	for _, step := range []struct {
		health mesh.Health
		want   corev3.HealthStatus // of the one that leaves; UNKNOWN: not there
	}{{mesh.Healthy, corev3.HealthStatus_HEALTHY}, {mesh.Draining, corev3.HealthStatus_DRAINING}, {"", corev3.HealthStatus_UNKNOWN}} {
		w.Confirmed(w.Edit(endpoints(step.health)))
		got := statuses(t, f, subset(""))
		if got[leaves] != step.want || got[stays] != corev3.HealthStatus_HEALTHY {
			t.Errorf("%q: the proxy has confirmed %v", step.health, got)
		}
	}
}

// statuses returns the health of the endpoints of a cluster as the proxy was told last, by address.
func statuses(t *testing.T, f *meshtest.FakeProxy, cluster string) map[string]corev3.HealthStatus {
	t.Helper()
	var assignment endpointv3.ClusterLoadAssignment
	await(t, f.Resource(xds.EndpointsType, cluster).GetResource().UnmarshalTo(&assignment))
	got := map[string]corev3.HealthStatus{}
	for _, locality := range assignment.GetEndpoints() {
		for _, e := range locality.GetLbEndpoints() {
			got[e.GetEndpoint().GetAddress().GetSocketAddress().GetAddress()] = e.GetHealthStatus()
		}
	}
	return got
}
