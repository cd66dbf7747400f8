// Package capture redirects a workload's traffic to the Envoy beside it, by rules of the kernel in the network namespace that
// they share.
//
// What comes in: a [Config]. What goes out: [Tables], which are data, as text for people, and in the kernel: by nftables over
// netlink, or through iptables-restore where the kernel has no nf_tables. What was applied is read back and compared.
//
// It promises that rules are replaced as a whole, that applying them again changes nothing, and that it touches no other table
// or chain. Only TCP is redirected; what goes to loopback addresses, and DNS, is left alone. The proxy's own traffic goes out,
// but what it sends to the workload itself comes in as if it came from others. Nobody gets to the ports of the proxy but by being
// redirected there, so that a proxy never calls itself without end. One
// mechanism serves both families of addresses: what differs between them is data.
package capture

import (
	"flag"
	"fmt"
	"net/netip"
	"slices"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

const (
	// mostRanges and mostPorts bound what a command line may ask for, of networks and of ports in all: each is a rule or two,
	// rules are tried one by one, and the kernel takes all of them in one message.
	mostRanges = 256
	mostPorts  = 64
)

// Config says what to redirect, and whereto. A field that is zero means the default.
type Config struct {
	ProxyUID uint32         // user ID of the proxy and its agent; 0: [mesh.ProxyUser]
	Families []Family       // of addresses, whose rules are set; none: both, IPv6 only where the namespace has it
	Include  []netip.Prefix // destinations whose traffic is redirected; none: all
	Exclude  []netip.Prefix // of these those whose traffic is not; 0.0.0.0/0: none of IPv4 is redirected but that to Send; IPv6 alike
	Pass     []uint16       // ports of others to which the workload's connections go unredirected
	Send     []uint16       // ports of others to which they are redirected, though their networks are not included
	Take     []uint16       // ports of the workload to which connections are redirected; nil: all
	Keep     []uint16       // of these those to which they come unredirected; nil: [mesh.AgentMetricsPort], [mesh.AgentHealthPort]
	Outbound uint16         // port of the proxy for what the workload sends; 0: [mesh.OutboundPort]
	Inbound  uint16         // port of the proxy for what comes to the workload; 0: [mesh.InboundPort]
	Backend  Backend        // what applies the rules; "": [Auto]
}

// Backend is a way to give rules to the kernel.
type Backend string

// The backends. Auto is nftables, or iptables where the kernel has no nf_tables.
const (
	Auto     Backend = "auto"
	NFTables Backend = "nftables"
	IPTables Backend = "iptables"
)

// Misused is the error that a configuration asks for what cannot be.
type Misused struct {
	Reason string
	Advice string
}

func (e *Misused) Error() string { return e.Reason }

// Hint returns the next step.
func (e *Misused) Hint() string { return e.Advice }

// Flags defines the flags of a command that captures, those of one letter as Istio's proxy_init had them.
func (c *Config) Flags(f *flag.FlagSet) {
	c.complete()
	for _, name := range []string{"proxy-uid", "u"} {
		f.Var((*userValue)(&c.ProxyUID), name, "user ID of the proxy and its agent, whose traffic is not redirected")
	}
	for _, name := range []string{"include-ip-ranges", "i"} {
		f.Var((*rangesValue)(&c.Include), name, "networks, as A,B,…, to which traffic is redirected (default: all)")
	}
	f.Var((*familiesValue)(&c.Families), mesh.AddressesFlag, "IP addresses of the workload, as A,B: only what goes to and comes from addresses of their families is redirected (default: IPv4, and IPv6 where there is)")
	f.Var((*excludedValue)(&c.Exclude), "exclude-ip-ranges", "networks, as A,B,…, to which traffic is not redirected, though they are included; * for all")
	f.Var((*portsValue)(&c.Pass), "keep-outbound-ports", "ports of others, as A,B,…, to which connections go unredirected")
	f.Var((*portsValue)(&c.Send), "take-outbound-ports", "ports of others, as A,B,…, to which connections are redirected, though their networks are not included")
	f.Var((*takenValue)(&c.Take), mesh.TakeInboundFlag, "ports of the workload, as A,B,…, to which connections are redirected (default: all)")
	f.Var((*portsValue)(&c.Keep), mesh.KeepInboundFlag, "ports of the workload, as A,B,…, to which connections come unredirected")
	for _, name := range []string{"outbound-port", "p"} {
		f.Var((*portValue)(&c.Outbound), name, "port of the proxy for what the workload sends")
	}
	f.Var((*portValue)(&c.Inbound), "inbound-port", "port of the proxy for what comes to the workload")
	f.Var((*backendValue)(&c.Backend), "backend", "what applies the rules: nftables, iptables, or auto, which is iptables only where nftables does not work")
}

// complete fills in the defaults.
func (c *Config) complete() {
	if c.ProxyUID == 0 {
		c.ProxyUID = mesh.ProxyUser
	}
	if c.Keep == nil {
		c.Keep = []uint16{mesh.AgentMetricsPort, mesh.AgentHealthPort}
	}
	if c.Outbound == 0 {
		c.Outbound = mesh.OutboundPort
	}
	if c.Inbound == 0 {
		c.Inbound = mesh.InboundPort
	}
	if c.Backend == "" {
		c.Backend = Auto
	}
}

// check finds out whether the configuration, complete, can be.
func (c *Config) check() error {
	if c.Outbound == c.Inbound {
		return &Misused{fmt.Sprintf("port %d is to be the proxy's for both directions", c.Inbound), "give --outbound-port and --inbound-port different ports"}
	}
	if err := c.checkPorts(); err != nil {
		return err
	}
	if err := checkRanges(slices.Concat(c.Include, c.Exclude)); err != nil {
		return err
	}
	switch c.Backend {
	case Auto, NFTables, IPTables:
		return nil
	default:
		return &Misused{fmt.Sprintf("there is no backend %q", c.Backend), "--backend takes auto, nftables or iptables"}
	}
}

// checkPorts finds out whether the ports that are treated otherwise than the rest can be.
func (c *Config) checkPorts() error {
	if n := len(c.Keep) + len(c.Take) + len(c.Pass) + len(c.Send); n > mostPorts {
		return &Misused{fmt.Sprintf("%d ports are named, more than %d", n, mostPorts), "give fewer of them"}
	}
	for _, port := range []uint16{c.Outbound, c.Inbound} {
		name := mesh.KeepInboundFlag
		if slices.Contains(c.Take, port) {
			name = mesh.TakeInboundFlag
		}
		if slices.Contains(c.Keep, port) || slices.Contains(c.Take, port) {
			return &Misused{fmt.Sprintf("port %d is the proxy's", port), "leave it out of --" + name + ": nobody may dial it"}
		}
	}
	return nil
}

// checkRanges finds out whether networks can be.
func checkRanges(all []netip.Prefix) error {
	if len(all) > mostRanges {
		return &Misused{fmt.Sprintf("%d networks are included or excluded, more than %d", len(all), mostRanges), "give fewer, larger ones"}
	}
	for _, p := range all {
		if !p.IsValid() || p.Addr().Is4In6() {
			return &Misused{fmt.Sprintf("network %s is neither one of IPv4 nor one of IPv6", p), "give networks such as 10.96.0.0/16 or fd00:96::/108"}
		}
	}
	return nil
}
