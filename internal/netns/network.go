package netns

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

const (
	// NodeAddress is the address of the test's own namespace on a [Network]: that of the node on which the pods are.
	NodeAddress = "10.244.0.1"
	// NodeAddress6 is its address of IPv6.
	NodeAddress6 = "fd00:244::1"

	bridge   = "pods"
	mostPods = 200
	// bridgeMAC is an address that nobody else has: one that is administered here (IEEE 802).
	bridgeMAC = "02:00:0a:f4:00:01"
	// highestUID is the highest user ID that processes in pods are given.
	highestUID = 65534
)

// Network joins pods by a bridge, as a node of Kubernetes does. The test's own namespace is that node: it has
// [NodeAddress] and [NodeAddress6], and all pods lead there what they send to addresses that they do not know.
type Network struct {
	t    testing.TB
	pods int
}

// NewNetwork makes a network without pods in the namespace of a test that runs in [Run]. It ends with the test. There is one
// in a namespace at most. It takes root and `ip` of iproute2.
func NewNetwork(t testing.TB) *Network {
	t.Helper()
	if os.Getenv(variable) == "" {
		t.Fatal("netns: NewNetwork: only a test that runs in netns.Run has a network to itself")
	}
	if !mapped(highestUID) {
		t.Fatal("netns: NewNetwork: processes in pods have users of their own, and this test may use only one\n" +
			"hint: run the tests as root")
	}
	n := &Network{t: t}
	// With an address of its own: else a bridge takes the lowest of those that joined it, and whoever joined before sends to the wrong one.
	n.ip("link", "add", bridge, "address", bridgeMAC, "type", "bridge")
	for _, f := range []Family{IPv4, IPv6} {
		n.ip(f.give(f.pod(0), bridge)...)
	}
	n.ip("link", "set", bridge, "up")
	t.Cleanup(func() { n.ip("link", "delete", bridge) })
	return n
}

// Outside gives the test's own namespace one more address, such as that of a host outside the cluster. Pods that have addresses of its
// family reach it.
func (n *Network) Outside(address string) {
	n.t.Helper()
	f, bits := IPv4, "/32"
	if strings.Contains(address, ":") {
		f, bits = IPv6, "/128"
	}
	n.ip(f.give(address+bits, bridge)...)
}

// Family is a family of addresses that pods can have.
type Family int

// The families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// node returns the node's address.
func (f Family) node() string {
	if f == IPv6 {
		return NodeAddress6
	}
	return NodeAddress
}

// pod returns the address of the pod with a number, with the size of the network; that of number 0 is the node's.
func (f Family) pod(number int) string {
	if f == IPv6 {
		return fmt.Sprintf("fd00:244::%x/64", 1+number)
	}
	return fmt.Sprintf("10.244.0.%d/24", 1+number)
}

// give returns the arguments of ip(8) that give an interface an address, which can be used at once.
func (f Family) give(address, interfaceName string) []string {
	args := []string{"address", "add", address, "dev", interfaceName}
	if f == IPv6 {
		args = append(args, "nodad") // nobody is asked whether another one has it
	}
	return args
}

// ip runs iproute2 in the test's own namespace.
func (n *Network) ip(args ...string) {
	n.t.Helper()
	if err := ip(args, (*exec.Cmd).Run); err != nil {
		n.t.Fatal(err)
	}
}

// ip runs iproute2 by means of run.
func ip(args []string, run func(*exec.Cmd) error) error {
	var said bytes.Buffer
	cmd := exec.Command("ip", args...)
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := run(cmd); err != nil {
		return fmt.Errorf("netns: ip %s: %w: %s (it is in the package iproute2)", strings.Join(args, " "), err, said.Bytes())
	}
	return nil
}

// mapped tells whether processes can be given the user IDs 0 to highest.
func mapped(highest int) bool {
	text, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return false
	}
	fields := strings.Fields(string(text))
	if len(fields) < 3 || fields[0] != "0" {
		return false
	}
	size, err := strconv.Atoi(fields[2])
	return err == nil && size > highest
}
