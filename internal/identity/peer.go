package identity

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Peer is whom a certificate speaks for.
type Peer struct {
	ID       ID
	Workload string     // the instance it was given to, "reviews-v2-0.default"; "": it is no instance's
	Address  netip.Addr // of that instance; invalid: not known when it was given
	Further  netip.Addr // with Address: its address of the other family; invalid: it has none
}

// Addresses returns those that the peer has.
func (p Peer) Addresses() []netip.Addr {
	var all []netip.Addr
	for _, a := range []netip.Addr{p.Address, p.Further} {
		if a.IsValid() {
			all = append(all, a)
		}
	}
	return all
}

// String returns the ID with what is known of the instance behind it.
func (p Peer) String() string {
	text := p.ID.String()
	if p.Workload != "" {
		text += " " + p.Workload
	}
	var b strings.Builder
	b.WriteString(text)
	for _, a := range p.Addresses() {
		b.WriteString(" " + a.String())
	}
	return b.String()
}

// maxWorkload bounds the name of a workload in bytes: a pod's, a dot, and a namespace's (RFC 1123).
const maxWorkload = 253 + 1 + 63

// Check returns an error unless a certificate can speak for the peer.
func (p Peer) Check() error {
	if err := p.ID.Check(); err != nil {
		return err
	}
	for _, a := range p.Addresses() {
		if a.Is4In6() || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() {
			return fmt.Errorf("%s is no workload's address", a)
		}
	}
	if p.Further.IsValid() && (!p.Address.IsValid() || p.Further.Is4() == p.Address.Is4()) {
		return fmt.Errorf("%s is a further address of a workload that has none of another family", p.Further)
	}
	if p.Workload == "" {
		if p.Address.IsValid() {
			return errors.New("an address is a workload's, and there is none")
		}
		return nil
	}
	return p.checkWorkload()
}

// checkWorkload checks the name of the workload, which is one of DNS below its namespace.
func (p Peer) checkWorkload() error {
	name, ok := strings.CutSuffix(p.Workload, "."+p.ID.Namespace)
	if !ok || name == "" {
		return fmt.Errorf("workload %q is not of the namespace of %s", p.Workload, p.ID)
	}
	if len(p.Workload) > maxWorkload {
		return fmt.Errorf("the name of a workload has %d bytes: at most %d", len(p.Workload), maxWorkload)
	}
	for label := range strings.SplitSeq(p.Workload, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return fmt.Errorf("workload %q is no name of DNS", p.Workload)
		}
		for _, r := range label {
			if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' {
				return fmt.Errorf("workload %q: only a-z, 0-9, - and . can stand in it", p.Workload)
			}
		}
	}
	return nil
}
