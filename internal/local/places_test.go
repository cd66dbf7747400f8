package local

import (
	"net"
	"net/netip"
	"strconv"
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// The same name gives the same subnet, as long as nobody else has it; nobody gets one that is in use.
func TestSubnet(t *testing.T) {
	name := t.Name() + t.TempDir()
	first, err := ClaimSubnet(name)
	if err != nil {
		t.Fatal(err)
	}
	second, err := ClaimSubnet(name)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if first.prefix == second.prefix {
		t.Errorf("%v was given twice", first.prefix)
	}
	first.Close()
	again, err := ClaimSubnet(name)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if again.prefix != first.prefix {
		t.Errorf("%v at first, and then %v", first.prefix, again.prefix)
	}
	for _, n := range []int{0, 253} {
		ip := first.Address(n)
		if !first.prefix.Contains(ip) || int(ip.As4()[3]) != n+1 || ip.As4()[0] != 127 || ip.As4()[1] == 0 {
			t.Errorf("address %d of %v is %v", n, first.prefix, ip)
		}
		if l, err := net.Listen("tcp", net.JoinHostPort(ip.String(), "0")); err != nil {
			t.Error(err)
		} else {
			l.Close()
		}
	}
}

// A port is given once, to one process, is free on every address, and is none that connections take.
func TestPorts(t *testing.T) {
	one, two := newPorts(), newPorts()
	given := map[int]bool{}
	for range 20 {
		for _, p := range []*ports{one, two} {
			port, err := p.take()
			if err != nil {
				t.Fatal(err)
			}
			if given[port] || port < firstPort || port >= 1<<16 {
				t.Errorf("port %d", port)
			}
			if first := ephemeralStart(); first > firstPort+leastPorts && port >= first {
				t.Errorf("port %d may be taken by a connection", port)
			}
			given[port] = true
			l, err := net.Listen("tcp", ":"+strconv.Itoa(port))
			if err != nil {
				t.Fatal(err)
			}
			l.Close()
			t.Cleanup(func() { p.release(port) })
		}
	}
}

func TestListenPort(t *testing.T) {
	subnet, err := ClaimSubnet(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer subnet.Close()
	ip := subnet.Address(0)
	busy, err := net.Listen("tcp", net.JoinHostPort(ip.String(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	used := busy.Addr().(*net.TCPAddr).Port
	taken := map[int]bool{}
	if port, err := listenPort(ip, used, taken); err != nil || port <= used || !portFree(ip.String(), port) {
		t.Errorf("instead of %d: %d %v", used, port, err)
	}
	free, err := listenPort(ip, 15001, taken)
	if err != nil {
		t.Fatal(err)
	}
	if port, err := listenPort(ip, free, taken); err != nil || port <= free {
		t.Errorf("%d is taken, and then comes %d %v", free, port, err)
	}
	if _, err := listenPort(netip.MustParseAddr("192.0.2.1"), 65000, taken); err == nil {
		t.Error("a port on an address of others")
	}
}

// The control plane has an address of its own, and the port that is documented where that is free.
func TestControlPlaneHasItsPlace(t *testing.T) {
	subnet, err := ClaimSubnet(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer subnet.Close()
	p := newPlaces(subnet)
	at, err := p.controlPlane()
	if err != nil {
		t.Fatal(err)
	}
	if at.Addr().As4()[3] != 1 || at.Port() < securePort || at.Port() != securePort && portFree(at.Addr().String(), securePort) {
		t.Errorf("the control plane answers on %s", at)
	}
	busy, err := net.Listen("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	if again, err := p.controlPlane(); err != nil || again.Port() <= at.Port() {
		t.Errorf("with a stranger there it answers on %s, %v", again, err)
	}
	w := &Workload{Name: "web-v1", Type: mesh.Proxyless}
	seen := map[netip.Addr]bool{at.Addr(): true}
	for n := range subnetAddresses - 1 {
		i, err := p.give(w, n)
		if err != nil {
			t.Fatal(err)
		}
		if seen[i.Address] || !subnet.prefix.Contains(i.Address) {
			t.Errorf("instance %d has %s", n, i.Address)
		}
		seen[i.Address] = true
	}
	if i, err := p.give(w, subnetAddresses); err == nil {
		t.Errorf("one too many has %s", i.Address)
	}
	if 2*mostInstances > subnetAddresses-1 {
		t.Errorf("%d instances cannot all be replaced", mostInstances)
	}
}
