// Package bench measures what the tests only count: how long a change takes, and what a request costs.
//
// `make bench PKG=./bench` runs it. Figures of one run may be compared with one another, those of different machines
// or runs may not. README.md holds recorded results and the conditions.
package bench

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/lateen-mesh/lateen/internal/envoy"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/plan"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/view"
	"github.com/lateen-mesh/lateen/internal/xds"
)

func host(i int) mesh.Host { return meshtest.HostOf(fmt.Sprintf("svc-%03d", i)) }

func ruleTo(h mesh.Host, version string) *mesh.RuleSet {
	return mesh.NewRuleSet(h, []*mesh.RouteRule{{
		Object: mesh.Ref{Kind: "RouteRule", Namespace: "default", Name: "one"}, Destination: h,
		Routes: []mesh.WeightedRoute{{Host: h, Labels: mesh.Labels{"version": version}, Weight: 100}},
	}})
}

// One virtual host with one rule, from the snapshot to bytes.
func BenchmarkMakeVirtualHost(b *testing.B) {
	draft := mesh.NewSnapshot(meshtest.Domain).Edit()
	meshtest.Put(draft, meshtest.Bulk(300))
	draft.SetRules(host(7), ruleTo(host(7), "v1"))
	snapshot, _ := draft.Done()
	id := view.VirtualHostOf("svc-007:9080")
	caller := view.Caller{Type: mesh.Sidecar, Namespace: "default", Labels: mesh.Labels{"app": "caller"}}.Project(id)
	b.ReportAllocs()
	for b.Loop() {
		v, _ := view.Cut(snapshot, caller, id)
		view.Hash(v)
		message, err := envoy.Of(plan.Of(v))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := message.Bytes(); err != nil {
			b.Fatal(err)
		}
	}
}

// One changed endpoint, from the snapshot until every proxy that has its cluster has confirmed, over real streams.
func BenchmarkOneEndpoint(b *testing.B) {
	for _, size := range []struct{ services, proxies, callers int }{
		{300, 100, 3}, {300, 100, 100}, {1000, 100, 3}, {1000, 1000, 3}, {1000, 1000, 1000},
	} {
		b.Run(fmt.Sprintf("services=%d/proxies=%d/callers=%d", size.services, size.proxies, size.callers), func(b *testing.B) {
			m := connected(b, size.services, size.proxies, size.callers)
			h := host(0)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i++
				m.Confirmed(m.Edit(func(d *mesh.Draft) {
					d.SetEndpoints(h, &mesh.EndpointSet{Host: h, Endpoints: []mesh.Endpoint{{
						Address: fmt.Sprintf("127.201.%d.%d", i/250%250, 1+i%250), Ports: map[string]int{"http": 9080}, Health: mesh.Healthy,
					}}})
				}))
			}
		})
	}
}

// One changed rule, with the new subset that it leads to.
func BenchmarkOneRule(b *testing.B) {
	for _, size := range []struct{ services, proxies, callers int }{{300, 100, 3}, {1000, 1000, 3}} {
		b.Run(fmt.Sprintf("services=%d/proxies=%d/callers=%d", size.services, size.proxies, size.callers), func(b *testing.B) {
			m := connected(b, size.services, size.proxies, size.callers)
			h := host(0)
			i := 0
			for b.Loop() {
				i++
				m.Confirmed(m.Edit(func(d *mesh.Draft) { d.SetRules(h, ruleTo(h, fmt.Sprintf("v%d", i%2))) }))
			}
		})
	}
}

// connected returns a mesh of services and proxies of which the first ones call the service 0, each of the others
// another one.
func connected(b *testing.B, services, proxies, callers int) *meshtest.FakeMesh {
	b.Helper()
	m := meshtest.NewFakeMesh(b, push.Config{})
	registry := meshtest.Bulk(services)
	fakes := make([]*meshtest.FakeProxy, proxies)
	called := make([]string, proxies)
	for i := range proxies {
		if i >= callers {
			called[i] = fmt.Sprintf("svc-%03d:9080", 1+i%(services-1))
		} else {
			called[i] = "svc-000:9080"
		}
		w := &mesh.Workload{
			Name: fmt.Sprintf("caller-%d", i), Namespace: meshtest.Namespace, Type: mesh.Sidecar, Account: "default",
			Labels: mesh.Labels{"app": "caller", "number": fmt.Sprint(i)}, Address: "127.0.0.1", Outbound: 15001,
		}
		registry.Workloads = append(registry.Workloads, w)
		fakes[i] = meshtest.NewFakeProxy(mesh.Node{
			Type: mesh.Sidecar, Address: w.Address, Name: w.Name, Namespace: w.Namespace, Domain: meshtest.Domain,
		}, called[i])
	}
	m.Edit(func(d *mesh.Draft) { meshtest.Put(d, registry) })
	for i, f := range fakes {
		m.Connect(f)
		if err := f.Await(b.Context(), xds.VirtualHostType, view.VirtualHostOf(called[i]).Name); err != nil {
			b.Fatal(err)
		}
	}
	return m
}

// One request from workload to workload through two real Envoys, beside one straight to the application.
func BenchmarkHop(b *testing.B) {
	m := meshtest.New(b)
	app := m.Start("reviews", "v1", meshtest.Named("v1"))
	caller := m.Caller("caller", nil)
	for _, way := range []struct {
		name, url string
		client    *http.Client
	}{
		{"direct", "http://" + app.Serves[0].Target + "/", &http.Client{Transport: &http.Transport{}}},
		{"mesh", "http://reviews:9080/", caller.Client()},
	} {
		b.Run(way.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := meshtest.Fetch(b.Context(), way.client, way.url); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// The first request of a workload to a host that its proxy does not know yet: the proxy asks, and the request waits.
func BenchmarkFirstRequest(b *testing.B) {
	m := meshtest.New(b)
	app := m.Start("reviews", "v1", meshtest.Named("v1"))
	caller := m.Caller("caller", nil)
	client := caller.Client()
	var registry mesh.Registry
	const most = 2000
	for i := range most {
		s := meshtest.NewService(fmt.Sprintf("first-%d", i), "http", meshtest.ServicePort)
		registry.Services = append(registry.Services, s)
		registry.Endpoints = append(registry.Endpoints, &mesh.EndpointSet{Host: s.Host, Endpoints: []mesh.Endpoint{{
			Address: app.Address, Ports: map[string]int{"http": meshtest.ServicePort}, Health: mesh.Healthy,
		}}})
	}
	m.AddRegistry(registry)
	i := 0
	for b.Loop() {
		url := fmt.Sprintf("http://first-%d:%d/", i%most, meshtest.ServicePort)
		i++
		if _, err := meshtest.Fetch(b.Context(), client, url); err != nil {
			b.Fatal(err)
		}
	}
	if i > most {
		b.Fatalf("%d requests to %d hosts: not all are first ones", i, most)
	}
}
