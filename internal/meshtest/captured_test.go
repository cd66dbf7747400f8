package meshtest

import (
	"io"
	"net/http"
	"testing"

	"github.com/lateen-mesh/lateen/internal/netns"
)

// echo tells what an application gets to see of a request.
func echo(name string) App {
	return Handler(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("seen-dst", r.Header.Get("x-lateen-dst"))
		w.Header().Set("seen-peer", r.Header.Get("x-forwarded-client-cert"))
		_, _ = io.WriteString(w, name+" "+r.Host+" "+string(body))
	})
}

// capturedSpec is a service in a pod.
func capturedSpec(service, version string, app App) Spec {
	return Spec{Service: service, Version: version, Capture: true, Ports: []SpecPort{{Name: "http", Number: ServicePort, App: app}}}
}

// Requests of a captured workload are steered by the address that they go to, whatever they say in the Host header.
func TestCapturedRequests(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		m := NewCaptured(t, Config{})
		m.StartSpec(capturedSpec("reviews", "v1", echo("reviews-v1")))
		m.StartSpec(capturedSpec("ratings", "v1", echo("ratings-v1")))
		caller := m.CapturedCaller("shop", nil)
		if status, body := caller.Get("http://reviews:9080/"); status != 200 || body != "reviews-v1 reviews:9080 " {
			t.Errorf("reviews: %d %q", status, body)
		}
	})
}
