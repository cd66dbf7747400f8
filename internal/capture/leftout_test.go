package capture_test

import (
	"net/netip"
	"testing"

	"github.com/lateen-mesh/lateen/internal/capture"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// TestWhatIsLeftOut shows that networks and ports which are left out are not redirected, though all around them are.
func TestWhatIsLeftOut(t *testing.T) {
	t.Parallel()
	inFlavours(t, func(t *testing.T, b capture.Backend) {
		w := newWorld(t)
		apply(t, w.pod, capture.Config{Backend: b}) // and is replaced
		apply(t, w.pod, capture.Config{
			Backend: b, Pass: []uint16{9090}, Take: []uint16{9080, 53}, Keep: []uint16{mesh.AgentMetricsPort, mesh.AgentHealthPort, 53},
			Exclude: []netip.Prefix{
				netip.MustParsePrefix(outside + "/32"), netip.MustParsePrefix("192.0.2.128/25"), netip.MustParsePrefix("2001:db8::/33"),
			},
		})
		app, proxy, others := as(w.pod, 0, ""), as(w.pod, mesh.ProxyUser, ""), as(w.other, 0, "")
		for _, s := range w.sides() {
			self, peer, outside, virtual := s.self, s.peer, s.outside, s.virtual
			w.check([]call{
				{"a host in an excluded network", app, outside + ":9080", "outside " + outside + ":9080"},
				{"a service", app, virtual + ":9080", "outbound " + virtual + ":9080"},
				{"another pod", app, peer + ":9080", "outbound " + peer + ":9080"},
				{"a port that is left out", app, peer + ":9090", "other application " + peer + ":9090"},
				{"its own pod, a port that is left out", app, self + ":9090", "application " + self + ":9090"},
				{"its own pod", app, self + ":9080", "outbound " + self + ":9080"},

				{"others, to a port that is taken", others, self + ":9080", "inbound " + self + ":9080"},
				{"others, to one that is not", others, self + ":9090", "application " + self + ":9090"},
				{"others, to one that is taken and left out", others, self + ":53", "application " + self + ":53"},
				{"others, where nobody listens", others, self + ":4", refused},
				{"others dial the proxy", others, self + ":15001", refused},
				{"others dial the proxy, inbound", others, self + ":15006", refused},
				{"the proxy calls its own workload", proxy, self + ":9080", "inbound " + self + ":9080"},
				{"the proxy calls a port that is not taken", proxy, self + ":9090", "application " + self + ":9090"},
				{"the proxy calls one that is left out", proxy, self + ":53", "application " + self + ":53"},
			})
		}
		apply(t, w.pod, capture.Config{
			Backend: b, Include: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("fd00:96::/108")}, Send: []uint16{9080},
			Exclude: []netip.Prefix{netip.MustParsePrefix(outside + "/32"), netip.MustParsePrefix("2001:db8::7/128")},
		})
		for _, s := range w.sides() {
			peer, outside, virtual := s.peer, s.outside, s.virtual
			w.check([]call{
				{"a service", app, virtual + ":80", "outbound " + virtual + ":80"},
				{"a port that is taken wherever it is", app, peer + ":9080", "outbound " + peer + ":9080"},
				{"another one", app, peer + ":9090", "other application " + peer + ":9090"},
				{"a port that is taken, in an excluded network", app, outside + ":9080", "outside " + outside + ":9080"},
			})
		}
		everywhere := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
		apply(t, w.pod, capture.Config{Backend: b, Exclude: everywhere, Take: []uint16{}})
		for _, s := range w.sides() {
			self, peer := s.self, s.peer
			w.check([]call{
				{"nothing goes out through the proxy", app, peer + ":9080", "other application " + peer + ":9080"},
				{"nothing comes in through it", others, self + ":9080", "application " + self + ":9080"},
				{"not even what it sends itself", proxy, self + ":9080", "application " + self + ":9080"},
				{"and nobody dials it", others, self + ":15006", refused},
			})
		}
		apply(t, w.pod, capture.Config{Backend: b, Exclude: everywhere, Send: []uint16{9080}})
		for _, s := range w.sides() {
			peer := s.peer
			w.check([]call{
				{"only one port goes out through the proxy", app, peer + ":9080", "outbound " + peer + ":9080"},
				{"others do not", app, peer + ":9090", "other application " + peer + ":9090"},
			})
		}
	})
}
