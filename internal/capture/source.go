package capture

import (
	"fmt"
	"net"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// loopback is the interface of what stays on the host.
const loopback = "lo"

// onLoopback returns the addresses of the loopback interface in the network namespace that the calling thread is in.
func onLoopback() (map[netip.Addr]bool, error) {
	lo, err := net.InterfaceByName(loopback)
	if err != nil {
		return nil, err
	}
	list, err := lo.Addrs()
	if err != nil {
		return nil, err
	}
	all := map[netip.Addr]bool{}
	for _, a := range list {
		if network, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(network.IP); ok {
				all[ip.Unmap()] = true
			}
		}
	}
	return all, nil
}

// hasIPv6 tells whether there is IPv6 in the network namespace that the calling thread is in.
func hasIPv6() bool {
	all, err := onLoopback()
	return err == nil && all[netip.IPv6Loopback()]
}

// missingSources returns the source addresses of what a proxy hands to its application that are to be given to the host. Those of
// IPv4 it has, as it has all of its loopback network.
func missingSources(tables []Table) ([]netip.Addr, error) {
	known, err := onLoopback()
	if err != nil {
		return nil, fmt.Errorf("the addresses of the loopback interface: %w", err)
	}
	var missing []netip.Addr
	for _, t := range tables {
		own := addressesOf(t.Family)
		if source := own.fromProxy.Addr(); !own.loopback.Contains(source) && !known[source] {
			missing = append(missing, source)
		}
	}
	return missing, nil
}

// giveSources gives the loopback interface the source addresses that are missing.
func giveSources(tables []Table) error {
	missing, err := missingSources(tables)
	if err != nil {
		return err
	}
	for _, a := range missing {
		if err := giveAddress(a); err != nil {
			return &failure{fmt.Errorf("give the loopback interface the address %s: %w", a, err), "IPv6 must not be turned off in the pod " +
				"(sysctl net.ipv6.conf.lo.disable_ipv6): with --addresses and addresses of IPv4 alone it is not captured"}
		}
	}
	return nil
}

// checkSources looks whether some are missing.
func checkSources(tables []Table) error {
	missing, err := missingSources(tables)
	if err == nil && len(missing) > 0 {
		err = fmt.Errorf("the loopback interface has not the address %s", missing[0])
	}
	return err
}

// giveAddress gives the loopback interface an address of IPv6 (netdevice(7), ipv6(7)).
func giveAddress(a netip.Addr) error {
	socket, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	lo, err := net.InterfaceByName(loopback)
	if err != nil {
		return err
	}
	request := struct { // in6_ifreq
		address [16]byte
		bits    uint32
		index   int32
	}{a.As16(), uint32(a.BitLen()), int32(lo.Index)} //nolint:gosec // an interface's number is one of the kernel's int
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(socket), unix.SIOCSIFADDR, uintptr(unsafe.Pointer(&request))) //nolint:gosec // there is no other way in
	if errno != 0 && errno != unix.EEXIST {
		return errno
	}
	return nil
}

// familiesOf returns the families of some tables, for people.
func familiesOf(tables []Table) string {
	var all familiesValue
	for _, t := range tables {
		all = append(all, t.Family)
	}
	return all.String()
}
