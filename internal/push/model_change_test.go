package push

import (
	"fmt"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// change changes something in the mesh.
func (m *model) change() {
	i := m.random.IntN(modelHosts)
	h := modelHost(i)
	switch n := m.random.IntN(21); {
	case n == 20:
		m.serve(h)
	case n < 2:
		m.edit("no rule for "+string(h), func(d *mesh.Draft) { d.SetRules(h, nil) })
	case n < 9:
		version, other := fmt.Sprintf("v%d", m.random.IntN(4)), modelHost(m.random.IntN(modelHosts))
		m.edit("rule "+string(h)+" to "+version, func(d *mesh.Draft) {
			rule := &mesh.RouteRule{Object: mesh.Ref{Name: "x"}, Destination: h, Routes: []mesh.WeightedRoute{
				{Host: h, Labels: mesh.Labels{"version": version}, Weight: 50}, {Host: other, Weight: 50},
			}}
			if m.random.IntN(4) == 0 {
				rule.Source = &mesh.SourceMatch{Host: other}
			}
			if n == 8 {
				rule.Routes, rule.Mirror = rule.Routes[:1], &mesh.Target{Host: other, Labels: mesh.Labels{"version": version}}
			}
			d.SetRules(h, mesh.NewRuleSet(h, []*mesh.RouteRule{rule}))
		})
	case n < 13:
		address := fmt.Sprintf("127.0.0.%d", 1+m.random.IntN(20))
		m.edit("endpoint of "+string(h), func(d *mesh.Draft) {
			d.SetEndpoints(h, &mesh.EndpointSet{Host: h, Endpoints: []mesh.Endpoint{{
				Address: address, Ports: map[string]int{"http": 80, "tcp": 81}, Labels: mesh.Labels{"version": "v1"}, Health: mesh.Healthy,
			}}})
		})
	case n < 15:
		protocol := []mesh.Protocol{mesh.HTTP, mesh.HTTP2}[m.random.IntN(2)]
		m.edit("protocol of "+string(h), func(d *mesh.Draft) { d.SetService(h, modelService(i, protocol)) })
	case n < 16 && i != lasting:
		m.edit("no service "+string(h), func(d *mesh.Draft) { d.SetService(h, nil) })
	case n < 18:
		protocol := []mesh.Protocol{mesh.HTTP, mesh.HTTP2, mesh.TCP}[m.random.IntN(3)]
		rule := &mesh.EgressRule{Destination: "*.test", Ports: []mesh.Port{{Number: 80, Protocol: protocol}}}
		m.edit("calls outside, "+string(protocol), func(d *mesh.Draft) {
			d.SetEgressPatterns(mesh.NewEgressPatterns([]*mesh.EgressRule{rule}))
		})
	default:
		m.edit("no calls outside", func(d *mesh.Draft) { d.SetEgressPatterns(nil) })
	}
}

// serve has the workload serve a host more: its stream goes on.
func (m *model) serve(h mesh.Host) {
	w := *m.snapshot.Workload("c.default")
	port := 8000 + len(w.Serves)
	if slices.ContainsFunc(w.Serves, func(s mesh.Serving) bool { return s.Host == h }) {
		return
	}
	w.Serves = append(slices.Clone(w.Serves), mesh.Serving{Host: h, Port: port, Protocol: mesh.HTTP, Listen: port, Target: "127.0.0.1:9000"})
	m.edit("it serves "+string(h), func(d *mesh.Draft) { d.SetWorkload(w.ID(), &w) })
	if m.proxy != nil && m.proxy.evicted {
		m.fail("its stream ends, since it serves %s", h)
	}
}

// finds tells whether a cluster that the Envoy has looks its endpoints up by itself.
func finds(x *discoveryv3.Resource) bool {
	var c clusterv3.Cluster
	return x.GetResource().UnmarshalTo(&c) == nil && c.GetType() != clusterv3.Cluster_EDS
}
