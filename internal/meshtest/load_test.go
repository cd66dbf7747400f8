package meshtest_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
)

const reviewsDoor = `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: gateway}
spec: {defaultBackend: {service: {name: reviews, port: {number: 9080}}}}
`

// requestsBetween is how many requests pass between two changes: each change meets requests in all their phases.
const requestsBetween = 40

// Under load through the ingress and from service to service, 50 rule changes lose no request; among them rules that
// lead to a version whose first instance was started a moment ago. When a change is said to be in force, the very next
// request obeys it.
func TestLoadRuleChanges(t *testing.T) {
	changes := 50
	if meshtest.FullLoad() {
		changes = 500
	}
	m := meshtest.New(t)
	for _, v := range []string{"v1", "v2"} {
		m.Start("reviews", v, meshtest.Named(v))
	}
	m.Apply(reviewsDoor)
	caller, door := m.Caller("caller", nil), m.Door()
	m.Apply(rule("all", "route: [{labels: {version: v1}}]"))
	inside := meshtest.StartLoad(t, caller, reviews)
	outside := meshtest.StartLoad(t, door, "http://door/")

	newest := ""
	for i := range changes {
		outside.More(requestsBetween)
		switch i % 10 {
		case 5:
			newest = fmt.Sprintf("v%d", 3+i/10)
			m.Start("reviews", newest, meshtest.Named(newest))
			m.Apply(rule("all", fmt.Sprintf("route: [{labels: {version: %s}}]", newest)))
		case 7:
			m.Apply(rule("all", fmt.Sprintf("route: [{labels: {version: v1}, weight: 50}, {labels: {version: %s}, weight: 50}]", newest)))
			continue
		case 8:
			m.Delete("RouteRule", "all")
			continue
		default:
			newest = fmt.Sprintf("v%d", 1+i%2)
			m.Apply(rule("all", fmt.Sprintf("route: [{labels: {version: %s}}]", newest)))
		}
		wantBody(t, caller, reviews, newest)
		wantBody(t, door, "http://door/", newest)
	}
	inside.Stop("service to service")
	outside.Stop("through the ingress")
}

// Instances that come and go under load lose no request.
func TestLoadInstances(t *testing.T) {
	rounds := 10
	if meshtest.FullLoad() {
		rounds = 100
	}
	m := meshtest.New(t)
	current := m.Start("reviews", "v1", meshtest.Named("v1"))
	caller := m.Caller("caller", nil)
	wantBody(t, caller, reviews, "v1")
	load := meshtest.StartLoad(t, caller, reviews)
	for range rounds {
		load.More(requestsBetween)
		next := m.Start("reviews", "v1", meshtest.Named("v1"))
		current.Stop()
		current = next
	}
	load.Stop("instances come and go")
}

// The control plane goes away and comes back under load: no request is lost, and nothing is sent again that did not change.
func TestLoadRestart(t *testing.T) {
	rounds := 10
	if meshtest.FullLoad() {
		rounds = 100
	}
	m := meshtest.New(t)
	m.Start("reviews", "v1", meshtest.Named("v1"))
	m.Start("reviews", "v2", meshtest.Named("v2"))
	m.Apply(rule("all", "route: [{labels: {version: v1}}]"))
	caller := m.Caller("caller", nil)
	wantBody(t, caller, reviews, "v1")
	load := meshtest.StartLoad(t, caller, reviews)
	for range rounds {
		load.More(requestsBetween)
		m.Restart()
		wantBody(t, caller, reviews, "v1")
		if n := m.Sent(); n != 0 {
			t.Errorf("after a restart %d resources were sent again", n)
		}
	}
	// The next one finds another protocol: every cluster of the service is another than the proxies have.
	m.RestartWith(func(r *mesh.Registry) {
		for i, s := range r.Services {
			if s.Name == "reviews" {
				r.Services[i] = meshtest.NewService("reviews", "http2", meshtest.ServicePort)
			}
		}
		for i, e := range r.Endpoints {
			r.Endpoints[i] = &mesh.EndpointSet{Host: e.Host}
			for _, endpoint := range e.Endpoints {
				endpoint.Ports = map[string]int{"http2": meshtest.ServicePort}
				r.Endpoints[i].Endpoints = append(r.Endpoints[i].Endpoints, endpoint)
			}
		}
	})
	wantBody(t, caller, reviews, "v1")
	m.Apply(rule("all", "route: [{labels: {version: v2}}]"))
	wantBody(t, caller, reviews, "v2")
	load.Stop("restarts of the control plane")
}

// Changes of policies, of rules in all their fields and of EgressRules lose no request: through the proxy, by a local
// address, through the ingress, and to a host outside the mesh; and a connection with bytes stays open through all of
// them.
func TestLoadEverythingElse(t *testing.T) {
	rounds := 4
	if meshtest.FullLoad() {
		rounds = 40
	}
	m := meshtest.New(t)
	o := newOutside(t, m)
	for _, v := range []string{"v1", "v2"} {
		m.Start("reviews", v, meshtest.Named(v))
	}
	m.StartSpec(meshtest.Spec{Service: "db", Version: "v1", Ports: []meshtest.SpecPort{{Name: "tcp", Number: 3306, Target: greeter(t, "db")}}})
	caller := m.StartSpec(meshtest.Spec{
		Service: "caller", Version: "v1", Ports: []meshtest.SpecPort{{Name: "http", Number: 9080, App: meshtest.Named("caller")}},
		Upstreams: []mesh.Upstream{{Host: meshtest.HostOf("reviews"), Port: 9080}, {Host: meshtest.HostOf("db"), Port: 3306}},
	})
	m.Apply(reviewsDoor)
	door := m.Door()
	port := o.serve("world", "www.outside.test")
	m.Apply(egress("below", "*.outside.test", port, "https"))
	_, conn, reader := greeting(t, caller.Upstream("db", 3306))
	loads := map[string]*meshtest.Load{
		"through the proxy":   meshtest.StartLoad(t, caller, reviews),
		"through the ingress": meshtest.StartLoad(t, door, "http://door/"),
		"to a host outside":   meshtest.StartLoad(t, caller, fmt.Sprintf("http://www.outside.test:%d/", port)),
		"by a local address": meshtest.StartLoadWith(t, func() *http.Client { return &http.Client{Transport: &http.Transport{}} },
			"http://"+caller.Upstream("reviews", 9080)+"/"),
	}
	changes := []string{
		policy("lb", "loadBalancing: {name: RANDOM}"),
		policy("lb", "loadBalancing: {name: LEAST_CONN}, circuitBreaker: {simpleCb: {maxConnections: 500}}"),
		policy("own", "source: {name: caller}, loadBalancing: {name: RANDOM}"),
		policy("own", "source: {name: nobody}, loadBalancing: {name: RANDOM}"),
		rule("all", "route: [{labels: {version: v1}}], mirror: {name: reviews, labels: {version: v2}}, appendHeaders: {x-a: b}"),
		rule("all", "route: [{labels: {version: v2}}], corsPolicy: {allowOrigin: ['*']}, rewrite: {uri: /other, authority: there}"),
		rule("all", "match: {tcp: {sourceSubnet: [127.0.0.0/8]}}, route: [{labels: {version: v1}, weight: 10}, {labels: {version: v2}, weight: 90}]"),
		rule("all", "httpReqTimeout: {simpleTimeout: {timeout: 20s, overrideHeaderName: x-t}}, httpFault: {delay: {percent: 50, fixedDelay: 0.002s}}"),
		egress("exact", "www.outside.test", port, "https"),
		strings.Replace(egress("exact", "www.outside.test", port, "https"), "{name: exact}",
			`{name: exact, annotations: {lateen.dev/insecure-skip-verify: "true"}}`, 1),
		ruleFor("db", "bytes", "route: [{labels: {version: v1}}]"),
	}
	for round := range rounds {
		for _, change := range changes {
			loads["through the proxy"].More(requestsBetween)
			if written := m.TryApply(change); mesh.HasErrors(written.Problems) {
				t.Fatal(written.Problems)
			} else {
				m.InForce(written.Revision)
			}
		}
		if err := conn.SetDeadline(time.Now().Add(meshtest.Patience)); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(conn, "round", round)
		if line, err := reader.ReadString('\n'); line != fmt.Sprintln("round", round) {
			t.Fatalf("the open connection says %q, %v", line, err)
		}
		for _, gone := range [][2]string{
			{"DestinationPolicy", "lb"}, {"DestinationPolicy", "own"}, {"RouteRule", "all"}, {"EgressRule", "exact"}, {"RouteRule", "bytes"},
		} {
			m.Delete(gone[0], gone[1])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(loads)) {
		loads[name].Stop(name)
	}
}
