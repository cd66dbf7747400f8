package meshtest_test

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/netns"
)

// Where nobody says from which networks services have their addresses, as when only some namespaces are read, addresses among theirs
// may be those of services that the mesh does not know: what goes there passes untouched. Those that it knows are steered, also when
// they come later, and connections that are open do not mind.
func TestCapturedServicesUnknown(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		m := meshtest.NewCaptured(t, meshtest.Config{})
		m.Set(func(s *mesh.Settings) { s.ServiceRanges = nil })
		const elsewhere = "10.96.0.3" // between those of the mesh
		m.Network().Outside(elsewhere)
		listen := func(port int) net.Listener {
			l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", fmt.Sprintf("%s:%d", elsewhere, port))
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
		m.Serve(listen(9080), mirrored("elsewhere")(nil))
		sayWhoCalls(listen(9090), "elsewhere")
		db := m.StartSpec(bytesSpec("db", "v1"))
		sayWhoCalls(db.Pod().Listen(":9090"), "db")
		caller := m.CapturedCaller("shop", nil)
		passes := func(when string) {
			t.Helper()
			status, body, head := sendOut(t, caller, "GET", "http://"+elsewhere+":9080/", "", "x-lateen-dst", "mine")
			if status != 200 || body != "elsewhere "+elsewhere+":9080 " || head.Get("seen-dst") != "mine" || head.Get("seen-peer") != "" {
				t.Errorf("%s: a request: %d %q %v", when, status, body, head)
			}
			if got, want := dialLine(t, caller.Pod(), elsewhere+":9090", ""), "elsewhere to "+caller.Address; got != want {
				t.Errorf("%s: bytes: %q, want %q", when, got, want)
			}
		}
		passes("at first")
		open, err := caller.DialFrom(m.ServiceAddress("db") + ":9090")
		if err != nil {
			t.Fatal(err)
		}
		defer open.Close()
		answers := bufio.NewReader(open)
		if line, err := answers.ReadString('\n'); !strings.HasPrefix(line, "db ") {
			t.Fatalf("%q, %v", line, err)
		}

		m.StartSpec(capturedSpec("reviews", "v1", mirrored("reviews-v1")))
		m.StartSpec(capturedSpec("reviews", "v2", mirrored("reviews-v2")))
		m.Apply(toVersion("reviews", "v2"))
		if status, body, head := sendOut(t, caller, "GET", "http://reviews:9080/", ""); status != 200 || !strings.HasPrefix(body, "reviews-v2") || head.Get("seen-peer") == "" {
			t.Errorf("a service that has come: %d %q", status, body)
		}
		if status, _, _ := sendOut(t, caller, "GET", "http://"+m.ServiceAddress("reviews")+":9999/", ""); status != 0 {
			t.Errorf("a port that no service has: %d", status)
		}
		passes("beside another service")
		if _, err := open.Write([]byte("still\n")); err != nil {
			t.Error(err)
		}
		if line, err := answers.ReadString('\n'); line != "still\n" {
			t.Errorf("the connection from before: %q, %v", line, err)
		}
		m.Stop()
		passes("without a control plane")
	})
}
