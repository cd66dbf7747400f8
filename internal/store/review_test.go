package store_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// TestReviewOfHostsOutside shows which hosts egress rules make known.
func TestReviewOfHostsOutside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t)
		b.setRegistry(t, "local", mesh.Registry{Services: []*mesh.Service{service("reviews", 9080)}})
		b.setYAML(t, "egress", says("a", "egress: [{destination: www.foo.com}, {destination: '*.bar.com'}, {destination: 192.0.2.0/24}]"))
		known := func(name, service string) string {
			return "---\napiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {name: " + name + "}\nspec: {destination: {service: '" + service + "'}}\n"
		}
		b.setYAML(t, "rules", known("a", "www.foo.com")+known("b", "foo.com")+known("c", "x.bar.com")+known("d", "bar.com")+
			known("e", "*.bar.com")+known("f", "*.x.bar.com")+known("g", "reviews.com"))
		const want = `rules.yaml:10:8: warning: RouteRule default/b: spec.destination: no source knows the host foo.com [unknown-host]
  hint: if it is outside the mesh, an EgressRule for it lets workloads call it
rules.yaml:20:8: warning: RouteRule default/d: spec.destination: no source knows the host bar.com [unknown-host]
  hint: if it is outside the mesh, an EgressRule for it lets workloads call it
rules.yaml:30:8: warning: RouteRule default/f: spec.destination: no source knows the host *.x.bar.com [unknown-host]
  hint: if it is outside the mesh, an EgressRule for it lets workloads call it
rules.yaml:35:8: warning: RouteRule default/g: spec.destination: no source knows the host reviews.com [unknown-host]
  hint: did you mean "reviews.default.svc.cluster.local"? if it is outside the mesh, an EgressRule for it lets workloads call it
`
		if got := b.problems(); got != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
	})
}

// TestReviewOfPorts shows that a rule may send requests only to services that have the port.
func TestReviewOfPorts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t)
		b.setRegistry(t, "local", mesh.Registry{Services: []*mesh.Service{service("web", 9080), service("shop", 9080), service("old", 80)}})
		b.setYAML(t, "rules", `apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata: {name: a}
spec:
  destination: {name: web}
  route:
  - {destination: {name: shop}, weight: 50}
  - {destination: {name: old}, weight: 25}
  - {destination: {service: www.outside.test}, weight: 25}
  mirror: {name: old}
`)
		b.setYAML(t, "egress", says("o", "egress: [{destination: www.outside.test, ports: [{number: 443, protocol: HTTPS}]}]"))
		const want = `rules.yaml:8:6: warning: RouteRule default/a: spec.route[1].destination: requests for port 9080 of web.default.svc.cluster.local go to the same port of old.default.svc.cluster.local, which it does not have [unknown-port]
  hint: its ports: 80 http
rules.yaml:9:6: warning: RouteRule default/a: spec.route[2].destination: requests for port 9080 of web.default.svc.cluster.local go to the same port of www.outside.test, which it does not have [unknown-port]
  hint: its ports: 443
rules.yaml:10:3: warning: RouteRule default/a: spec.mirror: requests for port 9080 of web.default.svc.cluster.local go to the same port of old.default.svc.cluster.local, which it does not have [unknown-port]
  hint: its ports: 80 http
`
		if got := b.problems(); got != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
	})
}

// TestPositionsInLists shows that a problem stands where its value stands, also when only lines between fields came.
func TestPositionsInLists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t)
		list := func(gap string) string {
			return "apiVersion: v1\nkind: List\nitems:\n- apiVersion: config.istio.io/v1alpha2\n  kind: RouteRule\n  metadata: {name: a}\n" + gap +
				"  spec: {destination: {service: nowhere.test}}\n"
		}
		for gap, want := range map[string]string{"": "rules.yaml:7:10: ", "\n\n\n": "rules.yaml:10:10: "} {
			b.setYAML(t, "rules", list(gap))
			if got := b.problems(); !strings.HasPrefix(got, want) {
				t.Errorf("got %s, want it at %s", got, want)
			}
		}
	})
}

// TestReviewOfDoors shows what is told about Ingress objects that get into one another's way.
func TestReviewOfDoors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t)
		b.setRegistry(t, "local", mesh.Registry{
			Services:     []*mesh.Service{service("web", 80)},
			Certificates: []mesh.SealedCertificate{{Namespace: "default", Name: "shop-tls"}, {Namespace: "default", Name: "other"}},
		})
		ingress := func(name, tls, hosts string) string {
			return `---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: ` + name + `}
spec:
  defaultBackend: &web {service: {name: web, port: {number: 80}}}
  tls: [` + tls + `]
  rules:
` + hosts
		}
		path := func(host, path, kind string) string {
			return "  - host: '" + host + "'\n    http: {paths: [{path: " + path + ", pathType: " + kind + ", backend: *web}]}\n"
		}
		b.setYAML(t, "file",
			ingress("b", "{secretName: shop-tls, hosts: [a.org, '*.b.org']}, {secretName: shop-tsl}",
				path("a.org", "/x", "Prefix")+path("a.org", "/x", "Exact")+path("c.org", "/x", "Prefix")+path("a.org", "/x/", "Prefix"))+
				ingress("a", "{secretName: other, hosts: [c.org, '*.b.org']}, {secretName: unlike-any}",
					path("a.org", "/x", "Prefix")+path("*.org", "/x", "Prefix")))
		const first = "\n  hint: of such paths the first by namespace and name of its object counts, and in one object the first\n"
		const want = `file.yaml:6:3: warning: Ingress default/b: spec.defaultBackend: Ingress default/a has the default backend too, and counts [duplicate-path]` + first +
			`file.yaml:7:47: warning: Ingress default/b: spec.tls[0].hosts[1]: Ingress default/a names the secret default/other for *.b.org, which counts [duplicate-tls]
  hint: of such certificates that of the first object by namespace and name counts
file.yaml:7:60: warning: Ingress default/b: spec.tls[1]: Ingress default/a names the secret default/unlike-any for every host, which counts [duplicate-tls]
  hint: of such certificates that of the first object by namespace and name counts
file.yaml:7:73: warning: Ingress default/b: spec.tls[1].secretName: there is no secret default/shop-tsl with a certificate [unknown-secret]
  hint: did you mean "default/shop-tls"?
file.yaml:10:27: warning: Ingress default/b: spec.rules[0].http.paths[0].path: Ingress default/a has the path prefix /x of a.org too, and counts [duplicate-path]` + first +
			`file.yaml:16:27: warning: Ingress default/b: spec.rules[3].http.paths[0].path: Ingress default/a has the path prefix /x of a.org too, and counts [duplicate-path]` + first +
			`file.yaml:23:70: warning: Ingress default/a: spec.tls[1].secretName: there is no secret default/unlike-any with a certificate [unknown-secret]
  hint: add a Secret unlike-any in the namespace default, of type kubernetes.io/tls
`
		if got := b.problems(); got != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
	})
}

// TestReviewOfBackends shows that a backend needs a port that takes requests.
func TestReviewOfBackends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t)
		shop := service("shop", 80)
		shop.Ports = append(shop.Ports, mesh.Port{Name: "tcp", Number: 81, Protocol: mesh.TCP})
		b.setRegistry(t, "local", mesh.Registry{Services: []*mesh.Service{shop}})
		backend := "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: %}\nspec: {defaultBackend: {service: {name: shop, port: {%}}}}\n---\n"
		for _, port := range []string{"a number: 80", "b number: 81", "c name: tcp"} {
			name, port, _ := strings.Cut(port, " ")
			b.setYAML(t, name, strings.Replace(strings.Replace(backend, "%", name, 1), "%", port, 1))
		}
		told := ""
		for _, p := range b.Problems() {
			if p.Code == config.CodeUnknownPort {
				told += p.Object.Name + ": " + p.Message + "\n"
			}
		}
		const want = `b: port 81 of shop.default.svc.cluster.local speaks TCP, which is no port for requests
c: port "tcp" of shop.default.svc.cluster.local speaks TCP, which is no port for requests
`
		if told != want {
			t.Errorf("got %s\nwant %s", told, want)
		}
	})
}
