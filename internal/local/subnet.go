package local

import (
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"syscall"
)

const (
	subnets         = 255 * 256 // 127.1.0 to 127.255.255: everything starts at 127.0
	subnetAddresses = 254
)

// Subnet is a 127.x.y.0/24 that belongs to one mesh while it runs.
type Subnet struct {
	prefix netip.Prefix
	claim  *claim
}

// ClaimSubnet claims a subnet that no other mesh on this machine has. It is the same one every time for the same
// name, unless another mesh has it.
func ClaimSubnet(name string) (*Subnet, error) {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(name))
	first := int(hash.Sum32() % subnets)
	for i := range subnets {
		n := (first+i)%subnets + 256
		prefix := netip.PrefixFrom(netip.AddrFrom4([4]byte{127, byte(n >> 8), byte(n), 0}), 24)
		c, err := makeClaim("subnet/" + prefix.String())
		switch {
		case err == nil:
			return &Subnet{prefix: prefix, claim: c}, nil
		case !errors.Is(err, errClaimed):
			return nil, fmt.Errorf("claim a subnet of 127.0.0.0/8: %w", err)
		}
	}
	return nil, errors.New("claim a subnet of 127.0.0.0/8: all are in use")
}

// Address returns the address number i, counted from 0 to 253; any other number is a mistake of the caller.
func (s *Subnet) Address(i int) netip.Addr {
	if i < 0 || i >= subnetAddresses {
		panic(fmt.Sprintf("local: address %d of a /24", i))
	}
	ip := s.prefix.Addr().As4()
	ip[3] = byte(i + 1)
	return netip.AddrFrom4(ip)
}

// Close gives the subnet back.
func (s *Subnet) Close() { s.claim.release() }

// errClaimed says that another process has the name.
var errClaimed = errors.New("claimed by another process")

// claim holds a name that only one process on the machine can have. It is an abstract Unix socket (unix(7)): the
// kernel keeps it apart by network namespace, as it does loopback addresses, across users, and gives it back when the
// process dies.
type claim struct {
	socket net.Listener
}

func makeClaim(name string) (*claim, error) {
	socket, err := net.Listen("unix", "@lateen/"+name)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, errClaimed
	case err != nil:
		return nil, err
	}
	return &claim{socket: socket}, nil
}

// release gives the name back.
func (c *claim) release() { _ = c.socket.Close() } // an abstract socket leaves nothing behind
