package push_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// Whatever happens in a mesh, and however slowly a client without a proxy takes what it is sent: once it has routes, every
// later version leads to clusters that it has with their endpoints, and in the end it has what a new client gets.
func TestWalkModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 2)) //nolint:gosec // repeatable on purpose
		w := meshtest.NewFakeMesh(t, push.Config{})
		w.Edit(func(d *mesh.Draft) { meshtest.Put(d, meshtest.Bulk(walkHosts)) })
		c := newWalker(t, w)
		c.ask(xds.ListenerType, "svc-000:9080", "svc-001:9080", "svc-001.default:9080", "nobody:80")
		var coming []*xds.Response
		for range 150 {
			switch random.IntN(3) {
			case 0:
				w.Edit(walkChange(random))
			case 1:
				responses, _ := c.client.Next(c.session)
				coming = append(coming, responses...)
			default:
				if len(coming) > 0 {
					c.takeChecked(seed, coming[0])
					coming = coming[1:]
				}
			}
		}
		for _, r := range coming {
			c.takeChecked(seed, r)
		}
		c.settle()
		fresh := openWalker(t, w, c.peer)
		fresh.ask(xds.ListenerType, c.asks[xds.ListenerType]...)
		fresh.settle()
		for _, typ := range walked {
			for name, want := range fresh.held[typ] {
				if got := c.held[typ][name]; !proto.Equal(got, want) {
					t.Fatalf("seed %d: %s: has\n%v\nwant\n%v", seed, name, got, want)
				}
			}
		}
	}
}

const walkHosts = 4

// walkChange changes something that a walk reads.
func walkChange(random *rand.Rand) func(*mesh.Draft) {
	i := random.IntN(walkHosts)
	host, other := hostNumber(i), hostNumber(random.IntN(walkHosts))
	version := fmt.Sprintf("v%d", random.IntN(5))
	return func(d *mesh.Draft) {
		switch n := random.IntN(10); {
		case n == 0:
			d.SetRules(host, nil)
		case n < 6:
			rule := &mesh.RouteRule{Object: mesh.Ref{Name: "x"}, Destination: host, Routes: []mesh.WeightedRoute{
				{Host: host, Labels: mesh.Labels{"version": version}, Weight: 50}, {Host: other, Weight: 50},
			}}
			if n == 5 {
				rule.TCP = &mesh.TCPMatch{Sources: []string{"127.0.0.0/8"}}
			}
			d.SetRules(host, mesh.NewRuleSet(host, []*mesh.RouteRule{rule}))
		case n < 8:
			d.SetEndpoints(host, &mesh.EndpointSet{Host: host, Endpoints: []mesh.Endpoint{{
				Address: fmt.Sprintf("127.0.1.%d", random.IntN(200)), Ports: map[string]int{"http": 80}, Health: mesh.Healthy,
			}}})
		case n == 8:
			d.SetService(host, nil)
		default:
			d.SetService(host, meshtest.NewService(fmt.Sprintf("svc-%03d", i), "http", 9080))
		}
	}
}

// takeChecked takes a response, and looks where later versions of routes lead.
func (c *walker) takeChecked(seed uint64, r *xds.Response) {
	c.t.Helper()
	before := maps.Clone(c.held[xds.RouteType])
	c.take(r.World())
	for name := range before {
		if c.held[xds.RouteType][name] == nil {
			continue
		}
		for _, route := range c.held[xds.RouteType][name].(*routev3.RouteConfiguration).GetVirtualHosts()[0].GetRoutes() {
			if route.GetMatch().GetRuntimeFraction() != nil {
				continue
			}
			to := []string{route.GetRoute().GetCluster()}
			for _, share := range route.GetRoute().GetWeightedClusters().GetClusters() {
				to = append(to, share.GetName())
			}
			for _, cluster := range slices.DeleteFunc(to, func(name string) bool { return name == "" }) {
				if c.first[name] && (c.held[xds.ClusterType][cluster] == nil || c.held[xds.EndpointsType][cluster] == nil) {
					c.t.Fatalf("seed %d: %s leads to %s, which is not there; %s", seed, name, cluster, strings.Join(c.log, ", "))
				}
			}
		}
		c.first[name] = c.first[name] || c.complete(name)
	}
}

// complete tells whether the client has all that routes lead to: their first version comes before it has.
func (c *walker) complete(routes string) bool {
	for _, route := range c.held[xds.RouteType][routes].(*routev3.RouteConfiguration).GetVirtualHosts()[0].GetRoutes() {
		to := []string{route.GetRoute().GetCluster()}
		for _, share := range route.GetRoute().GetWeightedClusters().GetClusters() {
			to = append(to, share.GetName())
		}
		for _, name := range to {
			if name != "" && c.held[xds.EndpointsType][name] == nil {
				return false
			}
		}
	}
	return true
}
