// Package capture redirects a workload's traffic to the Envoy beside it, by rules of the kernel in the network namespace that
// they share.
//
// What comes in: a [Config]. What goes out: [Tables], which are data, as text for people, and in the kernel: by nftables over
// netlink, or through iptables-restore where the kernel has no nf_tables. What was applied is read back and compared.
//
// It promises that rules are replaced as a whole, that applying them again changes nothing, and that it touches no other table
// or chain. Only TCP is redirected; what goes to loopback addresses, and DNS, is left alone. The proxy's own traffic goes out,
// but what it sends to the workload itself comes in as if it came from others. Nobody gets to the ports of the proxy but by being
// redirected there, so that a proxy never calls itself without end. IPv6 is not captured.
package capture

import (
	"flag"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

const (
	// mostRanges and mostPorts bound what a command line may ask for: each is a rule, and rules are tried one by one.
	mostRanges = 256
	mostPorts  = 64
)

// Config says what to redirect, and whereto. A field that is zero means the default.
type Config struct {
	ProxyUID uint32         // user ID of the proxy and its agent; 0: [mesh.ProxyUser]
	Include  []netip.Prefix // destinations whose traffic is redirected; none: all
	Keep     []uint16       // ports of the workload to which connections come unredirected; nil: [mesh.AgentMetricsPort], [mesh.AgentHealthPort]
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
	f.Var((*portsValue)(&c.Keep), "keep-inbound-ports", "ports of the workload, as A,B,…, to which connections come unredirected")
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
	for _, port := range []uint16{c.Outbound, c.Inbound} {
		if slices.Contains(c.Keep, port) {
			return &Misused{fmt.Sprintf("port %d is the proxy's", port), "leave it out of --keep-inbound-ports: nobody may dial it"}
		}
	}
	if len(c.Include) > mostRanges {
		return &Misused{fmt.Sprintf("%d networks are included, more than %d", len(c.Include), mostRanges), "give fewer, larger ones"}
	}
	if len(c.Keep) > mostPorts {
		return &Misused{fmt.Sprintf("%d ports are left out, more than %d", len(c.Keep), mostPorts), "give fewer of them"}
	}
	for _, p := range c.Include {
		if !p.IsValid() || !p.Addr().Is4() {
			return &Misused{fmt.Sprintf("network %s is not one of IPv4", p), "give networks such as 10.96.0.0/16: IPv6 is not captured"}
		}
	}
	switch c.Backend {
	case Auto, NFTables, IPTables:
		return nil
	default:
		return &Misused{fmt.Sprintf("there is no backend %q", c.Backend), "--backend takes auto, nftables or iptables"}
	}
}

type (
	userValue    uint32
	portValue    uint16
	rangesValue  []netip.Prefix
	portsValue   []uint16
	backendValue Backend
)

func (v *userValue) String() string { return strconv.FormatUint(uint64(*v), 10) }

func (v *userValue) Set(text string) error {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n == 0 || n == 1<<32-1 {
		return fmt.Errorf("%q is no user ID of a proxy: it has one of its own that is not 0", text)
	}
	*v = userValue(n)
	return nil
}

func (v *portValue) String() string { return strconv.Itoa(int(*v)) }

func (v *portValue) Set(text string) error {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return fmt.Errorf("%q is no port", text)
	}
	*v = portValue(n)
	return nil
}

func (v *rangesValue) String() string {
	texts := make([]string, len(*v))
	for i, p := range *v {
		texts[i] = p.String()
	}
	return strings.Join(texts, ",")
}

// Set takes networks and single addresses. Without any, and with "*" among them, all are meant.
func (v *rangesValue) Set(text string) error {
	var all []netip.Prefix
	everything := false
	for word := range strings.SplitSeq(text, ",") {
		word = strings.TrimSpace(word)
		if word == "" || word == "*" {
			everything = everything || word == "*"
			continue
		}
		p, err := parseRange(word)
		if err != nil {
			return err
		}
		everything = everything || p.Bits() == 0 && p.Addr().Is4()
		all = append(all, p)
	}
	if everything {
		all = nil
	}
	slices.SortFunc(all, netip.Prefix.Compare)
	*v = slices.Compact(all)
	return nil
}

// parseRange reads a network or an address.
func parseRange(word string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(word); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(word)
	if err != nil {
		return p, fmt.Errorf("%q is no network, such as 10.96.0.0/16", word)
	}
	return p.Masked(), nil
}

func (v *portsValue) String() string {
	texts := make([]string, len(*v))
	for i, p := range *v {
		texts[i] = strconv.Itoa(int(p))
	}
	return strings.Join(texts, ",")
}

func (v *portsValue) Set(text string) error {
	all := []uint16{}
	for word := range strings.SplitSeq(text, ",") {
		if word = strings.TrimSpace(word); word == "" {
			continue
		}
		var port portValue
		if err := port.Set(word); err != nil {
			return err
		}
		all = append(all, uint16(port))
	}
	slices.Sort(all)
	*v = slices.Compact(all)
	return nil
}

func (v *backendValue) String() string { return string(*v) }

func (v *backendValue) Set(text string) error {
	switch b := Backend(text); b {
	case Auto, NFTables, IPTables:
		*v = backendValue(b)
		return nil
	default:
		return fmt.Errorf("there is no backend %q, but auto, nftables and iptables", text)
	}
}
