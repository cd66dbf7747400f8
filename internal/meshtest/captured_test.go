package meshtest_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/netns"
	"github.com/lateen-mesh/lateen/internal/view"
)

// mirrored tells what an application gets to see of a request.
func mirrored(name string) meshtest.App {
	return meshtest.Handler(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("seen-dst", r.Header.Get("x-lateen-dst"))
		w.Header().Set("seen-peer", r.Header.Get("x-forwarded-client-cert"))
		_, _ = io.WriteString(w, name+" "+r.Host+" "+string(body))
	})
}

// toVersion is a rule that sends everything for a service to one version.
func toVersion(service, version string) string {
	return fmt.Sprintf("apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {name: %[1]s}\n"+
		"spec: {destination: {name: %[1]s}, route: [{labels: {version: %[2]s}}]}\n", service, version)
}

// capturedSpec is a service in a pod.
func capturedSpec(service, version string, app meshtest.App) meshtest.Spec {
	return meshtest.Spec{Service: service, Version: version, Capture: true, Ports: []meshtest.SpecPort{{Name: "http", Number: meshtest.ServicePort, App: app}}}
}

// sendOut sends a request out of an instance's pod and returns what came back.
func sendOut(t *testing.T, i *meshtest.Instance, method, target, body string, headers ...string) (status int, answer string, head http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; n < len(headers); n += 2 {
		if headers[n] == "host" {
			req.Host = headers[n+1]
		}
		req.Header.Set(headers[n], headers[n+1])
	}
	client := i.Client()
	defer client.CloseIdleConnections()
	res, err := client.Do(req)
	if err != nil {
		return 0, err.Error(), nil
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Error(err)
	}
	return res.StatusCode, string(text), res.Header
}

// Requests of a captured workload are steered by the address that they go to, whatever they say in the Host header; connections
// to other addresses go where they were going to.
func TestCaptured(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		m := meshtest.NewCaptured(t, meshtest.Config{})
		reviews := m.StartSpec(capturedSpec("reviews", "v1", mirrored("reviews-v1")))
		m.StartSpec(capturedSpec("reviews", "v2", mirrored("reviews-v2")))
		m.StartSpec(capturedSpec("ratings", "v1", mirrored("ratings-v1")))
		caller := m.CapturedCaller("shop", nil)
		m.Network().Outside("198.51.100.7")
		outside, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "198.51.100.7:8080")
		if err != nil {
			t.Fatal(err)
		}
		m.Serve(outside, mirrored("outside")(nil))
		m.Apply(toVersion("reviews", "v1"))
		at := func(service string) string { return m.ServiceAddress(service) + ":9080" }
		for _, c := range []struct{ name, method, target, body, host, want string }{
			{"by name", "GET", "http://reviews:9080/", "", "", "reviews-v1 reviews:9080 "},
			{"two services with one Host", "GET", "http://" + at("ratings"), "", "reviews:9080", "ratings-v1 reviews:9080 "},
			{"with a body", "POST", "http://" + at("reviews"), "stars", "", "reviews-v1 " + at("reviews") + " stars"},
			{"any Host", "GET", "http://" + at("reviews"), "", "example.com", "reviews-v1 example.com "},
			{"a pod", "GET", "http://" + reviews.Address + ":9080", "", "", "reviews-v1 " + reviews.Address + ":9080 "},
			{"outside", "GET", "http://198.51.100.7:8080", "", "example.com", "outside example.com "},
		} {
			status, body, head := sendOut(t, caller, c.method, c.target, c.body, "host", c.host, "x-lateen-dst", "10.96.0.99:1")
			if status != 200 || body != c.want {
				t.Errorf("%s: %d %q, want %q", c.name, status, body, c.want)
			}
			inside := c.name != "outside"
			if inside && head.Get("seen-dst") != "" && c.name != "a pod" {
				t.Errorf("%s: the application sees %q of what is Lateen's own", c.name, head.Get("seen-dst"))
			}
			if peer := head.Get("seen-peer"); inside && !strings.Contains(peer, "spiffe://cluster.local/ns/default/sa/default") {
				t.Errorf("%s: the application is told of the caller %q", c.name, peer)
			}
		}
		if status, body, _ := sendOut(t, reviews, "GET", "http://reviews:9080/", ""); status != 200 || !strings.HasPrefix(body, "reviews-v1") {
			t.Errorf("a workload that calls its own service: %d %q", status, body)
		}
		if status, body, _ := sendOut(t, reviews, "GET", "http://"+reviews.Address+":9080/", ""); status != 200 || !strings.HasPrefix(body, "reviews-v1") {
			t.Errorf("a workload that calls itself: %d %q", status, body)
		}
		if status, _, _ := sendOut(t, caller, "GET", "http://10.96.99.99:9080/", ""); status != 404 {
			t.Errorf("an address of no service: %d", status)
		}
		if kinds := wantAlike(t, m, nil, caller, reviews); !kinds[view.KindScope] || !kinds[view.KindRoutes] {
			t.Errorf("what the proxies have holds %v", kinds)
		}
		m.Apply(toVersion("reviews", "v2"))
		if status, body, _ := sendOut(t, caller, "GET", "http://reviews:9080/", ""); status != 200 || !strings.HasPrefix(body, "reviews-v2") {
			t.Errorf("after the rule has changed: %d %q", status, body)
		}
	})
}
