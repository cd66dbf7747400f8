package dump

import (
	"cmp"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// plain returns a message in the form in which it is compared. Envoy tells endpoints by what it makes of them: with every
// default, in an order of its own.
func plain(m proto.Message) proto.Message {
	assignment, ok := m.(*endpointv3.ClusterLoadAssignment)
	if !ok {
		return m
	}
	assignment = proto.CloneOf(assignment)
	if assignment.GetPolicy().GetOverprovisioningFactor().GetValue() == overprovisioning {
		assignment.Policy.OverprovisioningFactor = nil
	}
	if proto.Size(assignment.GetPolicy()) == 0 {
		assignment.Policy = nil
	}
	assignment.Endpoints = slices.DeleteFunc(assignment.GetEndpoints(), func(group *endpointv3.LocalityLbEndpoints) bool {
		return len(group.GetLbEndpoints()) == 0
	})
	for _, group := range assignment.GetEndpoints() {
		plainGroup(group)
		if len(assignment.GetEndpoints()) == 1 { // there is nobody to have more or less than
			group.LoadBalancingWeight = nil
		}
	}
	return assignment
}

// overprovisioning is Envoy's default, in percent.
const overprovisioning = 140

func plainGroup(group *endpointv3.LocalityLbEndpoints) {
	if proto.Size(group.GetLocality()) == 0 {
		group.Locality = nil
	}
	if group.GetLoadBalancingWeight().GetValue() == 0 {
		group.LoadBalancingWeight = nil
	}
	for _, e := range group.GetLbEndpoints() {
		if proto.Size(e.GetEndpoint().GetHealthCheckConfig()) == 0 && e.GetEndpoint() != nil {
			e.GetEndpoint().HealthCheckConfig = nil
		}
		e.HealthStatus = coarse(e.GetHealthStatus())
		if e.GetLoadBalancingWeight() == nil {
			e.LoadBalancingWeight = wrapperspb.UInt32(1)
		}
		if proto.Size(e.GetMetadata()) == 0 {
			e.Metadata = nil
		}
	}
	slices.SortFunc(group.GetLbEndpoints(), func(a, b *endpointv3.LbEndpoint) int {
		return cmp.Compare(addressOf(a.GetEndpoint().GetAddress()), addressOf(b.GetEndpoint().GetAddress()))
	})
}

// coarse returns a health as Envoy tells it: all that is not to be used is unhealthy.
func coarse(h corev3.HealthStatus) corev3.HealthStatus {
	switch h {
	case corev3.HealthStatus_UNKNOWN, corev3.HealthStatus_HEALTHY:
		return corev3.HealthStatus_HEALTHY
	case corev3.HealthStatus_DEGRADED:
		return h
	default:
		return corev3.HealthStatus_UNHEALTHY
	}
}

// forgive makes those endpoints healthy that the proxy itself has set aside since they failed, and returns their number:
// that is what it was told to do. Both messages are plain, or no endpoints at all.
func forgive(sent, has proto.Message) int {
	a, ok := sent.(*endpointv3.ClusterLoadAssignment)
	b, too := has.(*endpointv3.ClusterLoadAssignment)
	if !ok || !too {
		return 0
	}
	healths := healthsOf(a)
	n := 0
	for _, group := range b.GetEndpoints() {
		for _, e := range group.GetLbEndpoints() {
			if healths[addressOf(e.GetEndpoint().GetAddress())] == corev3.HealthStatus_HEALTHY && e.GetHealthStatus() == corev3.HealthStatus_UNHEALTHY {
				e.HealthStatus = corev3.HealthStatus_HEALTHY
				n++
			}
		}
	}
	return n
}

// healthsOf returns the health of each address.
func healthsOf(a *endpointv3.ClusterLoadAssignment) map[string]corev3.HealthStatus {
	healths := map[string]corev3.HealthStatus{}
	for _, group := range a.GetEndpoints() {
		for _, e := range group.GetLbEndpoints() {
			healths[addressOf(e.GetEndpoint().GetAddress())] = e.GetHealthStatus()
		}
	}
	return healths
}
