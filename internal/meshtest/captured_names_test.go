package meshtest_test

import (
	"net"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/netns"
)

// What decides where a captured request goes is the address that was dialled. So a name that two namespaces have leads each caller to its
// own service, with its own rules, as its DNS has it; and one port is HTTP for one service and bytes for another.
func TestCapturedSameNames(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		m := meshtest.NewCaptured(t, meshtest.Config{})
		here := capturedSpec("reviews", "v1", mirrored("here-v1"))
		there := capturedSpec("reviews", "v1", mirrored("there-v1"))
		there.Namespace = "other"
		m.StartSpec(here)
		m.StartSpec(there)
		here.Version, here.Ports[0].App = "v2", mirrored("here-v2")
		there.Version, there.Ports[0].App = "v2", mirrored("there-v2")
		m.StartSpec(here)
		m.StartSpec(there)
		db := m.StartSpec(meshtest.Spec{
			Service: "db", Version: "v1", Capture: true, Ports: []meshtest.SpecPort{{Name: "tcp", Number: meshtest.ServicePort}},
		})
		sayWhoCalls(db.Pod().Listen(":9080"), "db")
		caller := m.CapturedCaller("shop", nil)
		m.Apply(toVersion("reviews", "v1"))
		m.Apply(strings.Replace(toVersion("reviews", "v2"), "{name: reviews}\n", "{name: reviews, namespace: other}\n", 1))
		for host, want := range map[mesh.Host]string{
			meshtest.HostOf("reviews"): "here-v1", mesh.ServiceHost("reviews", "other", meshtest.Domain): "there-v2",
		} {
			for range 4 {
				target := "http://" + m.AddressesOf(host)[0] + ":9080/"
				status, body, _ := sendOut(t, caller, "GET", target, "", "host", "reviews:9080")
				if status != 200 || body != want+" reviews:9080 " {
					t.Errorf("reviews as %s: %d %q, want %s", host, status, body, want)
				}
			}
		}
		for _, say := range []string{"", "hello\n"} { // the server speaks first, or the client
			if got := dialLine(t, caller.Pod(), m.ServiceAddress("db")+":9080", say); got != "db to 127.0.0.6" {
				t.Errorf("bytes %q on a port that is one for requests elsewhere: %q", say, got)
			}
		}
	})
}

// Pods of a headless service are called by names of their own, which their DNS makes addresses of pods: each of them is reached, and
// proves who it is. A service that stands for a name outside leads there, whatever that host makes of the name.
func TestCapturedPodNames(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		m := meshtest.NewCaptured(t, meshtest.Config{})
		m.Set(func(s *mesh.Settings) { s.AuthPolicy = mesh.AuthMutualTLS })
		pods := map[string]*meshtest.Instance{}
		for _, name := range []string{"web-0", "web-1"} {
			spec := capturedSpec("web", name, mirrored(name))
			spec.Headless = true
			pods[name] = m.StartSpec(spec)
		}
		m.Edit(func(r *mesh.Registry) {
			r.Services = append(r.Services, &mesh.Service{
				Host: meshtest.HostOf("mail"), Name: "mail", Namespace: meshtest.Namespace, External: "mail.example.com",
				Ports: []mesh.Port{{Name: "http", Number: 8080, Protocol: mesh.HTTP}},
			})
		})
		const outside = "198.51.100.7"
		m.Network().Outside(outside)
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", outside+":8080")
		if err != nil {
			t.Fatal(err)
		}
		m.Serve(l, mirrored("mail")(nil))
		caller := m.CapturedCaller("shop", nil)
		for name, pod := range pods {
			host := name + ".web.default.svc.cluster.local:9080"
			status, body, head := sendOut(t, caller, "GET", "http://"+pod.Address+":9080/", "", "host", host)
			if status != 200 || body != name+" "+host+" " || !strings.Contains(head.Get("seen-peer"), "spiffe://") {
				t.Errorf("%s: %d %q of a caller %q", host, status, body, head.Get("seen-peer"))
			}
		}
		status, body, _ := sendOut(t, caller, "GET", "http://"+outside+":8080/", "", "host", "mail.default.svc.cluster.local:8080")
		if status != 200 || body != "mail mail.default.svc.cluster.local:8080 " {
			t.Errorf("a service that is a name outside: %d %q", status, body)
		}
	})
}
