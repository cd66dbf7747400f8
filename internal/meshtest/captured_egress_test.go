package meshtest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/netns"
)

// abortedOutside is a rule by which requests to a destination outside the mesh are answered with 418 by the caller's proxy.
func abortedOutside(name, destination string) string {
	return fmt.Sprintf("apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {name: %s}\n"+
		"spec: {destination: {service: %q}, match: {request: {headers: {uri: /abort}}}, httpFault: {abort: {percent: 100, httpStatus: 418}}}\n", name, destination)
}

// Requests that a captured workload sends outside the mesh go where they were going to, whether a rule says something of the host that they name or not. Of
// hosts with an EgressRule route rules hold, and TLS is added for https, with the server's name and authority verified.
func TestCapturedEgress(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		m := meshtest.NewCaptured(t, meshtest.Config{})
		reviews := m.StartSpec(capturedSpec("reviews", "v1", mirrored("reviews-v1")))
		caller := m.CapturedCaller("shop", nil)
		m.Network().Outside("198.51.100.7")
		o := newOutside(t, m)
		o.address = "198.51.100.7"
		plain, secure := o.serve("plain"), o.serve("secure", "www.outside.test", "*.wild.test")
		wrong := o.serve("wrong", "someone.else.test")
		ask := func(port int, host, path string, status int, part string) {
			t.Helper()
			got, body, _ := sendOut(t, caller, "GET", fmt.Sprintf("http://198.51.100.7:%d%s", port, path), "", "host", fmt.Sprintf("%s:%d", host, port))
			if got != status || !strings.Contains(body, part) {
				t.Errorf("%s:%d%s: %d %q, want %d with %q", host, port, path, got, body, status, part)
			}
		}
		ask(plain, "www.outside.test", "/abort", 200, "plain HTTP/1.1")

		// Rules hold for the hosts that they name, and for no other at the same port.
		m.Apply(egress("www", "www.outside.test", plain, "http"))
		m.Apply(egress("wild", "*.wild.test", plain, "http"))
		m.Apply(abortedOutside("www", "www.outside.test"))
		m.Apply(abortedOutside("wild", "*.wild.test"))
		meshtest.Await(t, "the proxy has the routes", func() bool {
			status, _, _ := sendOut(t, caller, "GET", fmt.Sprintf("http://198.51.100.7:%d/abort", plain), "", "host", "www.outside.test")
			return status == 418
		})
		for _, host := range []string{"www.outside.test", "a.wild.test", "a.b.wild.test"} {
			ask(plain, host, "/", 200, fmt.Sprintf("plain HTTP/1.1 %s:%d", host, plain))
			ask(plain, host, "/abort", 418, "")
		}
		for _, host := range []string{"other.test", "wild.test", "reviews"} {
			ask(plain, host, "/abort", 200, "plain HTTP/1.1 "+host)
		}

		// Rules may ask for addresses too: that of the caller, and the one where the request goes.
		for i, match := range []string{
			"sourceSubnet: [198.51.100.0/24]", "destinationSubnet: [203.0.113.0/24]",
			"sourceSubnet: [" + caller.Address + "/32], destinationSubnet: [198.51.100.7/32]",
		} {
			m.Apply(fmt.Sprintf("apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {name: by-address-%d}\n"+
				"spec: {destination: {service: www.outside.test}, precedence: %d, match: {tcp: {%s}}, httpFault: {abort: {percent: 100, httpStatus: %d}}}\n", i, 9-i, match, 430+i))
		}
		meshtest.Await(t, "the proxy has the routes by address", func() bool {
			status, _, _ := sendOut(t, caller, "GET", fmt.Sprintf("http://198.51.100.7:%d/", plain), "", "host", "www.outside.test")
			return status != 200
		})
		ask(plain, "www.outside.test", "/", 432, "")
		for i := range 3 {
			m.Delete("RouteRule", fmt.Sprintf("by-address-%d", i))
		}

		// What Lateen says of such requests is what Envoy does.
		for host, route := range map[string]string{"www.outside.test": "default/www", "a.b.wild.test": "default/wild", "other.test": "<passed-on>"} {
			d, err := m.API.Decide(t.Context(), api.Decide{Proxy: caller.ID(), URL: fmt.Sprintf("http://%s:%d/abort", host, plain)})
			if taken := slices.IndexFunc(d.Candidates, func(c api.Candidate) bool { return c.Taken && c.Name == route }); err != nil || taken < 0 {
				t.Errorf("%s is explained with %+v, %v; want %s", host, d, err, route)
			}
		}

		// An address of the mesh is one also at a port that rules name.
		m.Apply(egress("same", "same.test", meshtest.ServicePort, "http"))
		for _, at := range []string{"reviews", reviews.Address} {
			if status, body, head := sendOut(t, caller, "GET", fmt.Sprintf("http://%s:%d/", at, meshtest.ServicePort), "", "host", "same.test"); status != 200 ||
				!strings.HasPrefix(body, "reviews-v1") || head.Get("seen-peer") == "" {
				t.Errorf("%s: %d %q, called by %q", at, status, body, head.Get("seen-peer"))
			}
		}

		// TLS is the proxy's where the rule says https, and the application's own passes.
		m.Apply(strings.Replace(egress("www", "www.outside.test", plain, "http"),
			"]}", fmt.Sprintf(", {port: %d, protocol: https}, {port: %d, protocol: https}]}", secure, wrong), 1))
		m.Apply(strings.Replace(egress("wild", "*.wild.test", plain, "http"), "]}", fmt.Sprintf(", {port: %d, protocol: https}]}", secure), 1))
		meshtest.Await(t, "the proxy has the routes for https", func() bool {
			status, _, _ := sendOut(t, caller, "GET", fmt.Sprintf("http://198.51.100.7:%d/abort", wrong), "", "host", "www.outside.test")
			return status == 418
		})
		ask(secure, "www.outside.test", "/", 200, "secure HTTP/2.0")
		ask(secure, "www.outside.test", "/abort", 418, "")
		ask(secure, "a.wild.test", "/", 200, "secure HTTP/2.0")
		ask(secure, "a.b.wild.test", "/", 503, "")
		ask(wrong, "www.outside.test", "/", 503, "")

		m.Delete("EgressRule", "www")
		ask(plain, "www.outside.test", "/abort", 200, "plain HTTP/1.1")
		ask(plain, "a.wild.test", "/abort", 418, "")

		// A rule for everything holds for every name for which there is no narrower one, a name without a dot too.
		m.Apply(egress("all", "*", plain, "http"))
		m.Apply(abortedOutside("all", "*"))
		meshtest.Await(t, "the proxy has the routes for everything", func() bool {
			status, _, _ := sendOut(t, caller, "GET", fmt.Sprintf("http://198.51.100.7:%d/abort", plain), "", "host", "other.test")
			return status == 418
		})
		for _, host := range []string{"other.test", "intranet", "reviews"} {
			ask(plain, host, "/", 200, "plain HTTP/1.1 "+host)
			ask(plain, host, "/abort", 418, "")
		}
		wantAlike(t, m, nil, caller)
	})
}
