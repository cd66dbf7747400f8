package meshtest_test

import (
	"fmt"
	"testing"

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
