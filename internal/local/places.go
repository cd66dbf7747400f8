package local

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// controlPlaneNumber is that of the control plane's address in the subnet; no instance has it.
const controlPlaneNumber = 0

// places gives instances their addresses and ports.
type places struct {
	subnet *Subnet
	ports  *ports
	used   map[int]bool // numbers of addresses
}

func newPlaces(s *Subnet) *places {
	return &places{subnet: s, ports: newPorts(), used: map[int]bool{controlPlaneNumber: true}}
}

// controlPlane returns where the control plane answers proxies: on the address that is its own, unless something has the
// port on every address.
func (p *places) controlPlane() (netip.AddrPort, error) {
	address := p.subnet.Address(controlPlaneNumber)
	port, err := listenPort(address, securePort, map[int]bool{})
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("where the control plane answers: %w", err)
	}
	return netip.AddrPortFrom(address, uint16(port)), nil
}

// give returns an instance of the workload with the first address that is free. What runs already needs none.
func (p *places) give(w *Workload, ordinal int) (*Instance, error) {
	i := &Instance{
		Name: instanceName(w, ordinal), Ordinal: ordinal, Workload: w, Listen: map[string]int{}, Ports: map[string]int{},
	}
	if w.external() {
		return i, nil
	}
	number := 0
	for p.used[number] {
		number++
	}
	if number >= subnetAddresses {
		return nil, errors.New("all addresses of the mesh are in use")
	}
	p.used[number], i.number, i.Address = true, number, p.subnet.Address(number)
	if w.Type == mesh.Ingress {
		i.Outbound = w.Door.Port
		return i, nil
	}
	var err error
	for _, port := range w.Ports {
		if i.Ports[port.Name], err = p.ports.take(); err != nil {
			return nil, err
		}
	}
	if w.Type == mesh.Proxyless {
		return i, nil
	}
	taken := map[int]bool{}
	for _, port := range w.Ports {
		if i.Listen[port.Name], err = listenPort(i.Address, port.Number, taken); err != nil {
			return nil, err
		}
	}
	if i.Outbound, err = listenPort(i.Address, outboundPort, taken); err != nil {
		return nil, err
	}
	i.Upstream = make([]int, len(w.Upstreams))
	for n, u := range w.Upstreams {
		if i.Upstream[n], err = listenPort(i.Address, u.Port, taken); err != nil {
			return nil, err
		}
	}
	return i, nil
}

// takeBack takes the address and ports of an instance that has ended.
func (p *places) takeBack(i *Instance) {
	if i.Address.IsValid() {
		delete(p.used, i.number)
	}
	for _, port := range i.Ports {
		p.ports.release(port)
	}
}
