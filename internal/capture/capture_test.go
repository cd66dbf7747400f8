package capture_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lateen-mesh/lateen/internal/capture"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/netns"
)

// outside is the address of a host outside the cluster, virtual that of a service that no interface has; and the same of IPv6, as they
// stand before a port.
const (
	outside  = "198.51.100.7"
	virtual  = "10.96.0.10"
	outside6 = "[2001:db8::7]"
	virtual6 = "[fd00:96::10]"
	refused  = "refused"
)

// bound is how long a connection may take.
const bound = 10 * time.Second

// flavours are what can apply the rules: a backend, and which iptables it finds.
func flavours() map[string]capture.Backend {
	return map[string]capture.Backend{
		"nftables": capture.NFTables, "iptables": capture.IPTables, "iptables-legacy": capture.IPTables, "auto": capture.Auto,
	}
}

// inFlavours runs a test with everything that can apply rules, each in a network of its own.
func inFlavours(t *testing.T, f func(t *testing.T, b capture.Backend)) {
	t.Helper()
	for flavour, b := range flavours() {
		t.Run(flavour, func(t *testing.T) {
			t.Parallel()
			netns.Run(t, func(t *testing.T) {
				if flavour == "iptables-legacy" {
					onlyLegacy(t)
				}
				f(t, b)
			})
		})
	}
}

// onlyLegacy makes iptables-legacy the only iptables on PATH, in this process, which runs nothing but one test.
func onlyLegacy(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	for _, tool := range []string{"ip", "iptables-legacy-restore", "iptables-legacy-save", "ip6tables-legacy-restore", "ip6tables-legacy-save"} {
		path, err := exec.LookPath(tool)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(dir, tool)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Setenv("PATH", dir); err != nil { //nolint:usetesting // t.Setenv is not for tests that run in parallel
		t.Fatal(err)
	}
}

func testLog(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

// apply captures a pod's traffic, twice: the second time changes nothing.
func apply(t *testing.T, pod *netns.Pod, c capture.Config) {
	t.Helper()
	for range 2 {
		if err := pod.Do(func() error { return capture.Apply(t.Context(), c, testLog(t)) }); err != nil {
			t.Fatal(err)
		}
	}
}

// world is a pod whose traffic is captured, with others around it. Whoever takes a connection says who it is and what was dialled.
type world struct {
	t          *testing.T
	pod, other *netns.Pod
}

func newWorld(t *testing.T) *world {
	t.Helper()
	n := netns.NewNetwork(t)
	n.Outside(outside)
	n.Outside(strings.Trim(outside6, "[]"))
	w := &world{t: t, pod: n.Pod("web", netns.IPv4, netns.IPv6), other: n.Pod("shop", netns.IPv4, netns.IPv6)}
	for port, name := range map[int]string{
		mesh.OutboundPort: "outbound", mesh.InboundPort: "inbound", mesh.AgentMetricsPort: "metrics", mesh.AgentHealthPort: "health",
		9080: "application", 53: "application", 9090: "application",
	} {
		go answer(w.pod.Listen(fmt.Sprintf(":%d", port)), name)
		go answer(w.other.Listen(fmt.Sprintf(":%d", port)), "other "+name)
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", fmt.Sprintf(":%d", port))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go answer(l, "outside")
	}
	return w
}

// side is what is where in one family of addresses. All but the last stand before ports.
type side struct{ self, peer, outside, virtual, loopback, fromProxy string }

// sides are those of both families.
func (w *world) sides() []side {
	in := func(a string) string { return "[" + a + "]" }
	return []side{
		{w.pod.Addresses[0], w.other.Addresses[0], outside, virtual, "127.0.0.1", mesh.FromProxyIPv4},
		{in(w.pod.Addresses[1]), in(w.other.Addresses[1]), outside6, virtual6, in("::1"), mesh.FromProxyIPv6},
	}
}

// answer tells each connection who has it and what was dialled.
func answer(l net.Listener, name string) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		fmt.Fprintf(conn, "%s %s", name, dialled(conn.(*net.TCPConn)))
		conn.Close()
	}
}

// dialled returns the address that a connection was made to, before it was redirected (SO_ORIGINAL_DST).
func dialled(conn *net.TCPConn) string {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err.Error()
	}
	local := conn.LocalAddr().(*net.TCPAddr).AddrPort()
	address := netip.AddrPortFrom(local.Addr().Unmap(), local.Port()).String()
	_ = raw.Control(func(fd uintptr) { // without an answer it was not redirected
		if !local.Addr().Unmap().Is4() { // the option has the same number there, and what is told of a path begins with sockaddr_in6
			if option, err := unix.GetsockoptIPv6MTUInfo(int(fd), unix.IPPROTO_IPV6, unix.SO_ORIGINAL_DST); err == nil {
				port := option.Addr.Port<<8 | option.Addr.Port>>8
				address = netip.AddrPortFrom(netip.AddrFrom16(option.Addr.Addr), port).String()
			}
			return
		}
		// sockaddr_in has the size of an option that package unix knows.
		option, err := unix.GetsockoptIPv6Mreq(int(fd), unix.IPPROTO_IP, unix.SO_ORIGINAL_DST)
		if err == nil {
			a := option.Multiaddr
			address = netip.AddrPortFrom(netip.AddrFrom4([4]byte(a[4:8])), uint16(a[2])<<8|uint16(a[3])).String()
		}
	})
	return address
}

// hear dials and returns what it is told, or that it was refused.
func hear(ctx context.Context, dial func(context.Context, string, string) (net.Conn, error), address string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	conn, err := dial(ctx, "tcp", address)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return refused, nil
	}
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(bound)); err != nil {
		return "", err
	}
	text, err := io.ReadAll(conn)
	return string(text), err
}

// as returns a function that dials out of a pod as a user, from an address if there is one.
func as(pod *netns.Pod, user int, from string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		var d net.Dialer
		if from != "" {
			d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
		}
		err = pod.DoAs(user, func() (err error) {
			conn, err = d.DialContext(ctx, network, address)
			return err
		})
		return conn, err
	}
}

// call is one connection, and who takes it.
type call struct {
	why     string
	dial    func(context.Context, string, string) (net.Conn, error)
	address string
	want    string
}

func (w *world) check(calls []call) {
	w.t.Helper()
	for _, c := range calls {
		got, err := hear(w.t.Context(), c.dial, c.address)
		if err != nil || got != c.want {
			w.t.Errorf("%s: %s was answered by %q (%v), want %q", c.why, c.address, got, err, c.want)
		}
	}
}

// TestWhatIsRedirected shows for connections of all kinds who takes them, and that their destination is not lost.
func TestWhatIsRedirected(t *testing.T) {
	t.Parallel()
	inFlavours(t, func(t *testing.T, b capture.Backend) {
		w := newWorld(t)
		apply(t, w.pod, capture.Config{Backend: b})
		app, proxy, others := as(w.pod, 0, ""), as(w.pod, mesh.ProxyUser, ""), as(w.other, 0, "")
		node := new(net.Dialer).DialContext
		w.check([]call{{"another loopback address", app, "127.1.2.3:9080", "application 127.1.2.3:9080"}})
		for _, s := range w.sides() {
			self, peer, outside, virtual, loopback := s.self, s.peer, s.outside, s.virtual, s.loopback
			w.check([]call{
				{"a service", app, virtual + ":9080", "outbound " + virtual + ":9080"},
				{"a host outside", app, outside + ":9080", "outbound " + outside + ":9080"},
				{"another pod", app, peer + ":9080", "outbound " + peer + ":9080"},
				{"the agent of another pod", app, peer + ":15021", "outbound " + peer + ":15021"},
				{"its own pod", app, self + ":9080", "outbound " + self + ":9080"},
				{"an application of some other user", as(w.pod, 1000, ""), virtual + ":80", "outbound " + virtual + ":80"},
				{"loopback", app, loopback + ":9080", "application " + loopback + ":9080"},
				{"DNS", app, outside + ":53", "outside " + outside + ":53"},
				{"the proxy itself, by loopback", app, loopback + ":15001", refused},
				{"the proxy itself, by loopback, inbound", app, loopback + ":15006", refused},
				{"the proxy itself", app, self + ":15001", refused},
				{"the proxy itself, inbound", app, self + ":15006", refused},

				{"the proxy calls a host outside", proxy, outside + ":9080", "outside " + outside + ":9080"},
				{"the proxy calls another pod", proxy, peer + ":9080", "other application " + peer + ":9080"},
				{"the proxy calls its own workload", proxy, self + ":9080", "inbound " + self + ":9080"},
				{"the proxy calls its own agent", proxy, self + ":15020", "metrics " + self + ":15020"},
				{"the proxy calls itself", proxy, self + ":15006", refused},
				{"the proxy calls loopback", proxy, loopback + ":9080", "application " + loopback + ":9080"},
				{"the proxy hands over", as(w.pod, mesh.ProxyUser, s.fromProxy), self + ":9080", "application " + self + ":9080"},
				{"the proxy hands over to itself", as(w.pod, mesh.ProxyUser, s.fromProxy), self + ":15006", refused},
				{"an application that says it is the proxy", as(w.pod, 0, s.fromProxy), self + ":9080", "outbound " + self + ":9080"},

				{"others", others, self + ":9080", "inbound " + self + ":9080"},
				{"others, where nobody listens", others, self + ":4", "inbound " + self + ":4"},
				{"the node", node, self + ":9080", "inbound " + self + ":9080"},
				{"metrics", others, self + ":15020", "metrics " + self + ":15020"},
				{"health", node, self + ":15021", "health " + self + ":15021"},
				{"others dial the proxy", others, self + ":15001", refused},
				{"others dial the proxy, inbound", others, self + ":15006", refused},
			})
		}
	})
}

// TestWhatIsIncluded shows that only what goes to some networks is redirected, and what comes, but for some ports.
func TestWhatIsIncluded(t *testing.T) {
	t.Parallel()
	inFlavours(t, func(t *testing.T, b capture.Backend) {
		w := newWorld(t)
		apply(t, w.pod, capture.Config{Backend: b}) // and is replaced
		apply(t, w.pod, capture.Config{
			Backend: b, Keep: []uint16{9090}, ProxyUID: 2000,
			Include: []netip.Prefix{
				netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("10.244.0.3/32"),
				netip.MustParsePrefix("fd00:96::/108"), netip.MustParsePrefix("fd00:244::3/128"),
			},
		})
		app, others := as(w.pod, 0, ""), as(w.other, 0, "")
		for _, s := range w.sides() {
			self, peer, outside, virtual := s.self, s.peer, s.outside, s.virtual
			w.check([]call{
				{"a service", app, virtual + ":9080", "outbound " + virtual + ":9080"},
				{"an address", app, peer + ":9080", "outbound " + peer + ":9080"},
				{"a host outside", app, outside + ":9080", "outside " + outside + ":9080"},
				{"its own pod", app, self + ":9080", "application " + self + ":9080"},
				{"the proxy", as(w.pod, 2000, ""), peer + ":9080", "other application " + peer + ":9080"},
				{"no proxy any more", as(w.pod, mesh.ProxyUser, ""), peer + ":9080", "outbound " + peer + ":9080"},
				{"others", others, self + ":9080", "inbound " + self + ":9080"},
				{"others, to a port that is kept", others, self + ":9090", "application " + self + ":9090"},
				{"others, to one that is not", others, self + ":15020", "inbound " + self + ":15020"},
			})
		}
	})
}

// TestPacketsPass shows that UDP goes where it is sent, in both directions.
func TestPacketsPass(t *testing.T) {
	t.Parallel()
	inFlavours(t, func(t *testing.T, b capture.Backend) {
		n := netns.NewNetwork(t)
		pod, other := n.Pod("web"), n.Pod("dns")
		apply(t, pod, capture.Config{Backend: b})
		for _, port := range []string{":53", ":15001", ":15006", ":9080"} {
			here, there := pod.ListenPacket(port), other.ListenPacket(port)
			echo(t, here, there, other.Address+port)
			echo(t, there, here, pod.Address+port)
		}
	})
}

// echo sends a packet to an address and back to where it comes from.
func echo(t *testing.T, from, to net.PacketConn, address string) {
	t.Helper()
	target, err := net.ResolveUDPAddr("udp4", address)
	if err != nil {
		t.Fatal(err)
	}
	var buffer [16]byte
	for _, c := range []net.PacketConn{from, to} {
		if err := c.SetDeadline(time.Now().Add(bound)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := from.WriteTo([]byte("there"), target); err != nil {
		t.Fatal(err)
	}
	n, sender, err := to.ReadFrom(buffer[:])
	if err != nil || string(buffer[:n]) != "there" {
		t.Fatalf("%s received %q (%v)", address, buffer[:n], err)
	}
	if _, err := to.WriteTo([]byte("back"), sender); err != nil {
		t.Fatal(err)
	}
	n, sender, err = from.ReadFrom(buffer[:])
	if err != nil || string(buffer[:n]) != "back" || sender.String() != address {
		t.Errorf("%q came back from %v (%v), want it from %s", buffer[:n], sender, err, address)
	}
}
