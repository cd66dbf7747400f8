package capture

import (
	"net/netip"
	"slices"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Family is a family of addresses.
type Family string

// The families.
const (
	IPv4 Family = "ip"
	IPv6 Family = "ip6"
)

// families are all of them, in the order of their tables.
var families = []Family{IPv4, IPv6}

// has tells whether an address is one of the family.
func (f Family) has(a netip.Addr) bool { return a.Is4() == (f == IPv4) }

// of returns those of some networks that are of the family.
func (f Family) of(all []netip.Prefix) []netip.Prefix {
	var list []netip.Prefix
	for _, p := range all {
		if f.has(p.Addr()) {
			list = append(list, p)
		}
	}
	return list
}

// Table holds the rules for one family of addresses.
type Table struct {
	Family Family
	Chains []Chain
}

// Hook is where packets meet the rules of a chain.
type Hook string

// The hooks.
const (
	Prerouting Hook = "prerouting" // what has come, before it is decided whether it is for this host
	Input      Hook = "input"      // what has come for this host, after it was redirected
	Output     Hook = "output"     // what this host sends
)

// Chain is a list of rules. The first one that matches decides; without one the packet goes on as it is. Chains at Prerouting and
// Output redirect, and see the first packet of each connection; those at Input filter.
type Chain struct {
	Hook  Hook
	Rules []Rule
}

// Verdict is what a rule does.
type Verdict int

// The verdicts.
const (
	Leave    Verdict = iota // as it is
	Redirect                // to a port of this host
	Refuse                  // with a reset
)

// Rule is about TCP packets that meet all of what it says.
type Rule struct {
	From          netip.Prefix // source; invalid: any
	To            netip.Prefix // destination; invalid: any
	NotTo         netip.Prefix // the destination is none of these; invalid: any
	ToItself      bool         // it stays on this host: its interface is the loopback one
	Port          uint16       // of the destination; 0: any
	User          uint32       // that owns the socket it comes from; 0: any
	NotRedirected bool         // its connection has the destination that was dialled

	Verdict    Verdict
	RedirectTo uint16 // port
	Why        string // for who reads the rules in the kernel
}

// addresses are those of a family that have a meaning of their own.
type addresses struct {
	loopback  netip.Prefix
	fromProxy netip.Prefix // source of what the proxy hands to the application
	onLink    netip.Prefix // destinations that mean nothing without an interface, which nobody who is redirected to can know; invalid: none
}

func addressesOf(f Family) addresses {
	if f == IPv6 {
		return addresses{
			loopback: netip.MustParsePrefix("::1/128"), fromProxy: netip.MustParsePrefix(mesh.FromProxyIPv6 + "/128"),
			onLink: netip.MustParsePrefix("fe80::/10"),
		}
	}
	return addresses{loopback: netip.MustParsePrefix("127.0.0.0/8"), fromProxy: netip.MustParsePrefix(mesh.FromProxyIPv4 + "/32")}
}

const dnsPort = 53

// Tables returns the rules for a configuration, or a [*Misused] error.
func (c Config) Tables() ([]Table, error) {
	c.complete()
	if err := c.check(); err != nil {
		return nil, err
	}
	var tables []Table
	for _, f := range families {
		if len(c.Families) == 0 || slices.Contains(c.Families, f) {
			tables = append(tables, c.table(f))
		}
	}
	return tables, nil
}

func (c *Config) table(f Family) Table {
	own := addressesOf(f)
	return Table{Family: f, Chains: []Chain{
		{Hook: Prerouting, Rules: c.prerouting()},
		{Hook: Input, Rules: c.input()},
		{Hook: Output, Rules: c.output(f, own)},
	}}
}

// prerouting is about what comes from others.
func (c *Config) prerouting() []Rule {
	var rules []Rule
	for _, port := range c.Keep {
		rules = append(rules, Rule{Port: port, Verdict: Leave, Why: "left out"})
	}
	for _, port := range []uint16{c.Outbound, c.Inbound} {
		rules = append(rules, Rule{Port: port, Verdict: Leave, Why: "refused at input"})
	}
	why := "all else comes in through the proxy"
	if c.Take != nil {
		why = "comes in through the proxy"
	}
	return append(rules, c.taken(Rule{Verdict: Redirect, RedirectTo: c.Inbound, Why: why})...)
}

// taken returns a rule for every port of the workload that is redirected.
func (c *Config) taken(r Rule) []Rule {
	if c.Take == nil {
		return []Rule{r}
	}
	var rules []Rule
	for _, port := range c.Take {
		r.Port = port
		rules = append(rules, r)
	}
	return rules
}

// input refuses what the proxy would send to itself, again and again.
func (c *Config) input() []Rule {
	var rules []Rule
	for _, port := range []uint16{c.Outbound, c.Inbound} {
		rules = append(rules, Rule{Port: port, NotRedirected: true, Verdict: Refuse, Why: "nobody dials the proxy itself"})
	}
	return rules
}

// output is about what the workload and its proxy send.
func (c *Config) output(f Family, own addresses) []Rule {
	rules := []Rule{
		{From: own.fromProxy, ToItself: true, User: c.ProxyUID, Verdict: Leave, Why: "from the proxy to the application"},
	}
	for _, port := range []uint16{c.Outbound, c.Inbound} {
		rules = append(rules, Rule{ToItself: true, Port: port, Verdict: Leave, Why: "refused at input"})
	}
	for _, port := range c.Keep {
		rules = append(rules, Rule{ToItself: true, User: c.ProxyUID, Port: port, Verdict: Leave, Why: "left out"})
	}
	rules = append(rules, c.taken(Rule{
		NotTo: own.loopback, ToItself: true, User: c.ProxyUID, Verdict: Redirect, RedirectTo: c.Inbound, Why: "a workload that calls itself comes in like others",
	})...)
	rules = append(rules,
		Rule{User: c.ProxyUID, Verdict: Leave, Why: "from the proxy to others"},
		Rule{To: own.loopback, Verdict: Leave, Why: "from the application to itself"},
		Rule{Port: dnsPort, Verdict: Leave, Why: "DNS"},
	)
	if own.onLink.IsValid() {
		rules = append(rules, Rule{To: own.onLink, Verdict: Leave, Why: "on the link"})
	}
	return append(rules, c.outside(f)...)
}

// outside is about what the workload sends to others.
func (c *Config) outside(f Family) []Rule {
	isAll := func(p netip.Prefix) bool { return p.Bits() == 0 }
	exclude, include := f.of(c.Exclude), f.of(c.Include)
	none := slices.ContainsFunc(exclude, isAll)
	var rules []Rule
	for _, port := range c.Pass {
		rules = append(rules, Rule{Port: port, Verdict: Leave, Why: "left out"})
	}
	for _, p := range exclude {
		if !isAll(p) {
			rules = append(rules, Rule{To: p, Verdict: Leave, Why: "left out"})
		}
	}
	all := Rule{Verdict: Redirect, RedirectTo: c.Outbound, Why: "goes out through the proxy"}
	for _, port := range c.Send {
		one := all
		one.Port = port
		rules = append(rules, one)
	}
	if none {
		return rules
	}
	if len(c.Include) == 0 || slices.ContainsFunc(include, isAll) {
		return append(rules, all)
	}
	for _, p := range include {
		all.To = p
		rules = append(rules, all)
	}
	return rules
}
