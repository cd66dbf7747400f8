package mesh

import (
	"maps"
	"net/netip"
	"slices"
)

// Address says to whom an IP address belongs. A snapshot finds it out from services, endpoints and workloads.
type Address struct {
	Services  []Host    `json:"services,omitempty"`  // whose own address it is, sorted
	Endpoints []Host    `json:"endpoints,omitempty"` // that have endpoints there, sorted
	Workloads []ProxyID `json:"workloads,omitempty"` // that have it, sorted
}

// Ranges are the networks in which the mesh's endpoints and workloads are, as far as one need know to tell them from the
// outside: each address stands for its widest surroundings of one owner, /16 (of IPv6 /48).
type Ranges struct {
	Networks []string       `json:"networks"` // in CIDR notation, sorted
	uses     map[string]int // addresses in each
}

const (
	rangeBits4 = 16
	rangeBits6 = 48
)

// ServiceAddresses are the addresses that services have of their own.
type ServiceAddresses struct {
	Networks []string `json:"networks"` // each as a network, "10.96.0.1/32", sorted
}

// Address returns to whom an IP address belongs, or nil.
func (s *Snapshot) Address(ip string) *Address { return part[Address](s, Key{KindAddress, ip}) }

// Ranges returns the networks in which the mesh is, or nil.
func (s *Snapshot) Ranges() *Ranges { return part[Ranges](s, Key{Kind: KindRanges}) }

// ServiceAddresses returns the addresses that services have, or nil.
func (s *Snapshot) ServiceAddresses() *ServiceAddresses {
	return part[ServiceAddresses](s, Key{Kind: KindServiceAddresses})
}

// indexAddresses makes the parts anew that follow from services, endpoints and workloads which the draft changes.
func (d *Draft) indexAddresses() {
	moved := map[string]*Address{} // those that change
	for k, now := range d.changed {
		before := d.base.shards[k.shard()][k]
		was, is := addressesOf(before), addressesOf(now)
		for ip := range was {
			if _, stays := is[ip]; !stays {
				d.address(moved, ip).set(k, false)
			}
		}
		for ip := range is {
			if _, known := was[ip]; !known {
				d.address(moved, ip).set(k, true)
			}
		}
	}
	uses := map[string]int{}
	owned := map[string]bool{} // addresses that become a service's, or no one's any more
	for ip, a := range moved {
		before := d.base.Address(ip)
		if had, has := before != nil && len(before.Services) > 0, len(a.Services) > 0; had != has {
			owned[ip] = has
		}
		uses[surroundings(ip)] += inMesh(a) - inMesh(before)
		if len(a.Services)+len(a.Endpoints)+len(a.Workloads) == 0 {
			a = nil
		}
		set(d, Key{KindAddress, ip}, a)
	}
	d.setRanges(uses)
	d.setServiceAddresses(owned)
}

// setServiceAddresses takes in the addresses that services have got, and leaves out those that they have no longer.
func (d *Draft) setServiceAddresses(owned map[string]bool) {
	if len(owned) == 0 {
		return
	}
	next := &ServiceAddresses{}
	if before := d.base.ServiceAddresses(); before != nil {
		next.Networks = slices.Clone(before.Networks)
	}
	for ip, has := range owned {
		a, err := netip.ParseAddr(ip)
		if err != nil {
			continue
		}
		next.Networks = member(next.Networks, netip.PrefixFrom(a, a.BitLen()).String(), has)
	}
	d.changed[Key{Kind: KindServiceAddresses}] = next
}

// address returns the address as the draft has it so far, to be changed.
func (d *Draft) address(moved map[string]*Address, ip string) *Address {
	a := moved[ip]
	if a == nil {
		a = &Address{}
		if before := d.base.Address(ip); before != nil {
			*a = Address{slices.Clone(before.Services), slices.Clone(before.Endpoints), slices.Clone(before.Workloads)}
		}
		moved[ip] = a
	}
	return a
}

// set adds or removes who has the address.
func (a *Address) set(k Key, has bool) {
	switch k.Kind {
	case KindService:
		a.Services = member(a.Services, Host(k.Name), has)
	case KindEndpoints:
		a.Endpoints = member(a.Endpoints, Host(k.Name), has)
	default:
		a.Workloads = member(a.Workloads, ProxyID(k.Name), has)
	}
}

// member returns a sorted list with the name in it, or without.
func member[T ~string](list []T, name T, in bool) []T {
	at, found := slices.BinarySearch(list, name)
	switch {
	case in && !found:
		return slices.Insert(list, at, name)
	case !in && found:
		return slices.Delete(list, at, at+1)
	default:
		return list
	}
}

// addressesOf returns the addresses that a part says something about, as they are written in canonical form.
func addressesOf(value any) map[string]struct{} {
	found := map[string]struct{}{}
	add := func(text string) {
		if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
			found[a.Unmap().String()] = struct{}{}
		}
	}
	switch v := value.(type) {
	case *Service:
		for _, a := range v.Addresses {
			add(a)
		}
	case *EndpointSet:
		for i := range v.Endpoints {
			add(v.Endpoints[i].Address)
			for _, a := range v.Endpoints[i].Further {
				add(a)
			}
		}
	case *Workload:
		for _, a := range v.Addresses() {
			add(a)
		}
	}
	return found
}

// inMesh counts an address in which something of the mesh runs.
func inMesh(a *Address) int {
	if a == nil || len(a.Endpoints)+len(a.Workloads) == 0 {
		return 0
	}
	return 1
}

// surroundings returns the network for which an address stands.
func surroundings(ip string) string {
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return ""
	}
	bits := rangeBits4
	if a.Is6() {
		bits = rangeBits6
	}
	return netip.PrefixFrom(a, bits).Masked().String()
}

// setRanges counts addresses of networks that came or went. The networks count as changed only when one comes or goes.
func (d *Draft) setRanges(more map[string]int) {
	before := d.base.Ranges()
	next := &Ranges{uses: map[string]int{}}
	if before != nil {
		maps.Copy(next.uses, before.uses)
	}
	moved := false
	for network, n := range more {
		if n == 0 {
			continue
		}
		moved = true
		if next.uses[network] += n; next.uses[network] == 0 {
			delete(next.uses, network)
		}
	}
	if !moved {
		return
	}
	next.Networks = slices.Sorted(maps.Keys(next.uses))
	k := Key{Kind: KindRanges}
	d.changed[k] = next
	if before != nil && slices.Equal(before.Networks, next.Networks) {
		d.quiet = append(d.quiet, k)
	}
}
