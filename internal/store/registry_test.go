package store_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

func TestFirstSourceOfAServiceCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, "kube", "consul", "vm")
		set := func(name string, endpoints ...mesh.Endpoint) []*mesh.EndpointSet {
			return []*mesh.EndpointSet{{Host: host(name), Endpoints: endpoints}}
		}
		b.setRegistry(t, "vm", mesh.Registry{Endpoints: set("reviews", endpoint("10.0.0.9", "vm"), endpoint("10.0.0.1", "vm"))})
		b.setRegistry(t, "consul", mesh.Registry{
			Services:  []*mesh.Service{service("reviews", 80), service("ratings", 80)},
			Endpoints: set("reviews", endpoint("10.0.0.5", "consul")),
			Workloads: []*mesh.Workload{{Name: "a", Namespace: "default", Account: "consul"}},
		})
		b.setRegistry(t, "kube", mesh.Registry{
			Services:  []*mesh.Service{service("reviews", 9080), service("reviews", 1)},
			Endpoints: append(set("reviews", endpoint("10.0.0.2", "kube")), set("reviews", endpoint("10.0.0.1", "kube"))...),
			Workloads: []*mesh.Workload{{Name: "a", Namespace: "default", Account: "kube"}},
		})
		check := func(port int, addresses, account string) {
			t.Helper()
			s := b.Snapshot()
			if got := s.Service(host("reviews")).Ports[0].Number; got != port {
				t.Errorf("port %d, want %d", got, port)
			}
			var got []string
			for _, e := range s.Endpoints(host("reviews")).Endpoints {
				got = append(got, e.Address+"="+e.Labels["version"])
			}
			if text := strings.Join(got, " "); text != addresses {
				t.Errorf("endpoints %s, want %s", text, addresses)
			}
			if got := s.Workload("a.default").Account; got != account {
				t.Errorf("account %s, want %s", got, account)
			}
		}
		check(9080, "10.0.0.1=kube 10.0.0.2=kube 10.0.0.9=vm", "kube")
		const want = `warning: Service default/reviews: source "kube" knows it twice; the first one counts [duplicate-service]
warning: Service default/reviews: source "consul" knows it, and so does "kube", which counts [duplicate-service]
warning: Workload default/a: source "consul" knows it, and so does "kube", which counts [duplicate-service]
`
		if got := b.problems(); got != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
		b.setRegistry(t, "kube", mesh.Registry{})
		check(80, "10.0.0.1=vm 10.0.0.5=consul 10.0.0.9=vm", "consul")
		if got := b.problems(); got != "" {
			t.Errorf("problems: %s", got)
		}
	})
}

func TestReview(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t)
		draining := endpoint("10.0.0.3", "v2")
		draining.Health = mesh.Draining
		elsewhere := service("details", 9080)
		elsewhere.Host, elsewhere.Namespace = mesh.ServiceHost("details", "lab", domain), "lab"
		b.setRegistry(t, "local", mesh.Registry{
			Services:  []*mesh.Service{service("reviews", 9080), service("ratings"), elsewhere},
			Endpoints: []*mesh.EndpointSet{{Host: host("reviews"), Endpoints: []mesh.Endpoint{endpoint("10.0.0.1", "v1"), draining}}},
		})
		b.setYAML(t, "file", rule("drained", "reviews", "v2")+rule("none", "ratings", "v1")+
			rule("misspelled", "reviewz", "v1")+rule("elsewhere", "details", "v1")+rule("strange", "productpage", "v1")+`---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: door}
spec:
  rules:
  - http:
      paths:
      - {path: /a, pathType: Prefix, backend: {service: {name: reviews, port: {number: 80}}}}
      - {path: /b, pathType: Prefix, backend: {service: {name: reviews, port: {name: web}}}}
      - {path: /c, pathType: Prefix, backend: {service: {name: reviews, port: {name: http}}}}
      - {path: /d, pathType: Prefix, backend: {service: {name: ratings, port: {number: 80}}}}
`)
		const want = `file.yaml:5:47: warning: RouteRule default/drained: spec.route[0].labels: no endpoint of reviews.default.svc.cluster.local that takes requests has the labels version=v2: requests sent there are answered with 503 [empty-subset]
file.yaml:10:47: warning: RouteRule default/none: spec.route[0].labels: no endpoint of ratings.default.svc.cluster.local that takes requests has the labels version=v1: requests sent there are answered with 503 [empty-subset]
file.yaml:15:8: warning: RouteRule default/misspelled: spec.destination: no source knows the host reviewz.default.svc.cluster.local [unknown-host]
  hint: did you mean "reviews.default.svc.cluster.local"?
file.yaml:20:8: warning: RouteRule default/elsewhere: spec.destination: no source knows the host details.default.svc.cluster.local [unknown-host]
  hint: did you mean "details.lab.svc.cluster.local"?
file.yaml:25:8: warning: RouteRule default/strange: spec.destination: no source knows the host productpage.default.svc.cluster.local [unknown-host]
file.yaml:34:48: warning: Ingress default/door: spec.rules[0].http.paths[0].backend.service: reviews.default.svc.cluster.local has no port 80 [unknown-port]
  hint: its ports: 9080 http
file.yaml:35:48: warning: Ingress default/door: spec.rules[0].http.paths[1].backend.service: reviews.default.svc.cluster.local has no port "web" [unknown-port]
  hint: its ports: 9080 http
file.yaml:37:48: warning: Ingress default/door: spec.rules[0].http.paths[3].backend.service: ratings.default.svc.cluster.local has no port 80 [unknown-port]
`
		if got := b.problems(); got != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
		b.setRegistry(t, "more", mesh.Registry{Services: []*mesh.Service{service("productpage")}})
		if got := b.problems(); strings.Contains(got, "no source knows the host productpage") {
			t.Errorf("the service is there now, and still: %s", got)
		}
	})
}

// What is wrong with what a registry was made from is told with the rest, until a later registry or edit says otherwise.
func TestProblemsComeWithARegistry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, "local")
		problem := func(text string) mesh.Problem {
			return mesh.Problem{Message: text, Code: "broken", Severity: mesh.Warning, Position: mesh.Position{File: "mesh.yaml", Line: 3, Column: 1}}
		}
		wants := func(want string) {
			t.Helper()
			if got := b.problems(); got != want {
				t.Errorf("problems %q, want %q", got, want)
			}
		}
		b.setRegistry(t, "local", mesh.Registry{Generation: 1, Problems: []mesh.Problem{problem("one")}})
		wants("mesh.yaml:3:1: warning: one [broken]\n")
		edit := func(e mesh.RegistryEdit) {
			t.Helper()
			if _, err := b.EditRegistry(t.Context(), "local", e); err != nil {
				t.Fatal(err)
			}
		}
		edit(mesh.RegistryEdit{Base: 1, Generation: 2, Services: []*mesh.Service{service("reviews", 80)}})
		wants("mesh.yaml:3:1: warning: one [broken]\n")
		edit(mesh.RegistryEdit{Base: 2, Generation: 3, Problems: []mesh.Problem{problem("two"), problem("three")}})
		wants("mesh.yaml:3:1: warning: two [broken]\nmesh.yaml:3:1: warning: three [broken]\n")
		edit(mesh.RegistryEdit{Base: 3, Generation: 4, Problems: []mesh.Problem{}})
		wants("")
		b.setRegistry(t, "local", mesh.Registry{Problems: []mesh.Problem{problem("one")}})
		b.setRegistry(t, "local", mesh.Registry{})
		wants("")
	})
}
