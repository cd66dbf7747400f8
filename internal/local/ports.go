package local

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
)

// Applications get ports below those that the kernel gives to outgoing connections, so that no connection can take
// an application's port between two of its starts.
const (
	firstPort       = 20000
	leastPorts      = 1000 // a smaller range is not worth while
	outboundPort    = 15001
	securePort      = 15012 // where the control plane answers
	kernelPortRange = "/proc/sys/net/ipv4/ip_local_port_range"
)

// ports hands out ports, each once while it is in use, and none that another Lateen on this machine has handed out.
// Other programs may take one between the check and its use: then the application says so, and is started again.
type ports struct {
	mu    sync.Mutex
	given map[int]*claim
}

func newPorts() *ports { return &ports{given: map[int]*claim{}} }

// take returns a port that is free on every address.
func (p *ports) take() (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	low := ephemeralStart()
	if low < firstPort+leastPorts {
		low = 1 << 15
	}
	size := low - firstPort
	first := rand.IntN(size)
	for i := range size {
		port := firstPort + (first+i)%size
		if p.given[port] != nil || !portFree("", port) {
			continue
		}
		c, err := makeClaim("port/" + strconv.Itoa(port))
		if errors.Is(err, errClaimed) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("find a free port: %w", err)
		}
		p.given[port] = c
		return port, nil
	}
	return 0, fmt.Errorf("find a free port: all from %d to %d are in use", firstPort, low-1)
}

// release gives a port back.
func (p *ports) release(port int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.given[port]; c != nil {
		c.release()
		delete(p.given, port)
	}
}

// listenPort returns the port at which a proxy can listen on the address: the wanted one, or the next that is free
// if this user may not listen on it or a program has it on every address. Those in taken are not used.
func listenPort(address netip.Addr, want int, taken map[int]bool) (int, error) {
	for port := want; port < 1<<16; port++ {
		if port < 1024 && port != want {
			port = 1024 + want
		}
		if !taken[port] && portFree(address.String(), port) {
			taken[port] = true
			return port, nil
		}
	}
	return 0, fmt.Errorf("no port from %d on is free on %s", want, address)
}

// portFree tells whether this user may listen there; no address means every address.
func portFree(address string, port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort(address, strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

// ephemeralStart returns the first of the ports that the kernel gives to outgoing connections, 0 when not known.
func ephemeralStart() int {
	text, err := os.ReadFile(kernelPortRange)
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	if len(fields) != 2 {
		return 0
	}
	first, err := strconv.Atoi(fields[0])
	if err != nil {
		return 0
	}
	return first
}
